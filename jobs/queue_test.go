package jobs_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/db/dbtest"
	"riverwatch/jobs"
	"riverwatch/monitors/monitorstest"
	"riverwatch/probe"
	"riverwatch/uptime"
)

// start starts a real client, which works jobs by the real time until the test ends or stop is called.
func (p *process) start(t *testing.T, softStop time.Duration) (stop func(), stopped <-chan struct{}) {
	t.Helper()
	p.RunClock()
	ctx, cancel := context.WithCancel(context.Background())
	p.worker.SoftStop = softStop
	client, err := p.worker.Start(ctx)
	require.NoError(t, err)
	t.Cleanup(func() {
		cancel()
		<-client.Stopped()
	})
	return cancel, client.Stopped()
}

func TestStart(t *testing.T) {
	t.Parallel()

	t.Run("EachMonitorIsScannedAtOnceAndAtItsSlots", func(t *testing.T) {
		t.Parallel()
		p, s := newProcess(t), newTarget(t)
		stop, stopped := p.start(t, 20*time.Second)
		var ids []int64
		for i := range 20 {
			ids = append(ids, p.Create(t, monitorstest.Of(s.URL+"/"+itoa(int64(i)), 10)).ID)
		}
		rows := func(reason string) int {
			return dbtest.One[int](t, p.Pool,
				"SELECT count(DISTINCT monitor_id)::int FROM monitor_log WHERE reason = $1 AND outcome = 'ok'", reason)
		}
		require.Eventually(t, func() bool { return rows("asked") == len(ids) }, 20*time.Second, 10*time.Millisecond)
		require.Eventually(t, func() bool { return rows("round") == len(ids) }, 30*time.Second, 50*time.Millisecond)

		end := time.Now()
		stop()
		<-stopped

		require.Zero(t, p.Count(t, `monitor_log AS l JOIN monitors AS m ON m.id = l.monitor_id
			WHERE l.reason = 'round' AND 1000 * extract(epoch FROM l.slot) % 10000 <> m.phase_ms`), "at its slots")
		require.Zero(t, p.Count(t, `(SELECT * FROM unaccounted_slots($1, $2)) AS u`,
			end.Add(-time.Minute), end.Add(-3*time.Second)), "no slot is left out")
		require.Equal(t, 1, p.Count(t, "river_job WHERE kind = 'tend' AND state = 'completed'"))
		for i, id := range ids {
			require.Equal(t, p.Count(t, "monitor_log WHERE monitor_id = $1", id), s.hitsOf("/"+itoa(int64(i))),
				"as many requests as rows")
		}
	})

	t.Run("AtTheStopOpenScansFinishAndNothingIsTaken", func(t *testing.T) {
		t.Parallel()
		var open atomic.Int32
		release := make(chan struct{})
		slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			open.Add(1)
			<-release
		}))
		defer slow.Close()
		p := newProcess(t)
		stop, stopped := p.start(t, 20*time.Second)
		for i := range 5 {
			p.Create(t, monitorstest.Of(slow.URL+"/"+itoa(int64(i)), 86400))
		}
		require.Eventually(t, func() bool { return open.Load() == 5 }, 10*time.Second, time.Millisecond)
		stop()
		late := p.Create(t, monitorstest.Of(slow.URL+"/late", 86400))
		// The job is due, and polling is ten times as frequent as this is long.
		require.Never(t, func() bool { return open.Load() > 5 }, 1500*time.Millisecond, 50*time.Millisecond)
		close(release)
		<-stopped
		require.Equal(t, 5, p.Count(t, "monitor_log WHERE outcome = 'ok'"))
		require.Empty(t, p.Scans(t, late.ID))
		require.Equal(t, 5, p.Count(t, "river_job WHERE kind = 'scan' AND state = 'completed'"))
		require.Equal(t, 1, p.Count(t, "river_job WHERE kind = 'scan' AND state = 'available'"))
	})

	t.Run("WhoHasTooMuchToDoTakesNothing", func(t *testing.T) {
		t.Parallel()
		c := &crowd{release: make(chan struct{})}
		p := newProcessOn(t, dbtest.New(t), c, jobs.Limits{Probes: 1, ProbesPerHost: 10})
		p.worker.SetMaxWaiting(2)
		p.start(t, 20*time.Second)
		for i := range 4 {
			p.Create(t, monitorstest.Of(monitorstest.URL("busy/%d", i), 86400))
		}
		require.Eventually(t, func() bool { return p.worker.WaitForPlace() == 3 }, 10*time.Second, time.Millisecond)
		p.Create(t, monitorstest.Of(monitorstest.URL("one-more"), 86400))
		untaken := func() int { return p.Count(t, "river_job WHERE kind = 'scan' AND state = 'available'") }
		// The job is due, and polling is ten times as frequent as this is long.
		require.Never(t, func() bool { return untaken() != 1 }, 1500*time.Millisecond, 50*time.Millisecond)
		close(c.release)
		require.Eventually(t, func() bool { return p.Count(t, "monitor_log") == 5 }, 10*time.Second, 10*time.Millisecond)
	})

	t.Run("ScansThatOutlastTheStopAreInconclusive", func(t *testing.T) {
		t.Parallel()
		probing := make(chan struct{})
		p := newProcess(t)
		p.worker.SetProber(proberFunc(func(ctx context.Context, _ probe.Target) probe.Result {
			close(probing)
			<-ctx.Done()
			return probe.Result{Start: time.Now(), Outcome: uptime.Inconclusive}
		}))
		stop, stopped := p.start(t, 10*time.Millisecond)
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("hangs"), 86400))
		<-probing
		stop()
		<-stopped
		require.Equal(t, []string{"asked inconclusive"}, p.Scans(t, monitor.ID))
		require.Equal(t, uptime.Pending, p.State(t, monitor.ID).Status, "our own trouble is no failure of the target")
	})

	t.Run("WithoutDatabaseItDoesNotStart", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		p.Pool.Close()
		_, err := p.worker.Start(t.Context())
		require.ErrorContains(t, err, "start the River client: ")
	})
}

