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
	"riverwatch/probe"
	"riverwatch/uptime"
)

// start starts a real client, which works jobs by the real time until the test ends or stop is called.
func (p *process) start(t *testing.T, softStop time.Duration) (stop func(), stopped <-chan struct{}) {
	t.Helper()
	p.clock.Store(0)
	ctx, cancel := context.WithCancel(context.Background())
	client, err := jobs.Start(ctx, p.pool, p.scanner, softStop, discard)
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
			ids = append(ids, p.create(t, config(s.URL+"/"+itoa(int64(i)), 10)).ID)
		}
		rows := func(reason string) int {
			return one[int](t, p,
				"SELECT count(DISTINCT monitor_id)::int FROM monitor_log WHERE reason = $1 AND outcome = 'ok'", reason)
		}
		require.Eventually(t, func() bool { return rows("asked") == len(ids) }, 20*time.Second, 10*time.Millisecond)
		require.Eventually(t, func() bool { return rows("round") == len(ids) }, 30*time.Second, 50*time.Millisecond)

		end := time.Now()
		stop()
		<-stopped

		require.Zero(t, p.count(t, `monitor_log AS l JOIN monitors AS m ON m.id = l.monitor_id
			WHERE l.reason = 'round' AND 1000 * extract(epoch FROM l.slot) % 10000 <> m.phase_ms`), "at its slots")
		require.Zero(t, p.count(t, `(SELECT * FROM unaccounted_slots($1, $2)) AS u`,
			end.Add(-time.Minute), end.Add(-3*time.Second)), "no slot is left out")
		require.Equal(t, 1, p.count(t, "river_job WHERE kind = 'tend' AND state = 'completed'"))
		for i, id := range ids {
			require.Equal(t, p.count(t, "monitor_log WHERE monitor_id = $1", id), s.hitsOf("/"+itoa(int64(i))),
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
			p.create(t, config(slow.URL+"/"+itoa(int64(i)), 86400))
		}
		require.Eventually(t, func() bool { return open.Load() == 5 }, 10*time.Second, time.Millisecond)
		stop()
		late := p.create(t, config(slow.URL+"/late", 86400))
		// The job is due, and polling is ten times as frequent as this is long.
		require.Never(t, func() bool { return open.Load() > 5 }, 1500*time.Millisecond, 50*time.Millisecond)
		close(release)
		<-stopped
		require.Equal(t, 5, p.count(t, "monitor_log WHERE outcome = 'ok'"))
		require.Empty(t, p.scans(t, late.ID))
		require.Equal(t, 5, p.count(t, "river_job WHERE kind = 'scan' AND state = 'completed'"))
		require.Equal(t, 1, p.count(t, "river_job WHERE kind = 'scan' AND state = 'available'"))
	})

	t.Run("WhoHasTooMuchToDoTakesNothing", func(t *testing.T) {
		t.Parallel()
		c := &crowd{release: make(chan struct{})}
		p := newProcessOn(t, dbtest.New(t), c, jobs.Limits{Probes: 1, ProbesPerHost: 10})
		p.scanner.SetMaxWaiting(2)
		p.start(t, 20*time.Second)
		for i := range 4 {
			p.create(t, config(url("busy/%d", i), 86400))
		}
		require.Eventually(t, func() bool { return p.scanner.WaitForPlace() == 3 }, 10*time.Second, time.Millisecond)
		p.create(t, config(url("one-more"), 86400))
		untaken := func() int { return p.count(t, "river_job WHERE kind = 'scan' AND state = 'available'") }
		// The job is due, and polling is ten times as frequent as this is long.
		require.Never(t, func() bool { return untaken() != 1 }, 1500*time.Millisecond, 50*time.Millisecond)
		close(c.release)
		require.Eventually(t, func() bool { return p.count(t, "monitor_log") == 5 }, 10*time.Second, 10*time.Millisecond)
	})

	t.Run("ScansThatOutlastTheStopAreInconclusive", func(t *testing.T) {
		t.Parallel()
		probing := make(chan struct{})
		p := newProcess(t)
		p.scanner.Prober = proberFunc(func(ctx context.Context, _ probe.Target) probe.Result {
			close(probing)
			<-ctx.Done()
			return probe.Result{Start: time.Now(), Outcome: uptime.Inconclusive}
		})
		stop, stopped := p.start(t, 10*time.Millisecond)
		monitor := p.create(t, config(url("hangs"), 86400))
		<-probing
		stop()
		<-stopped
		require.Equal(t, []string{"asked inconclusive"}, p.scans(t, monitor.ID))
		require.Equal(t, uptime.Pending, p.state(t, monitor.ID).Status, "our own trouble is no failure of the target")
	})

	t.Run("WithoutDatabaseItDoesNotStart", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		p.pool.Close()
		_, err := jobs.Start(t.Context(), p.pool, p.scanner, time.Second, discard)
		require.ErrorContains(t, err, "start the River client: ")
	})
}

func TestRescuedRoundsAreTriedSoon(t *testing.T) {
	t.Parallel()
	for attempt, want := range map[int]time.Duration{
		1: time.Second, 2: 2 * time.Second, 4: 8 * time.Second,
		9: 30 * time.Second,
	} {
		row := jobs.RetryAfter(attempt)
		require.WithinDuration(t, time.Now().Add(want), row, 500*time.Millisecond, attempt)
	}
}
