package jobs_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/monitors"
	"riverwatch/monitors/monitorstest"
	"riverwatch/queue"
	"riverwatch/sight"
	"riverwatch/uptime"
	"riverwatch/wait"
)

const forgotten = "tend found something forgotten"

// tend works a tend job, and gives what it found.
func (p *process) tend(t *testing.T) (roundsRevived, slotsDeclared int) {
	t.Helper()
	p.Exec(t, "DELETE FROM river_job WHERE kind = 'tend'") // it is unique while it is open
	result, err := work(t, p, p.worker.TendWorker(), queue.TendArgs{})
	require.NoError(t, err)
	require.Equal(t, river.EventKindJobCompleted, result.EventKind)
	out := output(t, result.Job)
	return int(out["rounds_revived"].(float64)), int(out["slots_declared"].(float64)) //nolint:forcetypeassert // JSON
}

func TestTend(t *testing.T) {
	t.Parallel()

	t.Run("FindsNothingWhereAllIsWell", func(t *testing.T) {
		t.Parallel()
		p, s := newProcess(t), newTarget(t)
		monitor := p.Create(t, monitorstest.Of(s.URL+"/well", 60))
		schedule := monitor.Schedule()
		slot := schedule.SlotAfter(monitorstest.Noon)
		for range 12 {
			p.inTime(slot)
			p.round(t, roundOf(monitor, slot))
			revived, declared := p.tend(t)
			require.Zero(t, revived)
			require.Zero(t, declared)
			slot = schedule.Next(slot)
		}
		// A change of the interval and a pause are no faults.
		p.Edit(t, monitor.ID, func(c *monitors.Monitor) { c.IntervalSeconds = 90 })
		p.Edit(t, monitor.ID, func(c *monitors.Monitor) { c.Enable(false) })
		p.SetNow(p.Now().Add(time.Hour))
		revived, declared := p.tend(t)
		require.Zero(t, revived)
		require.Zero(t, declared)
		require.NotContains(t, p.Logs.All(), forgotten)
		require.Empty(t, p.gaps(t, schedule, slot))
	})

	t.Run("RevivesADeadChain", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("dead"), 60))
		paused := monitorstest.Of(monitorstest.URL("paused"), 61)
		paused.Enable(false)
		p.Create(t, paused)
		p.Exec(t, "DELETE FROM river_job WHERE kind = 'round'")
		revived, declared := p.tend(t)
		require.Equal(t, 1, revived)
		require.Zero(t, declared)
		require.Equal(t, []queue.RoundArgs{roundOf(monitor, monitor.Schedule().SlotAfter(monitorstest.Noon))},
			openJobs[queue.RoundArgs](t, p))
		require.Contains(t, p.Logs.All(), forgotten)

		revived, _ = p.tend(t)
		require.Zero(t, revived)

		// Somebody cancelled the round in River UI: the chain goes on with the next slot.
		p.Exec(t, "UPDATE river_job SET state = 'cancelled', finalized_at = now() WHERE kind = 'round'")
		revived, _ = p.tend(t)
		require.Zero(t, revived, "that slot has had its job")
		p.SetNow(monitorstest.Noon.Add(time.Minute))
		revived, _ = p.tend(t)
		require.Equal(t, 1, revived)
	})

	t.Run("DeclaresWhatIsUnaccountedForOnce", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("forgotten"), 60))
		schedule := monitor.Schedule()
		first := schedule.SlotAfter(monitorstest.Noon)
		p.Exec(t, "DELETE FROM river_job")
		dbtest.Insert(t, p.Pool, dbtest.Scan(monitor.ID, schedule.Next(first)))

		p.SetNow(first.Add(5 * time.Minute)) // the first slot is as old as may be
		_, declared := p.tend(t)
		require.Zero(t, declared)
		p.Exec(t, "DELETE FROM river_job")
		p.SetNow(first.Add(8*time.Minute + time.Second))
		_, declared = p.tend(t)
		require.Equal(t, 3, declared)
		require.Equal(t, []string{"unaccounted 0-0", "unaccounted 2-2", "unaccounted 3-3"}, p.gaps(t, schedule, first))
		_, declared = p.tend(t)
		require.Zero(t, declared)

		// After hours all of it is looked at, step by step.
		p.Exec(t, "DELETE FROM river_job")
		p.SetNow(first.Add(6 * time.Hour))
		_, declared = p.tend(t)
		require.Equal(t, 6*60-5-4, declared)
		require.Zero(t, p.Count(t, "unaccounted_slots($1, $2)", monitorstest.Noon, p.Now().Add(-5*time.Minute)))
	})

	t.Run("DeclaresVeryMany", func(t *testing.T) {
		t.Parallel()
		const chains = 1100
		p := newProcess(t)
		from := monitorstest.Noon.Add(-20 * time.Minute)
		dbtest.Monitors(t, p.Pool, uptime.Schedule{Interval: 300}, from, chains, func(int, *db.Monitor) {})
		p.Exec(t, "UPDATE monitors SET phase_ms = 250 * (id - 1000)")
		p.Exec(t, "UPDATE monitor_schedules SET phase_ms = 250 * (monitor_id - 1000)")
		revived, declared := p.tend(t)
		require.Equal(t, chains, revived)
		require.Equal(t, 3*chains, declared, "each at three slots of a quarter of an hour")
		require.Equal(t, 3*chains, p.Count(t, "scan_gaps WHERE from_slot = to_slot AND reason = 'unaccounted'"))
		require.Zero(t, p.Count(t, "unaccounted_slots($1, $2)", from, monitorstest.Noon.Add(-5*time.Minute)))
	})

	t.Run("LeavesTheSlotsOfLiveRoundsAlone", func(t *testing.T) {
		t.Parallel()
		p, s := newProcess(t), newTarget(t)
		monitor := p.Create(t, monitorstest.Of(s.URL+"/live", 60))
		schedule := monitor.Schedule()
		first := schedule.SlotAfter(monitorstest.Noon)
		p.SetNow(first.Add(time.Hour)) // no worker ran; the chain's round still waits
		revived, declared := p.tend(t)
		require.Zero(t, revived)
		require.Zero(t, declared)
		require.Empty(t, p.gaps(t, schedule, first))

		p.round(t, roundOf(monitor, first)) // declares what was missed itself
		require.Equal(t, []string{"service_down 0-59"}, p.gaps(t, schedule, first))
		_, declared = p.tend(t)
		require.Zero(t, declared)
		require.NotContains(t, p.Logs.All(), forgotten)
	})

	t.Run("AFirstPromiseFarAheadHidesNoOther", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		// Monitors whose first slot is hours away.
		for n := 0; ; n++ {
			if far := p.Create(t, monitorstest.Of(monitorstest.URL("far/%d", n), 86400)); far.Schedule().SlotAfter(monitorstest.Noon).Sub(monitorstest.Noon) > 3*time.Hour {
				p.Exec(t, "UPDATE monitors SET deleted_at = now() WHERE id <> $1", far.ID)
				p.Exec(t, "DELETE FROM monitor_schedules WHERE monitor_id <> $1", far.ID)
				break
			}
		}
		p.tend(t)
		p.Create(t, monitorstest.Of(monitorstest.URL("near"), 600))
		p.Exec(t, "DELETE FROM river_job")
		p.SetNow(monitorstest.Noon.Add(time.Hour))
		_, declared := p.tend(t)
		require.GreaterOrEqual(t, declared, 5)
	})

	t.Run("MakesTheNextChunks", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		p.tend(t)
		p.tend(t)
		require.Equal(t, []string{"18:00", "00:00"}, dbtest.Column[string](t, p.Pool, `
			SELECT to_char(range_start AT TIME ZONE 'UTC', 'HH24:MI') FROM timescaledb_information.chunks
			WHERE hypertable_name = 'monitor_log' ORDER BY range_start`))
		require.Zero(t, p.Count(t, "monitor_log"))
	})

	t.Run("TwoAtOnce", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		schedule := uptime.Schedule{Interval: 60, PhaseMS: 7000}
		p.insertMonitors(t, 3, 1, schedule, schedule.SlotAfter(monitorstest.Noon))
		p.SetNow(monitorstest.Noon.Add(time.Hour))
		// Both directly: River itself makes one of them at a time.
		errs := make(chan error, 2)
		for range 2 {
			go func() { errs <- tryWork(t, p, p.worker.TendWorker(), queue.TendArgs{}) }()
		}
		require.NoError(t, <-errs)
		require.NoError(t, <-errs)
		require.Len(t, p.gaps(t, schedule, monitorstest.Noon), 55)
		require.Len(t, openJobs[queue.RoundArgs](t, p), 1)
	})

	t.Run("DoesWhatItCanWhateverFails", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("dead"), 60))
		p.Exec(t, "DELETE FROM river_job")
		p.Exec(t, "ALTER FUNCTION make_log_chunks(timestamptz) RENAME TO gone")
		require.ErrorContains(t, tryWork(t, p, p.worker.TendWorker(), queue.TendArgs{}), "make the log's next chunks: ")
		require.Len(t, openJobs[queue.RoundArgs](t, p), 1)

		p.Exec(t, "ALTER TABLE tend_progress RENAME TO gone_too")
		p.Exec(t, "DELETE FROM river_job")
		require.ErrorContains(t, tryWork(t, p, p.worker.TendWorker(), queue.TendArgs{}), "note where to begin: ")
		require.Equal(t, []queue.RoundArgs{roundOf(monitor, monitor.Schedule().SlotAfter(monitorstest.Noon))},
			openJobs[queue.RoundArgs](t, p))

		closed := dbtest.Open(t, p.Pool.Config().ConnString())
		closed.Close()
		p.worker.SetConn(closed)
		err := tryWork(t, p, p.worker.TendWorker(), queue.TendArgs{})
		require.ErrorContains(t, err, "list chains without a live round: ")
		require.Equal(t, db.TroubleNone, db.TroubleOf(err))
	})
}

