package jobs_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertest"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/jobs"
	"riverwatch/probe"
	"riverwatch/uptime"
)

// When tests begin, unless they run a real client, which knows only the real time.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// driver is that of rivertest, which needs no pool.
var driver = riverpgxv5.New(nil)

var discard = slog.New(slog.DiscardHandler)

// These tests wait for the database and for deadlines more than they compute.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	m.Run()
}

// process is what a riverwatch process is made of, on a database of its own and by a clock that stands still.
type process struct {
	pool     *pgxpool.Pool
	queue    jobs.Queue
	recorder *jobs.Recorder
	scanner  *jobs.Scanner

	logs          logs
	clock         atomic.Int64 // Unix nanoseconds; 0: the real time
	stopRecorder  context.CancelFunc
	recorderEnded chan struct{}
}

func newProcess(t *testing.T) *process {
	t.Helper()
	return newProcessOn(t, dbtest.New(t),
		probe.NewProber(probe.Settings{Policy: probe.Policy{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}, discard),
		jobs.Limits{Probes: 1000, ProbesPerHost: 1000})
}

func newProcessOn(t *testing.T, pool *pgxpool.Pool, prober jobs.Prober, limits jobs.Limits) *process {
	t.Helper()
	p := &process{pool: pool, recorderEnded: make(chan struct{})}
	p.setNow(noon)
	var err error
	p.queue, err = jobs.NewQueue(pool, discard)
	require.NoError(t, err)
	p.recorder = jobs.NewRecorder(pool, p.queue, 10_000, jobs.NewMetrics(prometheus.NewRegistry()), p.now, slog.New(&p.logs))
	p.scanner = jobs.NewScanner(pool, p.queue, prober, p.recorder, limits, "test", p.now)

	ctx, stop := context.WithCancel(context.Background())
	p.stopRecorder = stop
	go func() {
		defer close(p.recorderEnded)
		p.recorder.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-p.recorderEnded
	})
	return p
}

// logs is a slog.Handler that keeps the messages.
type logs struct {
	mu       sync.Mutex
	messages []string
}

func (l *logs) Enabled(context.Context, slog.Level) bool { return true }
func (l *logs) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logs) WithGroup(string) slog.Handler            { return l }

func (l *logs) Handle(_ context.Context, record slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages = append(l.messages, record.Message)
	return nil
}

func (l *logs) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.messages)
}

func (l *logs) await(t *testing.T, message string) {
	t.Helper()
	require.Eventually(t, func() bool { return slices.Contains(l.all(), message) }, 20*time.Second, time.Millisecond)
}

func (p *process) now() time.Time {
	if at := p.clock.Load(); at != 0 {
		return time.Unix(0, at).UTC()
	}
	return time.Now()
}

func (p *process) setNow(at time.Time) { p.clock.Store(at.UnixNano()) }

// config is that of a monitor of a URL, with an interval.
func config(url string, interval int) jobs.MonitorConfig {
	c := jobs.DefaultConfig()
	c.URL, c.IntervalSeconds = url, interval
	return c.WithDefaults()
}

// create creates a monitor.
func (p *process) create(t *testing.T, c jobs.MonitorConfig) db.Monitor {
	t.Helper()
	puts, err := jobs.CreateMonitors(t.Context(), p.pool, p.queue, []jobs.MonitorConfig{c}, false, p.now())
	require.NoError(t, err)
	require.Equal(t, jobs.PutCreated, puts[0].Put)
	return puts[0].Monitor
}

// edit changes a monitor's configuration.
func (p *process) edit(t *testing.T, id int64, change func(c *jobs.MonitorConfig)) db.Monitor {
	t.Helper()
	monitor, err := jobs.EditMonitor(t.Context(), p.pool, p.queue, id, edit(change), p.now())
	require.NoError(t, err)
	return monitor
}

func edit(change func(c *jobs.MonitorConfig)) func(jobs.MonitorConfig) (jobs.MonitorConfig, error) {
	return func(c jobs.MonitorConfig) (jobs.MonitorConfig, error) {
		change(&c)
		return c, nil
	}
}

func (p *process) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	_, err := p.pool.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