func TestRescuedRoundsAreTriedSoon(t *testing.T) {
	t.Parallel()
	for attempt, want := range map[int]time.Duration{
		1: time.Second, 2: 2 * time.Second, 4: 8 * time.Second,
		9: 30 * time.Second,
	} {
		before := time.Now()
		at := jobs.RetryAfter(attempt)
		require.False(t, at.Before(before.Add(want)), attempt)
		require.False(t, at.After(time.Now().Add(want)), attempt)
	}
}

// River's own rescuer takes a round from a worker that died: what it notes of that is what the gap's reason is read from.
func TestARescuedRoundSaysThatItsWorkerWasLost(t *testing.T) {
	t.Parallel()
	p, s := newProcess(t), newTarget(t)
	monitor := p.Create(t, monitorstest.Of(s.URL+"/good", 60))
	slot := monitor.Schedule().SlotAt(p.Now().Add(-10 * time.Minute))
	p.Exec(t, "UPDATE monitor_schedules SET from_at = $1", slot)
	inserted, err := p.Queue.Insert(t.Context(), roundOf(monitor, slot), nil)
	require.NoError(t, err)
	p.Exec(t, `
		UPDATE river_job SET state = 'running', attempt = 1, attempted_at = now() - INTERVAL '2 minutes', attempted_by = '{dead}'
		WHERE id = $1`, inserted.Job.ID)

	p.start(t, time.Second)
	require.Eventually(t, func() bool {
		return dbtest.Count(t, p.Pool, "river_job WHERE id = $1 AND state = 'completed'", inserted.Job.ID) == 1
	}, 30*time.Second, 50*time.Millisecond)
	require.Contains(t, p.gaps(t, monitor.Schedule(), slot), "worker_lost 0-0")
}