// Somebody pauses a queue in River UI, or no worker is there (F66): operators are told.
func TestRoundsThatNobodyTakes(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	watch := sight.NewWatch(p.Pool, "api", slog.New(&p.Logs))
	open := func() []string {
		require.NoError(t, watch.Look(t.Context()))
		return dbtest.Column[string](t, p.Pool, "SELECT kind FROM warnings WHERE closed_at IS NULL ORDER BY kind")
	}
	require.Empty(t, open())

	p.Exec(t, "INSERT INTO river_queue (name, created_at, updated_at) VALUES ('rounds', now(), now()), ('another', now(), now())")
	require.NoError(t, p.Queue.QueuePause(t.Context(), "another", nil))
	require.Empty(t, open(), "not one of ours")
	require.NoError(t, p.Queue.QueuePause(t.Context(), "rounds", nil))
	require.Equal(t, []string{"queue_paused"}, open())
	p.Logs.Await(t, "warning raised")
	require.NoError(t, p.Queue.QueueResume(t.Context(), "rounds", nil))
	require.Empty(t, open())

	monitor := p.Create(t, monitorstest.Of(monitorstest.URL("waits"), 60))
	p.Exec(t, "UPDATE river_job SET scheduled_at = now() - interval '119 seconds' WHERE kind = 'round'")
	p.Exec(t, "UPDATE river_job SET scheduled_at = now() - interval '1 hour' WHERE kind = 'scan'")
	require.Empty(t, open(), "it may just be starting")
	p.Exec(t, "UPDATE river_job SET scheduled_at = now() - interval '121 seconds' WHERE kind = 'round'")
	require.Equal(t, []string{"rounds_waiting"}, open())
	p.Exec(t, "UPDATE river_job SET state = 'running', attempted_at = now() WHERE kind = 'round'")
	require.Empty(t, open())

	p.Exec(t, "INSERT INTO history_progress (closed_until, rolled_until, days_until) VALUES (now(), now() - interval '359 minutes', now())")
	require.Empty(t, open())
	p.Exec(t, "UPDATE history_progress SET rolled_until = now() - interval '361 minutes', cut_by_size = true")
	require.Equal(t, []string{"rollups_late", "scans_cut_by_size"}, open())
	p.Exec(t, "UPDATE history_progress SET rolled_until = now(), cut_by_size = false")
	require.Empty(t, open())
	require.Equal(t, 4, p.Count(t, "warnings WHERE processes = '{api}' AND closed_at IS NOT NULL"))
	require.NotZero(t, monitor.ID)

	// What this process raised is nobody's matter when it ends.
	require.NoError(t, p.Queue.QueuePause(t.Context(), "*", nil))
	stop := wait.Beside(t.Context(), watch.Run)
	require.Eventually(t, func() bool { return p.Count(t, "warnings WHERE closed_at IS NULL") == 1 }, 10*time.Second, time.Millisecond)
	stop()
	require.Zero(t, p.Count(t, "warnings WHERE closed_at IS NULL"))
}