// one gives the first column of the only row of a query.
func one[T any](t *testing.T, p *process, sql string, args ...any) T {
	t.Helper()
	rows, err := p.pool.Query(t.Context(), sql, args...)
	require.NoError(t, err)
	value, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	require.NoError(t, err)
	return value
}

// count counts rows: from is what follows FROM.
func (p *process) count(t *testing.T, from string, args ...any) int {
	t.Helper()
	return one[int](t, p, "SELECT count(*)::int FROM "+from, args...)
}

func column[T any](t *testing.T, p *process, sql string, args ...any) []T {
	t.Helper()
	rows, err := p.pool.Query(t.Context(), sql, args...)
	require.NoError(t, err)
	values, err := pgx.CollectRows(rows, pgx.RowTo[T])
	require.NoError(t, err)
	return values
}

// state gives where a monitor stands.
func (p *process) state(t *testing.T, id int64) db.MonitorState {
	t.Helper()
	row, err := db.New(p.pool).GetMonitorWithState(t.Context(), id)
	require.NoError(t, err)
	return row.MonitorState
}

// scans gives a monitor's rows, oldest first, as "reason outcome".
func (p *process) scans(t *testing.T, id int64) []string {
	t.Helper()
	return column[string](t, p, "SELECT reason || ' ' || outcome FROM monitor_log WHERE monitor_id = $1 ORDER BY slot", id)
}

// gaps gives the declared gaps of a schedule, oldest first, as "reason from-to monitor" in slots since first.
func (p *process) gaps(t *testing.T, schedule uptime.Schedule, first time.Time) []string {
	t.Helper()
	return column[string](t, p, `
		SELECT concat_ws(' ', reason,
			round(extract(epoch FROM from_slot - $3) / $1) || '-' || round(extract(epoch FROM to_slot - $3) / $1), monitor_id)
		FROM scan_gaps WHERE interval_seconds = $1 AND phase_ms = $2 ORDER BY from_slot, monitor_id`,
		schedule.Interval, schedule.PhaseMS, first)
}

// jobs gives the args of the jobs of a kind that no one has worked yet, in the order in which they are due.
func openJobs[T river.JobArgs](t *testing.T, p *process) []T {
	t.Helper()
	var kind T
	var all []T
	for _, raw := range column[[]byte](t, p, `
		SELECT args FROM river_job WHERE kind = $1 AND state = 'available' AND attempt = 0
		ORDER BY scheduled_at, id`, kind.Kind()) {
		var args T
		require.NoError(t, json.Unmarshal(raw, &args))
		all = append(all, args)
	}
	return all
}

func scheduleOf(monitor db.Monitor) uptime.Schedule {
	return uptime.Schedule{Interval: monitor.IntervalSeconds, PhaseMS: monitor.PhaseMS}
}

func roundOf(monitor db.Monitor, slot time.Time) jobs.RoundArgs {
	return jobs.RoundArgs{Interval: monitor.IntervalSeconds, PhaseMS: monitor.PhaseMS, Slot: slot}
}

// rescued is what River notes when it takes a job from a worker that it has not heard of for long.
const rescued = "Stuck job rescued by JobRescuer"

// work works a job as a client does that has just fetched it: the job that is there already, or a new one. For each of
// failures the job has been tried before.
func work[T river.JobArgs](
	t *testing.T, p *process, worker river.Worker[T], args T, failures ...string,
) (*rivertest.WorkResult, error) {
	t.Helper()
	ctx := t.Context()
	inserted, err := p.queue.Insert(ctx, args, nil)
	require.NoError(t, err)
	for i, failure := range failures {
		p.exec(t, `
			UPDATE river_job SET errors = array_append(errors, jsonb_build_object(
				'at', '2026-06-01T12:00:00Z', 'attempt', $2::int, 'error', $3::text, 'trace', '')) WHERE id = $1`,
			inserted.Job.ID, i+1, failure)
	}
	p.exec(t, "UPDATE river_job SET state = 'available', finalized_at = NULL, attempt = $2 WHERE id = $1",
		inserted.Job.ID, len(failures))
	job, err := p.queue.JobGet(ctx, inserted.Job.ID)
	require.NoError(t, err)

	tx, err := p.pool.Begin(ctx)
	require.NoError(t, err)
	defer tx.Rollback(ctx) //nolint:errcheck // after the commit there is nothing
	result, workErr := rivertest.NewWorker(t, driver, &river.Config{Logger: discard}, worker).WorkJob(ctx, t, tx, job)
	require.NoError(t, tx.Commit(ctx))
	return result, workErr
}

