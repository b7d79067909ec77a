package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/egress"
	"riverwatch/probe"
)

// output collects what a command prints while it runs.
type output struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.String()
}

// command runs the program with an environment of its own.
func command(ctx context.Context, environment map[string]string, args ...string) (stdout, stderr string, err error) {
	var out, errOut output
	err = run(ctx, args, func(name string) string { return environment[name] }, &out, &errOut)
	return out.String(), errOut.String(), err
}

func TestHelp(t *testing.T) {
	t.Parallel()
	stdout, _, err := command(t.Context(), nil)
	require.NoError(t, err)
	for _, name := range []string{"serve", "api", "worker", "migrate", "rollup", "report", "generate-monitors", "check", "healthcheck"} {
		require.Contains(t, stdout, name)
		help, _, err := command(t.Context(), nil, name, "--help")
		require.NoError(t, err)
		require.Contains(t, help, "Usage:")
	}
	stdout, _, err = command(t.Context(), nil, "migrate")
	require.NoError(t, err)
	require.Contains(t, stdout, "status")
}

func TestUsageErrorsExitWith2(t *testing.T) {
	t.Parallel()
	database := map[string]string{"DATABASE_URL": "postgres://u@127.0.0.1:1/d"}
	for _, args := range [][]string{
		{"serve", "--bogus"},
		{"serve", "x"},
		{"check"},
		{"check", "a", "b"},
		{"check", "--timeout", "1h", "http://example.com"},
		{"check", "--allow-cidr", "nonsense", "http://example.com"},
		{"check", "--regexp", "(", "http://example.com"},
		{"migrate", "down", "--steps", "0"},
		{"rollup"},
		{"report"},
		{"report", "--month", "October"},
		{"report", "--month", "2099-01"},
		{"report", "--month", "2026-10", "--format", "pdf"},
		{"rollup", "--from", "yesterday"},
		{"rollup", "--from", "now-1h", "--to", "now-2h"},
		{"generate-monitors", "--count", "0", "--url", "http://example.com"},
		{"generate-monitors", "--count", "2", "--url", "http://example.com", "--interval", "1500ms"},
	} {
		_, _, err := command(t.Context(), database, args...)
		require.Error(t, err, args)
		require.Equal(t, exitUsage, exitCode(err), "%v: %v", args, err)
	}
	_, _, err := command(t.Context(), database, "nonsense")
	require.ErrorContains(t, err, "nonsense")
}

