package httpapi_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/jobs"
	"riverwatch/probe"
	"riverwatch/queue"
	"riverwatch/uptime"
)

type scan struct {
	Slot          time.Time `json:"slot"`
	Reason        string    `json:"reason"`
	Outcome       string    `json:"outcome"`
	Good          bool      `json:"good"`
	HTTPStatus    *int      `json:"http_status"`
	RegexpMatched *bool     `json:"regexp_matched"`
	TotalMS       float64   `json:"total_ms"`
	DNSMS         *float64  `json:"dns_ms"`
	ConnectMS     *float64  `json:"connect_ms"`
	RemoteIP      *string   `json:"remote_ip"`
}

type scanPage struct {
	Data       []scan  `json:"data"`
	NextCursor *string `json:"next_cursor"`
}

func TestListScans(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	created := a.create(`{"url":"http://example.com/","interval_seconds":3600}`)
	path := fmt.Sprintf("%s/%d/scans", monitorsPath, created.ID)

	// Three days of a scan an hour, as if the monitor had been there: each slot's total_us is its number.
	const slots = 72
	schedule := uptime.ScheduleOf(created.ID, 3600)
	last := schedule.SlotAt(time.Now())
	_, err := a.pool.Exec(t.Context(), `UPDATE monitor_schedules SET from_at = from_at - interval '10 days'`)
	require.NoError(t, err)
	var scans []db.CopyScansParams
	for i := range slots {
		scans = append(scans, db.CopyScansParams{
			Slot: last.Add(-time.Duration(i) * time.Hour), MonitorID: created.ID, TotalUS: i * 1000, MonitorVersion: 1,
			Outcome: uptime.OK, Reason: queue.ReasonRound,
		})
	}
	asked := last.Add(-90*time.Minute + time.Microsecond)
	scans = append(scans, db.CopyScansParams{
		Slot: asked, MonitorID: created.ID, MonitorVersion: 1, Outcome: uptime.ConnectRefused, Reason: queue.ReasonAsked,
	})
	_, err = a.queries().CopyScans(t.Context(), scans)
	require.NoError(t, err)

	ask := func(query url.Values) scanPage {
		t.Helper()
		answer := a.get(path + "?" + query.Encode())
		require.Equal(t, http.StatusOK, answer.status, answer.raw)
		var page scanPage
		answer.into(&page)
		return page
	}
	at := func(t time.Time) string { return t.Format(time.RFC3339Nano) }

	t.Run("PagesThroughARangeNewestFirst", func(t *testing.T) {
		t.Parallel()
		query := url.Values{"limit": {"10"}, "from": {at(last.Add(-slots * time.Hour))}, "to": {at(last.Add(time.Hour))}}
		var got []scan
		for {
			page := ask(query)
			got = append(got, page.Data...)
			if page.NextCursor == nil {
				break
			}
			require.Len(t, page.Data, 10)
			query.Set("cursor", *page.NextCursor)
		}
		require.Len(t, got, slots+1)
		for i := 1; i < len(got); i++ {
			require.True(t, got[i].Slot.Before(got[i-1].Slot), "newest first, none twice")
		}
		require.Equal(t, "asked", got[2].Reason, "a scan between slots is in its place")
		require.Equal(t, "connect_refused", got[2].Outcome)
		require.False(t, got[2].Good)
		require.True(t, got[0].Good)
	})

	t.Run("TheRangeIsHalfOpen", func(t *testing.T) {
		t.Parallel()
		page := ask(url.Values{"from": {at(last.Add(-5 * time.Hour))}, "to": {at(last.Add(-3 * time.Hour))}})
		require.Len(t, page.Data, 2)
		require.InDelta(t, 4, page.Data[0].TotalMS, 0)
		require.InDelta(t, 5, page.Data[1].TotalMS, 0)
		require.Nil(t, page.Data[0].HTTPStatus, "not measured is null")
		require.Nil(t, page.Data[0].DNSMS)
	})

	t.Run("TheDefaultIsADay", func(t *testing.T) {
		t.Parallel()
		before := time.Now()
		got := ask(url.Values{"limit": {"200"}}).Data
		after := time.Now()
		require.Equal(t, last.UTC(), got[0].Slot.UTC())
		// A slot may leave the day while the test runs, so the oldest is held against both ends of the asking.
		oldest := got[len(got)-1].Slot
		require.False(t, oldest.Before(before.Add(-24*time.Hour)), "none older than a day")
		require.True(t, oldest.Before(after.Add(-23*time.Hour)), "none of the day missing")
	})

	t.Run("RefusesWhatItCannotAnswer", func(t *testing.T) {
		t.Parallel()
		for query, code := range map[string]string{
			"from=2020-01-01T00:00:00Z&to=2026-01-01T00:00:00Z": "range_too_large",
			"from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z": "range_invalid",
			"from=infinity":             "parameter_invalid",
			"from=294277-01-01":         "parameter_invalid",
			"from=0001-01-02T00:00:00Z": "range_invalid",
			"limit=201":                 "parameter_invalid",
			"cursor=garbage":            "cursor_invalid",
			"cursor=e30":                "cursor_invalid",
			"cursor=eyJtb25pdG9yc19ieSI6ImlkIiwiaWQiOjF9": "cursor_invalid", // of the list of monitors
		} {
			answer := a.get(path + "?" + query)
			require.Equal(t, http.StatusBadRequest, answer.status, query)
			require.Contains(t, answer.raw, code, query)
		}
	})
}

