package main

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"riverwatch/db"
	"riverwatch/history"
)

// pagesResult is how long calls of the API take that read the past, one after the other.
type pagesResult struct {
	Monitors int         `json:"monitors"`
	Scans    int         `json:"scans"`
	Pages    []pageTimes `json:"pages"`
}

type pageTimes struct {
	Path  string      `json:"path"`
	Calls int         `json:"calls"`
	Times percentiles `json:"ms"`
	Bytes int         `json:"bytes"` // of the last answer
}

// pageCalls is how often each page is asked for.
const pageCalls = 100

// pages are what is asked for; {id} is a monitor by chance.
var pages = []string{
	"/api/v1/monitors?limit=50&include=bars,uptime,latency",
	"/api/v1/monitors?limit=200&include=bars,uptime,latency",
	"/api/v1/monitors?limit=50&status=up&sort=name",
	"/api/v1/monitors?limit=50&q=127.0.64.7",
	"/api/v1/monitors/{id}/scans",
	"/api/v1/monitors/{id}/latency?from=now-24h",
	"/api/v1/monitors/{id}/latency?from=now-7d&step=1h",
	"/api/v1/monitors/{id}/latency?from=now-90d&step=1h&to=now-8d",
	"/api/v1/monitors/{id}/latency?from=now-90d&step=1d",
	"/api/v1/monitors/{id}/uptime?from=now-30d&step=1d",
	"/api/v1/summary",
	"/api/v1/storage",
}

// runPages fills a log, and hours and days of a quarter of a year, and asks for pages of it.
func runPages(ctx context.Context, b *bench) (result, error) {
	f, err := b.newFleet(ctx)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if err := f.generate(ctx, b.monitors, b.interval); err != nil {
		return nil, err
	}
	if err := f.settle(ctx); err != nil {
		return nil, err
	}
	r := pagesResult{Monitors: f.monitors}
	if r.Scans, err = f.fillLog(ctx, time.Now()); err != nil {
		return nil, err
	}
	if err := f.fillHistory(ctx); err != nil {
		return nil, err
	}
	api, address, err := f.startAPI(ctx)
	if err != nil {
		return nil, err
	}
	defer api.stop()
	for _, page := range pages {
		times, err := f.timePage(ctx, address, page)
		if err != nil {
			return nil, err
		}
		r.Pages = append(r.Pages, times)
	}
	return r, nil
}

//go:embed sql/fill_history.sql
var fillHistorySQL string

// fillHistory rolls up the log that was filled, and copies its last whole day to those of a quarter of a year before.
func (f *fleet) fillHistory(ctx context.Context) error {
	pool, err := db.Open(ctx, f.database, 2)
	if err != nil {
		return err
	}
	defer pool.Close()
	now := time.Now()
	for what, statement := range map[string]string{
		"promise what was filled":  "UPDATE monitor_schedules SET from_at = now() - INTERVAL '91 days'",
		"say how monitors stood":   "UPDATE status_changes SET at = now() - INTERVAL '91 days', status = 'up'",
		"take as long as it needs": "SET statement_timeout = 0",
	} {
		if _, err := f.conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	from := history.DayOf(now.Add(-f.fill))
	if err := f.beginHistory(ctx, from); err != nil {
		return err
	}
	f.progress.stage("rolling up")
	if _, err := history.RollUp(ctx, pool); err != nil {
		return err
	}
	f.progress.stage("filling a quarter of a year of hours")
	for day := history.DayOf(now).Add(-90 * 24 * time.Hour); day.Before(from); day = day.Add(24 * time.Hour) {
		if _, err := f.conn.Exec(ctx, fillHistorySQL, day); err != nil {
			return fmt.Errorf("fill the hours of %s: %w", day, err)
		}
	}
	if _, err = f.conn.Exec(ctx, "VACUUM ANALYZE"); err != nil {
		return fmt.Errorf("take statistics: %w", err)
	}
	return nil
}

// startAPI starts the API, and gives where it answers, once it does.
func (f *fleet) startAPI(ctx context.Context) (api *child, address string, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", fmt.Errorf("find a free port: %w", err)
	}
	listen := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return nil, "", fmt.Errorf("find a free port: %w", err)
	}
	api, err = startChild(ctx, "api", func(ctx context.Context) *exec.Cmd {
		cmd := f.command("api")(ctx)
		cmd.Env = append(cmd.Env, "RIVERWATCH_LISTEN="+listen)
		return cmd
	})
	if err != nil {
		return nil, "", err
	}
	address = "http://" + listen
	for ctx.Err() == nil {
		if _, err := get(ctx, address+"/readyz"); err == nil {
			return api, address, nil
		}
		if err := api.alive(); err != nil {
			return nil, "", err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, "", fmt.Errorf("wait for the API: %w", ctx.Err())
}

func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", url, err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s: %s %w", url, answer.Status, body, err)
	}
	return body, nil
}

func (f *fleet) timePage(ctx context.Context, address, page string) (pageTimes, error) {
	f.progress.stage("%s", page)
	times := pageTimes{Path: page, Calls: pageCalls}
	random := rand.New(rand.NewPCG(f.seed, 0))
	var took []time.Duration
	for call := range pageCalls + 1 {
		path := strings.ReplaceAll(page, "{id}", fmt.Sprint(1+random.IntN(f.monitors)))
		began := time.Now()
		body, err := get(ctx, address+path)
		if err != nil {
			return times, err
		}
		if call > 0 { // the first one connects
			took = append(took, time.Since(began))
		}
		times.Bytes = len(body)
	}
	times.Times = percentilesOf(took)
	return times, nil
}

func (r pagesResult) tables() []table {
	t := table{header: []string{"ms: p50, p99, max", "bytes"}}
	for _, page := range r.Pages {
		t.add(page.Path, page.Times.String(), whole(page.Bytes))
	}
	size := table{header: []string{""}}
	size.add("monitors", whole(r.Monitors))
	size.add("scans in the log", whole(r.Scans))
	return []table{size, t}
}
