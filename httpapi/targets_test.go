package httpapi_test

import (
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/httpapi"
	"riverwatch/uptime"
)

// scrapedAPI is an API whose clock is set by hand.
func scrapedAPI(t *testing.T) (*testAPI, *atomic.Pointer[time.Time]) {
	t.Helper()
	a := newTestAPI(t)
	var clock atomic.Pointer[time.Time]
	clock.Store(new(time.Date(2026, 6, 1, 12, 0, 7, 0, time.UTC)))
	a.handler = httpapi.New(httpapi.Config{
		Pool: a.pool, Queue: a.queue, Policy: policy(), Version: "test", Now: func() time.Time { return *clock.Load() },
		Logger: slog.New(slog.DiscardHandler),
	})
	return a, &clock
}

// scrape gives the samples of an answer, each by its name and labels, as Prometheus reads them.
func (a *testAPI) scrape(path string) map[string]float64 {
	a.t.Helper()
	answer := a.get(path)
	require.Equal(a.t, http.StatusOK, answer.status, answer.raw)
	require.Equal(a.t, "text/plain; version=0.0.4; charset=utf-8", strings.ReplaceAll(answer.header.Get("Content-Type"), "; escaping=underscores", ""))
	samples := map[string]float64{}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(answer.raw))
	require.NoError(a.t, err, answer.raw)
	for name, family := range families {
		for _, metric := range family.GetMetric() {
			labels := ""
			for _, label := range metric.GetLabel() {
				if name == "riverwatch_monitor_info" || label.GetName() != "name" && label.GetName() != "url" {
					labels += " " + label.GetName() + "=" + label.GetValue()
				}
			}
			samples[name+labels] = metric.GetGauge().GetValue()
		}
	}
	return samples
}