func TestSettings(t *testing.T) {
	t.Parallel()

	t.Run("HaveDefaults", func(t *testing.T) {
		t.Parallel()
		c, err := loadConfig(func(name string) string {
			return map[string]string{"DATABASE_URL": "postgres://u@127.0.0.1:5432/d"}[name]
		})
		require.NoError(t, err)
		require.Equal(t, "127.0.0.1:8080", c.Listen.String())
		require.Empty(t, c.AllowCIDRs)
		require.Empty(t, c.AllowPorts)
		require.False(t, c.PrivateWrites)
		require.Empty(t, c.RefuseCIDRs)
		require.Empty(t, c.NAT64)
		require.Equal(t, probe.Settings{MaxBodyBytes: 1 << 20, BodyMemory: 64 << 20}, c.probeSettings(egress.Policy{}))
		require.Equal(t, []int{2000, 200, 10}, []int{c.Probes, c.ProbesPerHost, c.DBConnections})
		require.Equal(t, 6*time.Hour, time.Duration(c.LogChunk))
	})

	t.Run("TellTheProbeWhatItMay", func(t *testing.T) {
		t.Parallel()
		environment := map[string]string{
			"DATABASE_URL": "postgres://u@127.0.0.1:5432/d", "RIVERWATCH_ALLOW_CIDRS": "10.0.0.0/8, 192.168.0.0/16@8080",
			"RIVERWATCH_ALLOW_PORTS": "22,25", "RIVERWATCH_REFUSE_CIDRS": "10.9.0.0/16",
			"RIVERWATCH_NAT64_PREFIXES": "64:ff9b:1::/96", "RIVERWATCH_MAX_BODY_BYTES": "8388608", "RIVERWATCH_BODY_MEMORY": "8388608",
			"RIVERWATCH_ALLOW_PRIVATE_WRITES": "true", "RIVERWATCH_RESOLVER": "9.9.9.9:53", "RIVERWATCH_CONTACT": "https://example.com/bot",
		}
		c, err := loadConfig(func(name string) string { return environment[name] })
		require.NoError(t, err)
		policy, err := c.policy(t.Context(), c.Listen)
		require.NoError(t, err)
		for address, allowed := range map[string]bool{
			"10.1.1.1:80": true, "10.1.1.1:22": true, "10.1.1.1:23": false, "10.9.1.1:80": false, "192.168.1.1:8080": true,
			"192.168.1.1:80": false, "[64:ff9b:1::a01:101]:80": true, "[64:ff9b:1::c0a8:101]:80": false,
		} {
			require.Equal(t, allowed, policy.Check(netip.MustParseAddrPort(address)) == nil, address)
		}
		require.NoError(t, policy.CheckWrite(netip.MustParseAddrPort("10.1.1.1:80")))
		settings := c.probeSettings(policy)
		require.Equal(t, int64(8<<20), settings.MaxBodyBytes)
		require.Equal(t, 8<<20, settings.BodyMemory)
		require.Equal(t, int64(96<<20+8<<20+c.Probes*64<<10), c.memoryLimit())
		require.Equal(t, "9.9.9.9:53", settings.Resolver.String())
		require.Equal(t, "https://example.com/bot", settings.Contact)
	})

	t.Run("AreAllReportedAtOnce", func(t *testing.T) {
		t.Parallel()
		wrong := map[string]string{
			"RIVERWATCH_LISTEN": "localhost", "RIVERWATCH_ALLOW_CIDRS": "10.0.0.0/8,nonsense", "RIVERWATCH_PROBES": "many",
			"RIVERWATCH_PROBES_PER_HOST": "1e3", "RIVERWATCH_DB_CONNECTIONS": "x", "RIVERWATCH_LOG_CHUNK": "6",
			"RIVERWATCH_LOG_LEVEL": "loud", "RIVERWATCH_ALLOW_PORTS": "ssh", "RIVERWATCH_REFUSE_CIDRS": "nonsense",
			"RIVERWATCH_NAT64_PREFIXES": "64:ff9b::/64", "RIVERWATCH_MAX_BODY_BYTES": "1MB", "RIVERWATCH_RESOLVER": "dns.example",
			"RIVERWATCH_RECORDER_QUEUE": "all", "RIVERWATCH_RETRIES_PER_SECOND": "few", "RIVERWATCH_LOG_FORMAT": "xml", "RIVERWATCH_ALLOW_PRIVATE_WRITES": "perhaps",
		}
		for _, name := range []string{"serve", "api", "worker", "healthcheck", "generate-monitors"} {
			_, _, err := command(t.Context(), wrong, name)
			require.Equal(t, exitUsage, exitCode(err))
			require.ErrorContains(t, err, "DATABASE_URL: is required")
			for setting := range wrong {
				require.ErrorContains(t, err, setting+": ")
			}
		}
	})

	t.Run("MustBeWithinTheirRanges", func(t *testing.T) {
		t.Parallel()
		wrong := map[string]string{
			"DATABASE_URL": "postgres://u@h:port/d", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "collector:4318", "RIVERWATCH_PROBES": "0", "RIVERWATCH_PROBES_PER_HOST": "-1",
			"RIVERWATCH_DB_CONNECTIONS": "3", "RIVERWATCH_LOG_CHUNK": "1m", "RIVERWATCH_MAX_BODY_BYTES": "8388609", "RIVERWATCH_BODY_MEMORY": "8388607",
			"RIVERWATCH_CONTACT": "https://example.com/\nX-Injected: 1", "RIVERWATCH_RECORDER_QUEUE": "99",
			"RIVERWATCH_RETRIES_PER_SECOND": "-1",
		}
		_, _, err := command(t.Context(), wrong, "migrate", "status")
		for setting := range wrong {
			require.ErrorContains(t, err, setting+": ")
		}
		require.NotContains(t, err.Error(), "u@h", "a password would be in it")
	})
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"DATABASE_URL": dbtest.EmptyURL(t)}

	stdout, _, err := command(t.Context(), environment, "migrate", "status")
	require.Error(t, err)
	require.Equal(t, exitFailed, exitCode(err))
	require.Contains(t, stdout, "riverwatch: version 0 of ")

	stdout, stderr, err := command(t.Context(), environment, "migrate", "up")
	require.NoError(t, err, stderr)
	matched := regexp.MustCompile(`riverwatch: version (\d+) of (\d+)`).FindStringSubmatch(stdout)
	require.NotNil(t, matched, stdout)
	require.Equal(t, matched[1], matched[2])
	require.Contains(t, stderr, `"msg":"schema is new","migrations":`+matched[1])
	require.Equal(t, 2, strings.Count(stderr, "\n"), "a line a step: %s", stderr)
	_, stderr, err = command(t.Context(), environment, "migrate", "up")
	require.NoError(t, err)
	require.Contains(t, stderr, `"msg":"database ready","schema":`+matched[1])
	require.NotContains(t, stderr, "schema is new")

	environment["RIVERWATCH_LOG_LEVEL"] = "debug"
	_, _, err = command(t.Context(), environment, "migrate", "down", "--steps", "1")
	require.NoError(t, err)
	_, stderr, err = command(t.Context(), environment, "migrate", "up")
	require.NoError(t, err)
	require.Contains(t, stderr, `"msg":"migration"`)
	require.Contains(t, stderr, `"msg":"schema is up to date"`)

	_, _, err = command(t.Context(), environment, "migrate", "down", "--steps", "100")
	require.NoError(t, err)
	_, _, err = command(t.Context(), environment, "migrate", "status")
	require.Error(t, err)
}

