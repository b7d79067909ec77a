//go:build linux

package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"riverwatch/db/dbtest"
	"riverwatch/jobs"
	"riverwatch/monitors"
	"riverwatch/probe"
	"riverwatch/queue"
	"riverwatch/sight"
	"riverwatch/uptime"
	"riverwatch/wait"
)

// Faults of what is inside a process: its clock, its jobs, its probes. Here the workers are ours, in this process, with
// the real queue and recorder on a real database. The target is played by the probe, which keeps the same ledger.
func insideFaults() []fault {
	return []fault{
		{"F07", "a scan panics", true, setup{gaps: []string{"internal_error"}}, panicInScans},
		{"F08", "a probe ignores its deadline", false, setup{gaps: []string{"worker_lost"}}, ignoreDeadline},
		{"F33", "the leader's clock is wrong by minutes", false, setup{gaps: lostWithWorkers}, rescueTheLiving},
		{"F34", "a worker's clock is an hour ahead", true, setup{}, clockOff(time.Hour)},
		{"F34", "a worker's clock is an hour behind", true, setup{}, clockOff(-time.Hour)},
	}
}

func TestInside(t *testing.T) { //nolint:tparallel // beside sees to that
	t.Parallel()
	eachFault(t, insideFaults(), beside(runInside))
}

func runInside(t *testing.T, f fault, seed uint64) {
	t.Helper()
	w := &world{
		setup: f.setup, random: rand.New(rand.NewPCG(seed, 0)), seen: map[seenRow]int{}, began: time.Now(),
		target: &target{}, direct: dbtest.New(t),
	}
	w.watch(t)
	f.inject(t, w)
	w.heal(t)
	w.stopInside()
	w.unwatch()
	w.watching.Wait()
	w.check(t)
}

// proberFunc is a probe of a path.
type proberFunc func(ctx context.Context, path string) probe.Result

// prober notes each probe in the ledger, as the target does.
type prober struct {
	*target

	probe proberFunc
}

// Probe implements jobs.Prober.
func (p prober) Probe(ctx context.Context, target probe.Target) probe.Result {
	parsed, err := url.Parse(target.URL)
	if err != nil {
		return probe.Result{Start: time.Now(), Outcome: uptime.Inconclusive}
	}
	p.note(hit{path: parsed.Path, at: time.Now(), well: true})
	return p.probe(ctx, parsed.Path)
}

// well probes for so long, and finds all well.
func well(d time.Duration) proberFunc {
	return func(context.Context, string) probe.Result {
		start := time.Now()
		time.Sleep(d)
		return wellSince(start)
	}
}

func wellSince(start time.Time) probe.Result {
	status := http.StatusOK
	return probe.Result{Start: start, Outcome: uptime.OK, Total: time.Since(start), HTTPStatus: &status}
}

