package jobs_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/jobs"
	"riverwatch/monitors"
	"riverwatch/monitors/monitorstest"
	"riverwatch/queue"
	"riverwatch/uptime"
	"riverwatch/wait"
)

func TestScan(t *testing.T) {
	t.Parallel()
	p, s := newProcess(t), newTarget(t)
	// A monitor, and the scan that was asked for when it was made.
	newScan := func(t *testing.T, change func(*monitors.Monitor)) (db.Monitor, queue.ScanArgs) {
		t.Helper()
		c := monitorstest.Of(s.URL+"/"+t.Name(), 86400)
		change(&c)
		monitor := p.Create(t, c)
		return monitor, queue.ScanArgs{MonitorID: monitor.ID, At: monitorstest.Noon.Add(time.Microsecond), Reason: queue.ReasonAsked}
	}
	asIs := func(*monitors.Monitor) {}
	scan := func(t *testing.T, p *process, args queue.ScanArgs, failures ...string) (event river.EventKind, err error) {
		t.Helper()
		result, err := work(t, p, p.worker.ScanWorker(), args, failures...)
		return result.EventKind, err
	}
	requireCancelled := func(t *testing.T, args queue.ScanArgs, why string, failures ...string) {
		t.Helper()
		result, err := work(t, p, p.worker.ScanWorker(), args, failures...)
		require.NoError(t, err)
		require.Equal(t, river.EventKindJobCancelled, result.EventKind)
		require.Contains(t, result.Job.Errors[len(failures)].Error, why)
		require.Zero(t, s.hitsOf("/"+t.Name()))
		require.Empty(t, p.Scans(t, args.MonitorID))
	}

	t.Run("AskedForIsRecordedAndJudged", func(t *testing.T) {
		t.Parallel()
		monitor, args := newScan(t, func(c *monitors.Monitor) { c.URL = s.URL + "/bad/asked" })
		result, err := work(t, p, p.worker.ScanWorker(), args)
		require.NoError(t, err, "a target that is down is a job well done")
		require.Equal(t, map[string]any{"outcome": "status_mismatch"}, output(t, result.Job))
		require.Equal(t, []string{"asked status_mismatch"}, p.Scans(t, monitor.ID))
		require.Equal(t, 1, p.State(t, monitor.ID).Failures)
		require.Equal(t, 1, p.Count(t, `river_job WHERE kind = 'scan' AND args ->> 'reason' = 'retry'
			AND (args ->> 'monitor_id')::bigint = $1`, monitor.ID))

		// Again, whoever may have run it: there is one row, judged once.
		_, err = scan(t, p, args, rescued)
		require.NoError(t, err)
		require.Equal(t, []string{"asked status_mismatch"}, p.Scans(t, monitor.ID))
		require.Equal(t, 1, p.State(t, monitor.ID).Failures)
	})

	t.Run("OfAPausedMonitorWhenAsked", func(t *testing.T) {
		t.Parallel()
		monitor, args := newScan(t, func(c *monitors.Monitor) { c.Enable(false) })
		event, err := scan(t, p, args)
		require.NoError(t, err)
		require.Equal(t, river.EventKindJobCompleted, event)
		require.Equal(t, []string{"asked ok"}, p.Scans(t, monitor.ID))
		require.Equal(t, uptime.Paused, p.State(t, monitor.ID).Status)
	})

	t.Run("ASecondLookOnlyWhileInDoubt", func(t *testing.T) {
		t.Parallel()
		monitor, args := newScan(t, asIs)
		args.Reason = queue.ReasonRetry
		requireCancelled(t, args, "no longer in doubt")

		p.record(t, monitor, monitorstest.Noon.Add(-time.Second), uptime.StatusMismatch) // before its start: not judged
		p.Exec(t, "DELETE FROM monitor_log WHERE monitor_id = $1", monitor.ID)
		p.Exec(t, "UPDATE monitor_states SET failures = 1 WHERE monitor_id = $1", monitor.ID)
		args.At = args.At.Add(time.Second)
		_, err := scan(t, p, args)
		require.NoError(t, err)
		require.Equal(t, []string{"retry ok"}, p.Scans(t, monitor.ID))
		require.Zero(t, p.State(t, monitor.ID).Failures)
	})

	t.Run("TooLate", func(t *testing.T) {
		t.Parallel()
		_, args := newScan(t, asIs)
		args.At = args.At.Add(-2*time.Minute - time.Second)
		requireCancelled(t, args, "too late")
	})

	t.Run("OfAMonitorThatIsGone", func(t *testing.T) {
		t.Parallel()
		monitor, args := newScan(t, asIs)
		require.NoError(t, p.StoreAt(monitorstest.Noon).Delete(t.Context(), monitor.ID))
		requireCancelled(t, args, "is gone")
	})

	t.Run("APostIsNotRepeated", func(t *testing.T) {
		t.Parallel()
		_, args := newScan(t, func(c *monitors.Monitor) { c.Method = http.MethodPost })
		requireCancelled(t, args, "must not be made twice", rescued)
	})

	t.Run("WhatCouldNotStartOrBeRecordedIsTriedAgain", func(t *testing.T) {
		t.Parallel()
		monitor, args := newScan(t, asIs)
		busy := newProcessOn(t, p.Pool, p.config.Prober, jobs.Limits{Probes: 1, ProbesPerHost: 1})
		busy.worker.SetStartWithin(0)
		event, err := scan(t, busy, args)
		require.Equal(t, river.EventKindJobFailed, event)
		require.ErrorContains(t, err, "no place for a probe was free in time")

		closed := newProcessOn(t, p.Pool, p.config.Prober, jobs.Limits{Probes: 1, ProbesPerHost: 1})
		closed.stopRecorder()
		<-closed.recorderEnded
		_, err = scan(t, closed, args)
		require.ErrorContains(t, err, "the recorder is closed")

		away := newProcessOn(t, p.Pool, p.config.Prober, jobs.Limits{Probes: 1, ProbesPerHost: 1})
		pool := dbtest.Open(t, p.Pool.Config().ConnString())
		pool.Close()
		away.worker.SetConn(pool)
		_, err = scan(t, away, args)
		require.ErrorContains(t, err, "get monitor ")

		_, err = scan(t, p, args, "bad luck", "bad luck")
		require.NoError(t, err)
		require.Equal(t, []string{"asked ok"}, p.Scans(t, monitor.ID))
	})
}