// round works a round at its slot, in time, and gives its output.
func (p *process) round(t *testing.T, args jobs.RoundArgs, failures ...string) map[string]any {
	t.Helper()
	result, err := work(t, p, &jobs.RoundWorker{Scanner: p.scanner}, args, failures...)
	require.NoError(t, err)
	require.Equal(t, river.EventKindJobCompleted, result.EventKind)
	return output(t, result.Job)
}

// tryRound works a round as [tryWork] does.
func (p *process) tryRound(t *testing.T, args jobs.RoundArgs) error {
	t.Helper()
	return tryWork(t, p, &jobs.RoundWorker{Scanner: p.scanner}, args)
}

// tryWork works a job of its own, though there may be such a one already, and gives its error.
func tryWork[T river.JobArgs](t *testing.T, p *process, worker river.Worker[T], args T) error {
	t.Helper()
	tx, err := p.pool.Begin(t.Context())
	if err != nil {
		return err
	}
	defer tx.Rollback(t.Context()) //nolint:errcheck // the job is not kept
	_, err = rivertest.NewWorker(t, driver, &river.Config{Logger: discard}, worker).Work(t.Context(), t, tx, args, nil)
	return err
}

// stoppedWorker cancels the jobs of a worker when it is told to.
type stoppedWorker[T river.JobArgs] struct {
	river.Worker[T]

	stop <-chan struct{}
}

func (w *stoppedWorker[T]) Work(ctx context.Context, job *river.Job[T]) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-w.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	return w.Worker.Work(ctx, job)
}

func output(t *testing.T, job *rivertype.JobRow) (output map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(job.Output(), &output))
	return output
}

// target is a server that counts its requests by path. Paths that begin with /bad answer 500.
type target struct {
	*httptest.Server

	mu   sync.Mutex
	hits map[string]int
}

func newTarget(t *testing.T) *target {
	t.Helper()
	s := &target{hits: map[string]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.hits[r.URL.Path]++
		s.mu.Unlock()
		if len(r.URL.Path) > 3 && r.URL.Path[:4] == "/bad" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *target) hitsOf(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hits[path]
}

// proberFunc is a prober for what no real target does.
type proberFunc func(ctx context.Context, target probe.Target) probe.Result

func (f proberFunc) Probe(ctx context.Context, target probe.Target) probe.Result {
	return f(ctx, target)
}

// well is the result of a probe that went well.
func well() probe.Result {
	return probe.Result{Start: noon, Outcome: uptime.OK, Total: time.Millisecond}
}

// insertMonitors inserts n active monitors of one schedule, a thing that ids do not easily give, promised from first
// on.
func (p *process) insertMonitors(t *testing.T, n, idStep int, schedule uptime.Schedule, first time.Time) {
	t.Helper()
	p.exec(t, `
		WITH inserted AS (
			INSERT INTO monitors (id, created_at, updated_at, interval_seconds, phase_ms, timeout_ms, max_redirects,
				failure_threshold, success_threshold, retry_interval_seconds, regexp_invert, name, method, url,
				accepted_statuses, tags)
			SELECT 1000 + n * $2, $5, $5, $3, $4, 1000, 0, 3, 2, 20, false, 'many', 'GET',
				'http://many.example/' || n, '{200}', '{}'
			FROM generate_series(1, $1::integer) AS n
			RETURNING id
		), states AS (
			INSERT INTO monitor_states SELECT id, 'pending', $5, $5, 0, 0 FROM inserted
		)
		INSERT INTO monitor_schedules SELECT id, $5, NULL, $3, $4 FROM inserted`,
		n, idStep, schedule.Interval, schedule.PhaseMS, first)
}

func url(format string, args ...any) string {
	return fmt.Sprintf("http://127.0.0.1:9/"+format, args...)
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