func TestScanNow(t *testing.T) {
	t.Parallel()

	t.Run("WithoutAWorkerItIsAccepted", func(t *testing.T) {
		t.Parallel()
		a := newTestAPI(t)
		created := a.create(`{"url":"http://example.com/","timeout_ms":100}`)
		answer := a.post(fmt.Sprintf("%s/%d/scan", monitorsPath, created.ID), "")
		require.Equal(t, http.StatusAccepted, answer.status, answer.raw)
		require.Equal(t, fmt.Sprintf("%s/%d/scans", monitorsPath, created.ID), answer.header.Get("Location"))
		require.Contains(t, answer.raw, `"scan":null`)
		require.Equal(t, 2, a.count(`SELECT count(*) FROM river_job WHERE kind = 'scan'`), "the first scan, and this one")

		third := a.post(fmt.Sprintf("%s/%d/scan", monitorsPath, created.ID), "")
		require.Equal(t, http.StatusTooManyRequests, third.status, third.raw)
		require.Equal(t, "too_many_scans", third.problem().Code)
		require.Equal(t, "5", third.header.Get("Retry-After"))
	})

	t.Run("WithAWorkerItAnswersTheResult", func(t *testing.T) {
		t.Parallel()
		target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTeapot)
		}))
		t.Cleanup(target.Close)
		a := newTestAPI(t, "127.0.0.0/8")
		startWorker(t, a)
		created := a.create(fmt.Sprintf(`{"url":%q,"interval_seconds":86400}`, target.URL))

		answer := a.post(fmt.Sprintf("%s/%d/scan", monitorsPath, created.ID), "")
		require.Equal(t, http.StatusOK, answer.status, answer.raw)
		var got struct{ Scan scan }
		answer.into(&got)
		require.Equal(t, "asked", got.Scan.Reason)
		require.Equal(t, "status_mismatch", got.Scan.Outcome)
		require.Equal(t, http.StatusTeapot, *got.Scan.HTTPStatus)
		require.Equal(t, "127.0.0.1", *got.Scan.RemoteIP)
		require.NotNil(t, got.Scan.ConnectMS)

		var page scanPage
		a.get(fmt.Sprintf("%s/%d/scans?to=%s", monitorsPath, created.ID, got.Scan.Slot.Add(time.Minute).Format(time.RFC3339))).into(&page)
		require.NotEmpty(t, page.Data)
		require.Contains(t, page.Data, got.Scan, "the list has it")
	})
}

// startWorker works the queue of a until the test ends.
func startWorker(t *testing.T, a *testAPI) {
	t.Helper()
	logger := slog.New(slog.NewJSONHandler(a.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	worker, err := jobs.NewWorker(jobs.Config{
		Pool: a.pool, Name: "test", Prober: probe.NewProber(probe.Settings{Policy: policy("127.0.0.0/8")}, logger),
		Limits: jobs.Limits{Probes: 10, ProbesPerHost: 10, Results: 100}, SoftStop: time.Second, Now: time.Now,
		Logger: logger, Quiet: logger, Registry: prometheus.NewRegistry(),
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
}

func TestAPageOfGaps(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	monitor := a.create(`{"url":"http://example.com/","interval_seconds":10}`)
	now := time.Now().UTC()
	first := uptime.ScheduleOf(monitor.ID, 10).SlotAt(now.Add(-30 * 24 * time.Hour))
	dbtest.Exec(t, a.pool, "UPDATE monitor_schedules SET from_at = $1", first)
	dbtest.Insert(t, a.pool, dbtest.Scan(monitor.ID, first))

	path := fmt.Sprintf("%s/%d/scans?from=%s&to=%s", monitorsPath, monitor.ID,
		first.Add(-time.Second).Format(time.RFC3339), now.Format(time.RFC3339))
	var page scanPage
	a.get(path).into(&page)
	require.Empty(t, page.Data)
	require.NotNil(t, page.NextCursor, "there is more")
	for range 10 {
		if page.NextCursor == nil {
			break
		}
		a.get(path + "&cursor=" + *page.NextCursor).into(&page)
	}
	require.Nil(t, page.NextCursor)
	require.Len(t, page.Data, 1)
	require.True(t, page.Data[0].Slot.Equal(first))
}
