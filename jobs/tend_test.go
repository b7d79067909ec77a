package jobs_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/jobs"
	"riverwatch/uptime"
)

const forgotten = "tend found something forgotten"

func (p *process) tender() *jobs.TendWorker {
	return &jobs.TendWorker{
		Conn: p.pool, Queue: p.queue, Logger: slog.New(&p.logs), Now: p.now,
		Metrics: jobs.NewMetrics(prometheus.NewRegistry()),
	}
}

// tend works a tend job, and gives what it found.
func (p *process) tend(t *testing.T) (roundsRevived, slotsDeclared int) {
	t.Helper()
	p.exec(t, "DELETE FROM river_job WHERE kind = 'tend'") // it is unique while it is open
	result, err := work(t, p, p.tender(), jobs.TendArgs{})
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
		monitor := p.create(t, config(s.URL+"/well", 60))
		schedule := scheduleOf(monitor)
		slot := schedule.SlotAfter(noon)
		for range 12 {
			p.inTime(slot)
			p.round(t, roundOf(monitor, slot))
			revived, declared := p.tend(t)
			require.Zero(t, revived)
			require.Zero(t, declared)
			slot = schedule.Next(slot)
		}
		// A change of the interval and a pause are no faults.
		p.edit(t, monitor.ID, func(c *jobs.MonitorConfig) { c.IntervalSeconds = 90 })
		p.edit(t, monitor.ID, func(c *jobs.MonitorConfig) { c.Enabled = false })
		p.setNow(p.now().Add(time.Hour))
		revived, declared := p.tend(t)
		require.Zero(t, revived)
		require.Zero(t, declared)
		require.NotContains(t, p.logs.all(), forgotten)
		require.Empty(t, p.gaps(t, schedule, slot))
	})

	t.Run("RevivesADeadChain", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		monitor := p.create(t, config(url("dead"), 60))
		paused := config(url("paused"), 61)
		paused.Enabled = false
		p.create(t, paused)
		p.exec(t, "DELETE FROM river_job WHERE kind = 'round'")
		revived, declared := p.tend(t)
		require.Equal(t, 1, revived)
		require.Zero(t, declared)
		require.Equal(t, []jobs.RoundArgs{roundOf(monitor, scheduleOf(monitor).SlotAfter(noon))},
			openJobs[jobs.RoundArgs](t, p))
		require.Contains(t, p.logs.all(), forgotten)

		revived, _ = p.tend(t)
		require.Zero(t, revived)

		// Somebody cancelled the round in River UI: the chain goes on with the next slot.
		p.exec(t, "UPDATE river_job SET state = 'cancelled', finalized_at = now() WHERE kind = 'round'")
		revived, _ = p.tend(t)
		require.Zero(t, revived, "that slot has had its job")
		p.setNow(noon.Add(time.Minute))
		revived, _ = p.tend(t)
		require.Equal(t, 1, revived)
	})

	t.Run("DeclaresWhatIsUnaccountedForOnce", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		monitor := p.create(t, config(url("forgotten"), 60))
		schedule := scheduleOf(monitor)
		first := schedule.SlotAfter(noon)
		p.exec(t, "DELETE FROM river_job")
		dbtest.Insert(t, p.pool, dbtest.Scan(monitor.ID, schedule.Next(first)))

		p.setNow(first.Add(5 * time.Minute)) // the first slot is as old as may be
		_, declared := p.tend(t)
		require.Zero(t, declared)
		p.exec(t, "DELETE FROM river_job")
		p.setNow(first.Add(8*time.Minute + time.Second))
		_, declared = p.tend(t)
		require.Equal(t, 3, declared)
		require.Equal(t, []string{"unaccounted 0-0", "unaccounted 2-2", "unaccounted 3-3"}, p.gaps(t, schedule, first))
		_, declared = p.tend(t)
		require.Zero(t, declared)

		// After hours all of it is looked at, step by step.
		p.exec(t, "DELETE FROM river_job")
		p.setNow(first.Add(6 * time.Hour))
		_, declared = p.tend(t)
		require.Equal(t, 6*60-5-4, declared)
		require.Zero(t, p.count(t, "unaccounted_slots($1, $2)", noon, p.now().Add(-5*time.Minute)))
	})

	t.Run("LeavesTheSlotsOfLiveRoundsAlone", func(t *testing.T) {
		t.Parallel()
		p, s := newProcess(t), newTarget(t)
		monitor := p.create(t, config(s.URL+"/live", 60))
		schedule := scheduleOf(monitor)
		first := schedule.SlotAfter(noon)
		p.setNow(first.Add(time.Hour)) // no worker ran; the chain's round still waits
		revived, declared := p.tend(t)
		require.Zero(t, revived)
		require.Zero(t, declared)
		require.Empty(t, p.gaps(t, schedule, first))

		p.round(t, roundOf(monitor, first)) // declares what was missed itself
		require.Equal(t, []string{"service_down 0-59"}, p.gaps(t, schedule, first))
		_, declared = p.tend(t)
		require.Zero(t, declared)
		require.NotContains(t, p.logs.all(), forgotten)
	})

	t.Run("AFirstPromiseFarAheadHidesNoOther", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		// Monitors whose first slot is hours away.
		for n := 0; ; n++ {
			if far := p.create(t, config(url("far/%d", n), 86400)); scheduleOf(far).SlotAfter(noon).Sub(noon) > 3*time.Hour {
				p.exec(t, "UPDATE monitors SET deleted_at = now() WHERE id <> $1", far.ID)
				p.exec(t, "DELETE FROM monitor_schedules WHERE monitor_id <> $1", far.ID)
				break
			}
		}
		p.tend(t)
		p.create(t, config(url("near"), 600))
		p.exec(t, "DELETE FROM river_job")
		p.setNow(noon.Add(time.Hour))
		_, declared := p.tend(t)
		require.GreaterOrEqual(t, declared, 5)
	})

	t.Run("MakesTheNextChunks", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		p.tend(t)
		p.tend(t)
		require.Equal(t, []string{"18:00", "00:00"}, column[string](t, p, `
			SELECT to_char(range_start AT TIME ZONE 'UTC', 'HH24:MI') FROM timescaledb_information.chunks
			WHERE hypertable_name = 'monitor_log' ORDER BY range_start`))
		require.Zero(t, p.count(t, "monitor_log"))
	})

	t.Run("TwoAtOnce", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		schedule := uptime.Schedule{Interval: 60, PhaseMS: 7000}
		p.insertMonitors(t, 3, 1, schedule, schedule.SlotAfter(noon))
		p.setNow(noon.Add(time.Hour))
		// Both directly: River itself makes one of them at a time.
		errs := make(chan error, 2)
		for range 2 {
			go func() { errs <- tryWork(t, p, p.tender(), jobs.TendArgs{}) }()
		}
		require.NoError(t, <-errs)
		require.NoError(t, <-errs)
		require.Len(t, p.gaps(t, schedule, noon), 55)
		require.Len(t, openJobs[jobs.RoundArgs](t, p), 1)
	})

	t.Run("DoesWhatItCanWhateverFails", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		monitor := p.create(t, config(url("dead"), 60))
		p.exec(t, "DELETE FROM river_job")
		p.exec(t, "ALTER FUNCTION make_log_chunks(timestamptz) RENAME TO gone")
		require.ErrorContains(t, tryWork(t, p, p.tender(), jobs.TendArgs{}), "make the log's next chunks: ")
		require.Len(t, openJobs[jobs.RoundArgs](t, p), 1)

		p.exec(t, "ALTER TABLE tend_progress RENAME TO gone_too")
		p.exec(t, "DELETE FROM river_job")
		require.ErrorContains(t, tryWork(t, p, p.tender(), jobs.TendArgs{}), "note where to begin: ")
		require.Equal(t, []jobs.RoundArgs{roundOf(monitor, scheduleOf(monitor).SlotAfter(noon))},
			openJobs[jobs.RoundArgs](t, p))

		tender := p.tender()
		closed := dbtest.Open(t, p.pool.Config().ConnString())
		closed.Close()
		tender.Conn = closed
		err := tryWork(t, p, tender, jobs.TendArgs{})
		require.ErrorContains(t, err, "list chains without a live round: ")
		require.Equal(t, db.TroubleNone, db.TroubleOf(err))
	})
}