func TestGenerateMonitors(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.URL(t)
	environment := map[string]string{"DATABASE_URL": databaseURL, "RIVERWATCH_ALLOW_CIDRS": "127.0.0.0/8"}
	args := []string{"generate-monitors", "--count", "1500", "--url", "http://127.0.0.1:9999/{n}", "--interval", "10s"}

	stdout, stderr, err := command(t.Context(), environment, args...)
	require.NoError(t, err)
	require.Contains(t, stdout, "created 1500 monitors")
	require.Contains(t, stderr, "1500/1500")
	stdout, _, err = command(t.Context(), environment, args...)
	require.NoError(t, err)
	require.Contains(t, stdout, "created 0 monitors")
	require.Contains(t, stdout, "1500 were there already")

	pool, err := db.Open(t.Context(), databaseURL, 4)
	require.NoError(t, err)
	defer pool.Close()
	var monitors, promised, rounds int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT
		(SELECT count(*) FROM monitors WHERE url LIKE 'http://127.0.0.1:9999/%' AND interval_seconds = 10),
		(SELECT count(*) FROM monitor_schedules WHERE until_at IS NULL),
		(SELECT count(*) FROM river_job WHERE kind = 'round')`).Scan(&monitors, &promised, &rounds))
	require.Equal(t, []int{1500, 1500}, []int{monitors, promised})
	require.GreaterOrEqual(t, rounds, 10, "one for each phase at least")

	delete(environment, "RIVERWATCH_ALLOW_CIDRS")
	_, _, err = command(t.Context(), environment, args...)
	require.ErrorContains(t, err, "RIVERWATCH_ALLOW_CIDRS")
}

// startedAt is where a server that was started says it is.
var startedAt = regexp.MustCompile(`http://(\S+)/docs/`)

// server runs the program until stop is called, which gives its error.
type running struct {
	t       *testing.T
	baseURL string
	stdout  *output
	stderr  *output
	stop    func() error
}

func start(t *testing.T, environment map[string]string, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t, stdout: &output{}, stderr: &output{}}
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, args, func(name string) string { return environment[name] }, r.stdout, r.stderr)
	}()
	r.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = r.stop() })
	return r
}

// answers waits until the program says where it is.
func (r *running) answers() *running {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		if matched := startedAt.FindStringSubmatch(r.stdout.String()); matched != nil {
			r.baseURL = "http://" + matched[1]
		}
		return r.baseURL != ""
	}, 30*time.Second, 20*time.Millisecond, "stderr: %s", r.stderr)
	return r
}

