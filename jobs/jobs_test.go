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
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertest"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/egress"
	"riverwatch/history"
	"riverwatch/jobs"
	"riverwatch/monitors/monitorstest"
	"riverwatch/probe"
	"riverwatch/queue"
	"riverwatch/uptime"
)

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

// process is a worker by a clock that stands still, of which the recorder runs and nothing else.
type process struct {
	*monitorstest.Bench

	config        jobs.Config
	worker        *jobs.Worker
	stopRecorder  context.CancelFunc
	recorderEnded chan struct{}
}

// newProcess makes one on a database of its own, with real probes.
func newProcess(t *testing.T) *process {
	t.Helper()
	return newProcessOn(t, dbtest.New(t),
		probe.NewProber(probe.Settings{Policy: egress.Policy{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}, discard),
		jobs.Limits{Probes: 1000, ProbesPerHost: 1000})
}

func newProcessOn(t *testing.T, pool *pgxpool.Pool, prober jobs.Prober, limits jobs.Limits) *process {
	t.Helper()
	limits.Results, limits.Retries = 10_000, 100
	return newProcessOf(t, jobs.Config{Pool: pool, Name: "test", Prober: prober, Limits: limits})
}

// missed gives how many slots were counted as missed, for a reason.
func (p *process) missed(t *testing.T, reason uptime.GapReason) (slots int) {
	t.Helper()
	registry, ok := p.worker.Registry.(*prometheus.Registry)
	require.True(t, ok)
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			labels := metric.GetLabel()
			if family.GetName() == "riverwatch_slots_missed_total" && labels[0].GetValue() == string(reason) {
				slots += int(metric.GetCounter().GetValue())
			}
		}
	}
	return slots
}

// newProcessOf makes one of what is said in config.
func newProcessOf(t *testing.T, config jobs.Config) *process {
	t.Helper()
	p := &process{Bench: monitorstest.On(t, config.Pool), recorderEnded: make(chan struct{})}
	config.Now, config.Quiet, config.Registry = p.Now, discard, prometheus.NewRegistry()
	config.Keep = history.Keep{Scans: 48 * time.Hour, ScansBytes: 1e9, Least: 48 * time.Hour, Hours: 48 * time.Hour, Days: 0}
	if config.Logger == nil {
		config.Logger = slog.New(&p.Logs)
	}
	p.config = config
	var err error
	p.worker, err = jobs.NewWorker(config)
	require.NoError(t, err)

	ctx, stop := context.WithCancel(context.Background())
	p.stopRecorder = stop
	go func() {
		defer close(p.recorderEnded)
		p.worker.Recorder().Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-p.recorderEnded
	})
	return p
}

// beside makes another process on the same database.
func (p *process) beside(t *testing.T, name string, prober jobs.Prober, sentinels ...string) *process {
	t.Helper()
	return newProcessOf(t, jobs.Config{
		Pool: p.Pool, Name: name, Prober: prober, Sentinels: sentinels,
		Limits: jobs.Limits{Probes: 1, ProbesPerHost: 1, Results: 10_000, Retries: 100},
	})
}

// record records scans of outcomes, one after the other, a second apart from at on.
func (p *process) record(t *testing.T, monitor db.Monitor, at time.Time, outcomes ...uptime.Outcome) {
	t.Helper()
	for i, outcome := range outcomes {
		scan := dbtest.Scan(monitor.ID, at.Add(time.Duration(i)*time.Second))
		scan.MonitorVersion, scan.Outcome = monitor.Version, outcome
		require.NoError(t, p.worker.Recorder().Record(t.Context(), scan, nil))
	}
}

// gaps gives the declared gaps of a schedule, oldest first, as "reason from-to monitor" in slots since first.
func (p *process) gaps(t *testing.T, schedule uptime.Schedule, first time.Time) []string {
	t.Helper()
	return dbtest.Column[string](t, p.Pool, `
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
	for _, raw := range dbtest.Column[[]byte](t, p.Pool, `
		SELECT args FROM river_job WHERE kind = $1 AND state = 'available' AND attempt = 0
		ORDER BY scheduled_at, id`, kind.Kind()) {
		var args T
		require.NoError(t, json.Unmarshal(raw, &args))
		all = append(all, args)
	}
	return all
}

func roundOf(monitor db.Monitor, slot time.Time) queue.RoundArgs {
	return queue.RoundArgs{Interval: monitor.IntervalSeconds, PhaseMS: monitor.PhaseMS, Slot: slot}
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
	inserted, err := p.Queue.Insert(ctx, args, nil)
	require.NoError(t, err)
	for i, failure := range failures {
		p.Exec(t, `
			UPDATE river_job SET errors = array_append(errors, jsonb_build_object(
				'at', '2026-06-01T12:00:00Z', 'attempt', $2::int, 'error', $3::text, 'trace', '')) WHERE id = $1`,
			inserted.Job.ID, i+1, failure)
	}
	p.Exec(t, "UPDATE river_job SET state = 'available', finalized_at = NULL, attempt = $2 WHERE id = $1",
		inserted.Job.ID, len(failures))
	job, err := p.Queue.JobGet(ctx, inserted.Job.ID)
	require.NoError(t, err)

	tx, err := p.Pool.Begin(ctx)
	require.NoError(t, err)
	defer tx.Rollback(ctx) //nolint:errcheck // after the commit there is nothing
	result, workErr := rivertest.NewWorker(t, driver, &river.Config{Logger: discard}, worker).WorkJob(ctx, t, tx, job)
	require.NoError(t, tx.Commit(ctx))
	return result, workErr
}

// round works a round at its slot, in time, and gives its output.
func (p *process) round(t *testing.T, args queue.RoundArgs, failures ...string) map[string]any {
	t.Helper()
	result, err := work(t, p, p.worker.RoundWorker(), args, failures...)
	require.NoError(t, err)
	require.Equal(t, river.EventKindJobCompleted, result.EventKind)
	return output(t, result.Job)
}

// tryRound works a round as [tryWork] does.
func (p *process) tryRound(t *testing.T, args queue.RoundArgs) error {
	t.Helper()
	return tryWork(t, p, p.worker.RoundWorker(), args)
}

// tryWork works a job of its own, though there may be such a one already, and gives its error.
func tryWork[T river.JobArgs](t *testing.T, p *process, worker river.Worker[T], args T) error {
	t.Helper()
	tx, err := p.Pool.Begin(t.Context())
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
	return probe.Result{Start: monitorstest.Noon, Outcome: uptime.OK, Total: time.Millisecond}
}

// insertMonitors inserts n active monitors of one schedule, a thing that ids do not easily give, promised from first
// on.
func (p *process) insertMonitors(t *testing.T, n, idStep int, schedule uptime.Schedule, first time.Time) {
	t.Helper()
	dbtest.Monitors(t, p.Pool, schedule, first, n, func(n int, m *db.Monitor) {
		m.ID, m.URL = int64(1000+(n+1)*idStep), fmt.Sprintf("http://many.example/%d", n+1)
		m.AcceptedStatuses, m.MaxRedirects = []string{"200"}, 0
	})
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