func TestTargets(t *testing.T) {
	t.Parallel()
	a, clock := scrapedAPI(t)
	now := *clock.Load()
	of := func(id int64, slot time.Time, change func(*db.Scan)) db.Scan {
		scan := dbtest.Scan(id, slot)
		change(&scan)
		return scan
	}
	everyTen, daily := uptime.Schedule{Interval: 10, PhaseMS: 250}, uptime.Schedule{Interval: 86400, PhaseMS: 7000}
	dbtest.Monitors(t, a.pool, everyTen, now.Add(-72*time.Hour), 6, func(n int, m *db.Monitor) {
		m.ID = int64(n + 1)
		m.Name = "m" + string(rune('0'+m.ID))
		m.Tags = []string{"prod", "a,b"}
	})
	dbtest.Monitors(t, a.pool, daily, now.Add(-72*time.Hour), 1, func(_ int, m *db.Monitor) { m.ID, m.URL = 7, "http://example.com/plain" })
	dbtest.Exec(t, a.pool, "UPDATE monitors SET key = 'shop/one' WHERE id = 1")
	dbtest.Exec(t, a.pool, "UPDATE monitors SET paused_at = now() WHERE id = 5")
	dbtest.Exec(t, a.pool, "UPDATE monitors SET deleted_at = now() WHERE id = 6")
	dbtest.Exec(t, a.pool, "UPDATE monitor_states SET status = CASE monitor_id WHEN 2 THEN 'down' WHEN 5 THEN 'paused' ELSE 'up' END, since = '2026-06-01T11:00:00Z'")
	dbtest.Exec(t, a.pool, `INSERT INTO monitor_certificates VALUES (1, 'old', '', '', '{}', now(), '2026-06-02', '2026-01-01'),
		(1, 'new', '', '', '{}', now(), '2026-09-01', '2026-05-01'), (7, 'past', '', '', '{}', now(), '2026-06-02', '2026-01-01')`)
	present := everyTen.SlotAt(now)
	dbtest.Insert(t, a.pool,
		of(1, present.Add(-10*time.Second), func(s *db.Scan) { s.TotalUS = 1; s.Outcome = uptime.StatusMismatch }),
		of(1, present, func(s *db.Scan) {
			s.TotalUS, s.DNSUS, s.ConnectUS, s.TLSUS = 250_000, new(1000), new(2000), new(3000)
			s.WaitUS, s.TransferUS, s.HTTPStatus = new(4000), new(5000), new(200)
		}),
		of(2, present.Add(-20*time.Second), func(s *db.Scan) { s.TotalUS = 1 }), // the one before the two
		of(2, present.Add(-10*time.Second), func(s *db.Scan) { s.Outcome, s.HTTPStatus = uptime.StatusMismatch, new(500) }),
		of(2, present.Add(-4*time.Second), func(s *db.Scan) { // a second look
			s.Outcome, s.Reason, s.TotalUS = uptime.TimeoutHeader, "retry", 900_000
		}),
		of(3, present.Add(-10*time.Second), func(s *db.Scan) { s.TotalUS = 60_000 }),
		of(3, present, func(s *db.Scan) { s.Outcome = uptime.Inconclusive }),
		of(4, present, func(s *db.Scan) { s.Outcome = uptime.BlockedByPolicy }),
		of(7, daily.SlotAt(now).Add(-24*time.Hour), func(s *db.Scan) { s.TotalUS = 70_000 }),
	)
	samples := a.scrape("/targets/metrics")
	for sample, value := range map[string]float64{
		"riverwatch_targets": 6, "riverwatch_targets_cut": 0,
		"riverwatch_monitor_info interval_seconds=10 key=shop/one method=GET monitor=1 name=m1 tags=,prod,a,b, url=https://example.com/1000": 1,
		"riverwatch_monitor_status monitor=1 status=up":               1,
		"riverwatch_monitor_status monitor=2 status=down":             1,
		"riverwatch_monitor_status monitor=5 status=paused":           1,
		"riverwatch_monitor_status_since_timestamp_seconds monitor=2": float64(time.Date(2026, 6, 1, 11, 0, 0, 0, time.UTC).Unix()),
		"riverwatch_monitor_last_scan_timestamp_seconds monitor=1":    float64(present.UnixMilli()) / 1000,
		"probe_success monitor=1":                                     1, "probe_duration_seconds monitor=1": 0.25,
		"probe_http_duration_seconds monitor=1 phase=resolve": 0.001, "probe_http_duration_seconds monitor=1 phase=connect": 0.002,
		"probe_http_duration_seconds monitor=1 phase=tls": 0.003, "probe_http_duration_seconds monitor=1 phase=processing": 0.004,
		"probe_http_duration_seconds monitor=1 phase=transfer": 0.005, "probe_http_status_code monitor=1": 200,
		"probe_ssl_earliest_cert_expiry monitor=1": float64(time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC).Unix()),
		"probe_success monitor=2":                  0, "probe_duration_seconds monitor=2": 0.9,
		"probe_success monitor=3": 1, "probe_duration_seconds monitor=3": 0.06,
		"probe_success monitor=7": 1, "probe_duration_seconds monitor=7": 0.07,
	} {
		require.Contains(t, samples, sample)
		require.InDelta(t, value, samples[sample], 1e-9, sample)
	}
	for _, absent := range []string{
		"probe_success monitor=4", "probe_success monitor=5", "probe_http_status_code monitor=2", "probe_http_duration_seconds monitor=3 phase=tls",
		"riverwatch_monitor_status monitor=6 status=up", "probe_ssl_earliest_cert_expiry monitor=7",
	} {
		require.NotContains(t, samples, absent)
	}
	require.InDelta(t, 5, a.scrape("/targets/metrics?tag=prod")["riverwatch_targets"], 0)
	require.InDelta(t, 0, a.scrape("/targets/metrics?tag=none")["riverwatch_targets"], 0)
	require.Equal(t, http.StatusBadRequest, a.get("/targets/metrics?tags=prod").status)

	t.Run("ForPrometheus", func(t *testing.T) {
		t.Parallel()
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/targets/metrics", http.NoBody)
		request.Header.Set("Accept", "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
		request.Header.Set("Accept-Encoding", "gzip")
		answer := a.serve(request)
		require.Equal(t, http.StatusOK, answer.status, answer.raw)
		require.Equal(t, "gzip", answer.header.Get("Content-Encoding"))
		unpacked, err := gzip.NewReader(strings.NewReader(answer.raw))
		require.NoError(t, err)
		text, err := io.ReadAll(unpacked)
		require.NoError(t, err)
		require.Equal(t, a.get("/targets/metrics").raw, string(text))
	})
}

// Texts that people give do not break what Prometheus reads: they come back as they are.
func TestTargetsWithHostileNames(t *testing.T) {
	t.Parallel()
	a, _ := scrapedAPI(t)
	names := []string{
		"line\nprobe_success{monitor=\"9\"} 1", `quote"`, `back\slash\n`, "# HELP probe_success", "tab\tand\u202eturned", "{}=,", "émoji 🚀", "",
	}
	dbtest.Monitors(t, a.pool, uptime.Schedule{Interval: 60}, time.Now(), len(names), func(n int, m *db.Monitor) {
		m.Name, m.Tags = names[n], []string{names[n]}
	})
	dbtest.Exec(t, a.pool, "UPDATE monitors SET key = name || id")
	answer := a.get("/targets/metrics")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(answer.raw))
	require.NoError(t, err, answer.raw)
	var got []string
	for _, metric := range families["riverwatch_monitor_info"].GetMetric() {
		for _, label := range metric.GetLabel() {
			if label.GetName() == "name" {
				got = append(got, label.GetValue())
			}
		}
	}
	require.ElementsMatch(t, names, got)
	require.NotContains(t, families, "probe_success")
}