func (r *running) request(method, path, body string, headers ...string) (int, string) {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.baseURL+path, strings.NewReader(body))
	require.NoError(r.t, err)
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	require.NoError(r.t, err)
	defer response.Body.Close() //nolint:errcheck // nothing is lost
	raw, err := io.ReadAll(response.Body)
	require.NoError(r.t, err)
	return response.StatusCode, string(raw)
}

// freeAddress gives an address of loopback at which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

var (
	metricName   = regexp.MustCompile(`\b(riverwatch|process|go|probe)_[a-z_]+\b`)
	histogramEnd = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// requireMetrics looks for all metrics that a dashboard asks for, but for some, and for more that people write alerts on. What is
// asked of the database is kept for some seconds.
func requireMetrics(t *testing.T, url, dashboard string, wanted []string, but ...string) {
	t.Helper()
	raw, err := os.ReadFile("../../deploy/grafana/" + dashboard)
	require.NoError(t, err)
	var panels struct {
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(raw, &panels))
	ids := map[int]bool{}
	var asked []string
	for _, panel := range panels.Panels {
		require.False(t, ids[panel.ID], "%s: panel %d is there twice", dashboard, panel.ID)
		ids[panel.ID] = true
		for _, target := range panel.Targets {
			names := metricName.FindAllString(target.Expr, -1)
			require.NotEmpty(t, names, "%s: %s asks for nothing: %s", dashboard, panel.Title, target.Expr)
			asked = append(asked, names...)
		}
	}
	asked = slices.DeleteFunc(asked, func(name string) bool { return slices.Contains(but, name) })
	require.Greater(t, len(asked), 10)
	for _, name := range asked {
		wanted = append(wanted, "# TYPE "+histogramEnd.ReplaceAllString(name, "")+" ")
	}

	var missing []string
	require.Eventually(t, func() bool {
		response, err := http.Get(url)
		require.NoError(t, err)
		defer response.Body.Close() //nolint:errcheck // nothing is lost
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		missing = slices.DeleteFunc(slices.Clone(wanted), func(line string) bool {
			return strings.Contains(string(text), "\n"+line)
		})
		return len(missing) == 0
	}, 20*time.Second, 200*time.Millisecond, "missing: %v", &missing)
}

func TestServe(t *testing.T) {
	t.Parallel()
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok")
	}))
	t.Cleanup(target.Close)
	environment := map[string]string{
		"DATABASE_URL": dbtest.EmptyURL(t), "RIVERWATCH_LISTEN": "127.0.0.1:0", "RIVERWATCH_ALLOW_CIDRS": "127.0.0.0/8",
		"RIVERWATCH_METRICS_LISTEN": freeAddress(t),
	}
	r := start(t, environment, "serve").answers()
	require.Contains(t, r.stderr.String(), `"msg":"listening","on":"`+r.baseURL+`"`)

	status, raw := r.request(http.MethodPost, "/api/v1/monitors", fmt.Sprintf(`{"url":%q,"interval_seconds":10}`, target.URL))
	require.Equal(t, http.StatusCreated, status, raw)
	var created struct{ ID int64 }
	require.NoError(t, json.Unmarshal([]byte(raw), &created))
	scans := fmt.Sprintf("/api/v1/monitors/%d/scans", created.ID)
	require.Eventually(t, func() bool {
		_, raw := r.request(http.MethodGet, scans, "")
		return strings.Contains(raw, `"reason":"round"`) && strings.Contains(raw, `"reason":"asked"`)
	}, 30*time.Second, 100*time.Millisecond, "the first scan, and the first slot")

	status, raw = r.request(http.MethodPost, "/api/v1/monitors", fmt.Sprintf(`{"url":%q}`, r.baseURL+"/livez"))
	require.Equal(t, http.StatusBadRequest, status, "our own listener is no target: %s", raw)

	status, _ = r.request(http.MethodGet, "/", "")
	require.Equal(t, http.StatusFound, status)
	status, raw = r.request(http.MethodGet, "/river/", "", "Accept", "text/html")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, raw, "<html")
	require.Eventually(t, func() bool {
		_, raw := r.request(http.MethodGet, "/river/api/jobs?state=completed", "")
		return strings.Contains(raw, `"kind":"round"`)
	}, 10*time.Second, 50*time.Millisecond, "River UI shows what was done")
	for _, path := range []string{"/api/v1/monitors", "/river/api/jobs/cancel"} {
		status, _ = r.request(http.MethodPost, path, `{}`, "Sec-Fetch-Site", "cross-site")
		require.Equal(t, http.StatusForbidden, status, "another site's page must not act for who looks at it")
	}

	healthy := map[string]string{"DATABASE_URL": environment["DATABASE_URL"], "RIVERWATCH_LISTEN": strings.TrimPrefix(r.baseURL, "http://")}
	_, _, err := command(t.Context(), healthy, "healthcheck")
	require.NoError(t, err)
	_, _, err = command(t.Context(), healthy, "api")
	require.ErrorContains(t, err, "RIVERWATCH_LISTEN", "the port is taken")

	requireMetrics(t, "http://"+environment["RIVERWATCH_METRICS_LISTEN"]+"/metrics", "riverwatch.json", []string{
		"# TYPE riverwatch_build_info ", "# TYPE riverwatch_workers ", "# TYPE riverwatch_clock_skew_seconds ", "# TYPE go_goroutines ",
		`riverwatch_slots_missed_total{reason="worker_lost"} 0`, `riverwatch_scans_total{outcome="ok"} `, "# TYPE riverwatch_storage_bytes ",
	}, "riverwatch_storage_growth_bytes_per_day", "riverwatch_rolled_up_until_timestamp_seconds") // these two are of later hours
	requireMetrics(t, r.baseURL+"/targets/metrics", "targets.json", []string{"probe_success{", "riverwatch_targets_cut 0"},
		"probe_ssl_earliest_cert_expiry") // the target has none

	require.NoError(t, r.stop())
	_, _, err = command(t.Context(), healthy, "healthcheck")
	require.Error(t, err)
}