// startInside starts a worker with a clock and a probe of its own.
func (w *world) startInside(t *testing.T, name string, now func() time.Time, f proberFunc) {
	t.Helper()
	pool := dbtest.Open(t, w.direct.Config().ConnString())
	worker, err := jobs.NewWorker(jobs.Config{
		Pool: pool, Name: name, Prober: prober{w.target, f}, Now: now, SoftStop: 10 * time.Second,
		Limits: jobs.Limits{Probes: 1000, ProbesPerHost: 1000, Results: 10_000, Retries: 100},
		Logger: discard, Quiet: discard, Registry: prometheus.NewRegistry(),
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	w.inside = append(w.inside, sync.OnceFunc(func() {
		stop()
		require.NoError(t, <-ended)
	}))
	t.Cleanup(w.inside[len(w.inside)-1])
}

func (w *world) stopInside() {
	w.stopped = time.Now()
	for _, stop := range w.inside {
		stop()
	}
}

// createInside creates the monitors, each with a path of its own.
func (w *world) createInside(t *testing.T, methods ...string) {
	t.Helper()
	var watched []monitors.Monitor
	for n := range defaultMonitors {
		m := monitors.New()
		m.URL, m.IntervalSeconds = fmt.Sprintf("http://inside.example/%d", n), interval
		m.FailureThreshold, m.SuccessThreshold = 1, 1
		if n < len(methods) {
			m.Method = methods[n]
		}
		watched = append(watched, m.Complete())
	}
	store := monitors.Store{Conn: w.direct, Queue: newQueue(t, w.direct)}
	creations, err := store.Create(t.Context(), watched, false)
	require.NoError(t, err)
	for _, creation := range creations {
		w.monitors = append(w.monitors, creation.Monitor.ID)
	}
	w.created = append(w.created, w.monitors...)
}

// panicInScans lets one scan in ten panic, once it has made its request.
func panicInScans(t *testing.T, w *world) {
	t.Helper()
	w.createInside(t)
	random := rand.New(rand.NewPCG(w.random.Uint64(), 0))
	var mu sync.Mutex
	panics := 0
	panicking := true
	w.startInside(t, "w1", time.Now, func(ctx context.Context, path string) probe.Result {
		mu.Lock()
		unlucky := panicking && random.IntN(10) == 0
		if unlucky {
			panics++
		}
		mu.Unlock()
		if unlucky {
			panic("a bug")
		}
		return well(time.Millisecond)(ctx, path)
	})
	time.Sleep(full(12*time.Second, time.Minute))
	mu.Lock()
	panicking = false
	mu.Unlock()
	w.calm = time.Now()
	time.Sleep(time.Second) // those that panicked are declared
	require.NotZero(t, panics)
	require.Len(t, w.ask(t, "SELECT reason FROM scan_gaps WHERE reason = 'internal_error'", nil), panics)
}

// ignoreDeadline lets one probe go on for longer than its job may, whatever its context says.
func ignoreDeadline(t *testing.T, w *world) {
	t.Helper()
	w.createInside(t)
	const stuckPath = "/7"
	var isStuck atomic.Bool
	stuck := make(chan struct{})
	w.startInside(t, "w1", time.Now, func(_ context.Context, path string) probe.Result {
		start := time.Now()
		if path == stuckPath && isStuck.CompareAndSwap(false, true) {
			close(stuck)
			time.Sleep(75 * time.Second) // a job may take 45 s, and is rescued after 60 s
		}
		return wellSince(start)
	})
	<-stuck
	from := time.Now()
	time.Sleep(80 * time.Second)
	missed := w.ask(t, `SELECT 'monitor ' || u.monitor_id || ' at ' || u.slot FROM unaccounted_slots(@from, @until) AS u`,
		pgx.NamedArgs{"from": from.Add(time.Second), "until": from.Add(70 * time.Second)})
	require.Empty(t, missed, "others, and later slots of the same monitor, go on")
}

// rescueTheLiving makes a leader that holds each running job to be lost, as one does whose clock is minutes ahead. (That such
// a clock is told of, F34 sees.) Requests that must not be made twice are not: the ledger knows of each slot.
func rescueTheLiving(t *testing.T, w *world) {
	t.Helper()
	w.createInside(t, slices.Repeat([]string{http.MethodPost}, defaultMonitors/2)...)
	w.startRescuer(t)
	for n := range 2 {
		w.startInside(t, fmt.Sprintf("w%d", n+1), time.Now, well(4*time.Second))
	}
	time.Sleep(80 * time.Second)
	rescued := w.ask(t, `SELECT id::text FROM river_job WHERE kind = 'round' AND errors::text LIKE '%rescued%'`, nil)
	t.Logf("%d live jobs were rescued", len(rescued))
	require.NotEmpty(t, rescued, "the fault is not felt")
}

// startRescuer starts a client of River that works nothing, and is the leader. Its patience is over at once.
func (w *world) startRescuer(t *testing.T) {
	t.Helper()
	pool := dbtest.Open(t, w.direct.Config().ConnString())
	workers := river.NewWorkers() // it must know the kinds of the jobs that it rescues
	river.AddWorker(workers, river.WorkFunc(func(context.Context, *river.Job[queue.RoundArgs]) error { return nil }))
	river.AddWorker(workers, river.WorkFunc(func(context.Context, *river.Job[queue.ScanArgs]) error { return nil }))
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		ID: "leader", Logger: discard, Workers: workers, Queues: map[string]river.QueueConfig{"nothing": {MaxWorkers: 1}},
		JobTimeout: time.Millisecond, RescueStuckJobsAfter: time.Millisecond,
	})
	require.NoError(t, err)
	require.NoError(t, client.Start(context.Background()))
	t.Cleanup(func() { _ = client.Stop(context.Background()) })
	require.Eventually(t, func() bool {
		return len(w.ask(t, "SELECT leader_id FROM river_leader WHERE leader_id = 'leader'", nil)) > 0
	}, 30*time.Second, 50*time.Millisecond)
}

// clockOff gives one of two workers a clock that is wrong, for a while, of which it warns.
func clockOff(by time.Duration) func(t *testing.T, w *world) {
	return func(t *testing.T, w *world) {
		t.Helper()
		w.createInside(t)
		var mu sync.Mutex
		off := by
		wrong := func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(off)
		}
		for name, now := range map[string]func() time.Time{"wrong": wrong, "right": time.Now} {
			clock := sight.NewClock(prometheus.NewRegistry(), w.direct, name, now, discard)
			t.Cleanup(wait.Beside(t.Context(), clock.Run))
			w.startInside(t, name, now, well(10*time.Millisecond))
		}
		time.Sleep(full(13*time.Second, time.Minute))
		warnings := func() []string {
			return w.ask(t, "SELECT kind || ' ' || unnest(open_processes) FROM warnings WHERE closed_at IS NULL", nil)
		}
		require.Equal(t, []string{"clock_skew wrong"}, warnings())
		mu.Lock()
		off = 0
		mu.Unlock()
		w.calm = time.Now()
		require.Eventually(t, func() bool { return len(warnings()) == 0 }, time.Minute, 100*time.Millisecond)
	}
}