// A second look is another worker's, where there is one that takes it.
func TestASecondLookIsAnothers(t *testing.T) {
	t.Parallel()
	const looks = 20
	// newDoubts makes monitors at which a worker has looked once, and another one beside it.
	newDoubts := func(t *testing.T) (first, second *process) {
		t.Helper()
		s := newTarget(t)
		first = newProcess(t)
		second = first.beside(t, "second", first.config.Prober)
		first.RunClock()
		for i := range looks {
			monitor := first.Create(t, monitorstest.Of(s.URL+"/"+itoa(int64(i)), 86400))
			first.Exec(t, "UPDATE monitor_states SET failures = 1 WHERE monitor_id = $1", monitor.ID)
			job, _ := queue.Scan(queue.ScanArgs{
				MonitorID: monitor.ID, At: time.Now(), Reason: queue.ReasonRetry, LookedAtBy: "test",
			})
			_, err := first.Queue.InsertMany(t.Context(), []river.InsertManyParams{job})
			require.NoError(t, err)
		}
		first.Exec(t, "DELETE FROM river_job WHERE args ->> 'reason' = 'asked'")
		return first, second
	}
	by := func(t *testing.T, p *process, worker string, n int) {
		t.Helper()
		require.Eventually(t, func() bool {
			return p.Count(t, "monitor_log WHERE reason = 'retry' AND outcome = 'ok' AND worker = $1", worker) == n
		}, 30*time.Second, 10*time.Millisecond)
	}
	// announce lets the processes know of each other.
	announce := func(t *testing.T, processes ...*process) {
		t.Helper()
		for _, p := range processes {
			p.Exec(t, "INSERT INTO workers VALUES ('test', now()), ('second', now()) ON CONFLICT DO NOTHING")
			t.Cleanup(wait.Beside(t.Context(), p.worker.Announce))
			require.Eventually(t, func() bool { return p.worker.Workers() == 2 }, 10*time.Second, time.Millisecond)
		}
	}

	t.Run("ThatIsThere", func(t *testing.T) {
		t.Parallel()
		first, second := newDoubts(t)
		announce(t, first, second)
		first.worker.SetHandOverWithin(time.Minute) // the second is to take them, however slow the machine
		first.start(t, time.Second)
		require.Eventually(t, func() bool {
			return first.Count(t, "river_job WHERE state = 'available' AND metadata ->> 'snoozes' = '1'") > 0
		}, 20*time.Second, 10*time.Millisecond)
		// They are due, and polling is ten times as frequent as this is long.
		require.Never(t, func() bool { return first.Count(t, "monitor_log") > 0 }, 1500*time.Millisecond, 50*time.Millisecond)
		second.start(t, time.Second)
		by(t, first, "second", looks)
		require.Zero(t, first.Count(t, "river_job WHERE kind = 'scan' AND attempt > 1"), "to give a job back is no attempt")
	})

	t.Run("ThatIsThereButTakesNone", func(t *testing.T) {
		t.Parallel()
		first, _ := newDoubts(t)
		announce(t, first)
		first.start(t, time.Second)
		by(t, first, "test", looks)
		require.Zero(t, first.Count(t, "river_job WHERE (metadata ->> 'snoozes')::int > 1"), "it is given back once")
		require.Equal(t, looks, first.Count(t, "river_job WHERE (metadata ->> 'snoozes')::int = 1"))
	})

	t.Run("NotWhereThereIsNone", func(t *testing.T) {
		t.Parallel()
		first, _ := newDoubts(t)
		first.start(t, time.Second)
		by(t, first, "test", looks)
		require.Zero(t, first.Count(t, "river_job WHERE metadata ? 'snoozes'"))
	})
}