func TestAPIAndWorkerWaitForTheSchema(t *testing.T) {
	t.Parallel()
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(target.Close)
	environment := map[string]string{
		"DATABASE_URL": dbtest.EmptyURL(t), "RIVERWATCH_LISTEN": "127.0.0.1:0", "RIVERWATCH_ALLOW_CIDRS": "127.0.0.0/8",
	}
	api := start(t, environment, "api").answers()
	worker := start(t, environment, "worker")
	status, _ := api.request(http.MethodGet, "/readyz", "")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Eventually(t, func() bool { return strings.Contains(worker.stderr.String(), "waiting for the database") },
		10*time.Second, 20*time.Millisecond)

	_, _, err := command(t.Context(), environment, "migrate", "up")
	require.NoError(t, err)
	status, _ = api.request(http.MethodGet, "/readyz", "")
	require.Equal(t, http.StatusOK, status)
	status, raw := api.request(http.MethodPost, "/api/v1/monitors", fmt.Sprintf(`{"url":%q}`, target.URL))
	require.Equal(t, http.StatusCreated, status, raw)
	require.Eventually(t, func() bool {
		_, raw := api.request(http.MethodGet, "/api/v1/monitors?status=up", "")
		return strings.Contains(raw, `"status":"up"`)
	}, 20*time.Second, 100*time.Millisecond, "the worker has begun by itself: %s", worker.stderr)

	require.NoError(t, worker.stop())
	require.NoError(t, api.stop())
}

func TestStopBeforeTheDatabaseIsThere(t *testing.T) {
	t.Parallel()
	worker := start(t, map[string]string{"DATABASE_URL": "postgres://u@127.0.0.1:1/d?sslmode=disable"}, "worker")
	require.Eventually(t, func() bool { return strings.Contains(worker.stderr.String(), "waiting for the database") },
		10*time.Second, 20*time.Millisecond)
	require.NoError(t, worker.stop())
}

func TestExitCode(t *testing.T) {
	t.Parallel()
	require.Equal(t, exitFailed, exitCode(errors.New("x")))
	require.Equal(t, exitUsage, exitCode(fmt.Errorf("wrapped: %w", usageError(errors.New("x")))))
}
