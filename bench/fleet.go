package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// A fleet is a database of its own with monitors, and the workers that scan them.
type fleet struct {
	*bench

	name     string // of the database
	database string // its URL
	conn     *pgx.Conn
	workers  []*child
	blocks   []int // how many monitors each block has
	monitors int
}

// newFleet makes a database with the schema, and nothing in it.
func (b *bench) newFleet(ctx context.Context) (_ *fleet, err error) {
	b.databases++
	b.progress.stage("making a database")
	f := &fleet{bench: b, name: "bench_" + strconv.Itoa(b.databases)}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	database, err := url.Parse(f.serverURL)
	if err != nil {
		return nil, fmt.Errorf("parse the server's URL: %w", err)
	}
	database.Path = "/" + f.name
	f.database = database.String()
	if _, err := f.server.Exec(ctx, "CREATE DATABASE "+f.name); err != nil {
		return nil, fmt.Errorf("create the database: %w", err)
	}
	if err := f.riverwatch(ctx, "migrate", "up"); err != nil {
		return nil, err
	}
	if f.conn, err = pgx.Connect(ctx, f.database); err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	return f, nil
}

func (f *fleet) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	f.stopWorkers()
	if f.conn != nil {
		_ = f.conn.Close(ctx)
	}
	_, _ = f.server.Exec(ctx, "DROP DATABASE IF EXISTS "+f.name+" WITH (FORCE)") // the server goes with its databases
}

// command makes a command of riverwatch, with all of its settings.
func (f *fleet) command(args ...string) func(context.Context) *exec.Cmd {
	return func(ctx context.Context) *exec.Cmd {
		cmd := exec.CommandContext(ctx, f.program, args...)
		cmd.Env = []string{
			"DATABASE_URL=" + f.database,
			"RIVERWATCH_ALLOW_CIDRS=127.0.64.0/24",
			"RIVERWATCH_METRICS_LISTEN=off",
			"RIVERWATCH_PROBES=2000",
			"RIVERWATCH_PROBES_PER_HOST=2000", // few hosts stand for many
			"RIVERWATCH_DB_CONNECTIONS=10",
			"RIVERWATCH_LOG_LEVEL=warn",
			"SSL_CERT_FILE=" + f.caFile,
		}
		cmd.Env = append(cmd.Env, f.env...) // the last of a name holds
		return cmd
	}
}

// riverwatch runs a command of riverwatch to its end.
func (f *fleet) riverwatch(ctx context.Context, args ...string) error {
	_, err := runChild(ctx, "riverwatch "+args[0], nil, f.command(args...))
	return err
}

func (f *fleet) startWorkers(ctx context.Context) error {
	for range f.options.workers {
		worker, err := startChild(ctx, "worker", f.command("worker"))
		if err != nil {
			return err
		}
		f.workers = append(f.workers, worker)
	}
	return nil
}

// stopWorkers stops the workers, and shows what they warned of last.
func (f *fleet) stopWorkers() {
	for _, worker := range f.workers {
		worker.stop()
		if said := worker.said.String(); said != "" {
			f.progress.stage("a worker said: …%s", said)
		}
	}
	f.workers = nil
}

// alive gives an error if a worker has ended.
func (f *fleet) alive() (err error) {
	for _, worker := range f.workers {
		err = errors.Join(err, worker.alive())
	}
	return err
}

// monitorsPerHost is how many monitors are worth another host, of which there are targetHosts at most.
const monitorsPerHost = 500

// generate creates so many more monitors, on all hosts of the target.
func (f *fleet) generate(ctx context.Context, count int, interval time.Duration) error {
	hosts := max(1, min(targetHosts, count/monitorsPerHost))
	for i := range hosts {
		f.progress.tell("creating monitors: %s", whole(f.monitors))
		size := count*(i+1)/hosts - count*i/hosts
		block := len(f.blocks)
		err := f.riverwatch(ctx, "generate-monitors", "--count", strconv.Itoa(size), "--interval", interval.String(),
			"--url", f.blockURL(block)+"{n}")
		if err != nil {
			return err
		}
		f.blocks = append(f.blocks, size)
		f.monitors += size
	}
	return nil
}

func (f *fleet) blockURL(block int) string {
	scheme := "http"
	if f.caFile != "" {
		scheme = "https"
	}
	return fmt.Sprintf("%s://%s:%d/%d/", scheme, targetHost(block), f.info.Port, block)
}

// someURLs gives URLs such as monitors have, at all hosts of the target.
func (b *bench) someURLs(count int) (urls []string) {
	f := &fleet{bench: b}
	for i := range count {
		urls = append(urls, f.blockURL(i%targetHosts)+strconv.Itoa(i/targetHosts+1))
	}
	return urls
}

//go:embed sql/settle.sql
var settleSQL string

// settle makes a new fleet one that has been scanned for long: its monitors are up, and no first scans are asked for.
func (f *fleet) settle(ctx context.Context) error {
	f.progress.stage("settling the fleet")
	if _, err := f.conn.Exec(ctx, settleSQL); err != nil {
		return fmt.Errorf("settle the fleet: %w", err)
	}
	if _, err := f.conn.Exec(ctx, "VACUUM ANALYZE"); err != nil {
		return fmt.Errorf("vacuum: %w", err)
	}
	return nil
}

// wait waits until an instant, while the workers live.
func (f *fleet) wait(ctx context.Context, until time.Time, doing string) error {
	began := time.Now()
	before, err := f.requests(ctx)
	if err != nil {
		return err
	}
	f.progress.stage("%s", doing)
	for time.Now().Before(until) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait: %w", ctx.Err())
		case <-time.After(min(time.Second, time.Until(until))):
		}
		if err := f.alive(); err != nil {
			return err
		}
		now, err := f.requests(ctx)
		if err != nil {
			return err
		}
		f.progress.tell("%s: %.0f s to go, %s requests a second", doing,
			time.Until(until).Seconds(), number(float64(now-before)/time.Since(began).Seconds()))
	}
	return nil
}