// Scrapes share an answer for 15 s, those that come at the same time too, and each tag has its own.
func TestTargetsAreKept(t *testing.T) {
	t.Parallel()
	a, clock := scrapedAPI(t)
	dbtest.Monitors(t, a.pool, uptime.Schedule{Interval: 60}, time.Now(), 3, func(n int, m *db.Monitor) {
		if n < 2 {
			m.Tags = []string{"prod"}
		}
	})
	// Each question leaves its mark.
	dbtest.Exec(t, a.pool, `CREATE SEQUENCE asked; ALTER TABLE monitor_states RENAME TO states;
		CREATE FUNCTION ask() RETURNS boolean LANGUAGE sql VOLATILE AS $$ SELECT nextval('asked') > 0 FROM pg_sleep(0.2) $$;
		CREATE VIEW monitor_states AS WITH asked AS MATERIALIZED (SELECT ask() AS yes) SELECT s.* FROM states AS s, asked WHERE asked.yes`)
	asked := func() int {
		return dbtest.One[int](t, a.pool, "SELECT coalesce(pg_sequence_last_value('asked'), 0)::int")
	}
	var scrapes sync.WaitGroup
	for range 8 {
		scrapes.Go(func() { _ = a.get("/targets/metrics") })
	}
	scrapes.Wait()
	require.InDelta(t, 3, a.scrape("/targets/metrics")["riverwatch_targets"], 0)
	require.Equal(t, 1, asked())
	require.InDelta(t, 2, a.scrape("/targets/metrics?tag=prod")["riverwatch_targets"], 0)
	require.Equal(t, 2, asked())

	dbtest.Exec(t, a.pool, "UPDATE monitors SET deleted_at = now() WHERE id = 1000")
	clock.Store(new(clock.Load().Add(14 * time.Second)))
	require.InDelta(t, 3, a.scrape("/targets/metrics")["riverwatch_targets"], 0)
	clock.Store(new(clock.Load().Add(time.Second)))
	require.InDelta(t, 2, a.scrape("/targets/metrics")["riverwatch_targets"], 0)
	require.InDelta(t, 1, a.scrape("/targets/metrics?tag=prod")["riverwatch_targets"], 0)
	require.Equal(t, 4, asked())
}

// Of more monitors than an answer may have, it has the first 10,000 and says so.
func TestTargetsAreCut(t *testing.T) {
	t.Parallel()
	a, clock := scrapedAPI(t)
	const monitors = 10_001
	dbtest.Exec(t, a.pool, `INSERT INTO monitors (id, name, tags, method, url, host, timeout_ms, max_redirects, accepted_statuses, regexp_invert,
			interval_seconds, phase_ms, retry_interval_seconds, failure_threshold, success_threshold, created_at, updated_at)
		SELECT n, 'shop', ARRAY[CASE WHEN n <= 10000 THEN 'most' ELSE 'rest' END], 'GET', 'https://example.com/' || n, 'example.com', 1000, 0, '{}', false, 10, 0, 5, 1, 1, now(), now()
		FROM generate_series(1, $1::bigint) AS n`, monitors)
	dbtest.Exec(t, a.pool, "INSERT INTO monitor_states SELECT id, 'up', now(), now(), 0, 0 FROM monitors")
	dbtest.Exec(t, a.pool, `INSERT INTO monitor_log (slot, monitor_id, late_ms, total_us, monitor_version, outcome, reason, worker)
		SELECT $1::timestamptz - s * INTERVAL '10 seconds', id, 0, 1, 1, 'ok', 'round', '' FROM monitors, generate_series(0, 9) AS s`, clock.Load().Truncate(10*time.Second))
	cut := a.get("/targets/metrics")
	require.Equal(t, http.StatusOK, cut.status, cut.raw)
	require.Contains(t, cut.raw, "\nriverwatch_targets 10000\n")
	require.Contains(t, cut.raw, "\nriverwatch_targets_cut 1\n")
	require.Equal(t, 10_000, strings.Count(cut.raw, "\nprobe_success{"))
	most := a.get("/targets/metrics?tag=most")
	require.Contains(t, most.raw, "\nriverwatch_targets_cut 0\n")
	require.Equal(t, 10_000, strings.Count(most.raw, "\nprobe_success{"))
	require.Contains(t, a.get("/targets/metrics?tag=rest").raw, "\nriverwatch_targets 1\n")
}

// A scrape locks the chunks that the last slots are in, and not each that there is: also the eighth of a connection.
func TestTargetsLockFewChunks(t *testing.T) {
	t.Parallel()
	const chunks = 20
	pool := dbtest.New(t)
	now := time.Date(2026, 6, 1, 12, 30, 0, 0, time.UTC)
	dbtest.Exec(t, pool, "SELECT set_log_chunk(INTERVAL '1 hour')")
	for n := range chunks {
		dbtest.Insert(t, pool, dbtest.Scan(1000, now.Add(-time.Duration(n)*time.Hour)))
	}
	dbtest.Monitors(t, pool, uptime.Schedule{Interval: 60}, now.Add(-time.Hour), 3, func(int, *db.Monitor) {})
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	for range 8 {
		require.NoError(t, httpapi.ReadTargets(t.Context(), tx, now))
	}
	locked := dbtest.One[int](t, tx, `
		SELECT count(DISTINCT c.oid)::int FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
		WHERE l.pid = pg_backend_pid() AND c.relkind = 'r' AND c.relname LIKE '\_hyper\_%\_chunk'`)
	require.NotZero(t, locked)
	require.LessOrEqual(t, locked, 2)
}
