package jobs_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/jobs"
	"riverwatch/monitors"
	"riverwatch/monitors/monitorstest"
	"riverwatch/queue"
	"riverwatch/uptime"
)

// Whatever is done is cut off from the database at one point after the other, in the middle of a statement or between
// the commit and its acknowledgement: all of it has happened then, or nothing.
func TestCutOffAtAnyPoint(t *testing.T) {
	t.Parallel()
	direct := newProcessOn(t, dbtest.New(t), &tally{}, jobs.Limits{Probes: 10, ProbesPerHost: 10})
	proxy, databaseURL := dbtest.NewProxy(t, direct.Pool.Config().ConnString())
	p := newProcessOn(t, dbtest.Open(t, databaseURL), &tally{}, jobs.Limits{Probes: 10, ProbesPerHost: 10})
	ctx := t.Context()

	// cuts does something again and again, each time with the cut a little later, until it is done in time.
	cuts := func(prepare func(), do func() error, check func(err error)) {
		for after := 4; ; after += 1 + after/6 {
			require.Less(t, after, 300, "it comes to no end")
			prepare()
			p.Pool.Reset()
			proxy.CutAfter(after)
			err := do()
			done := proxy.CutAfter(0)
			if done {
				require.NoError(t, err)
			}
			check(err)
			if done {
				require.Greater(t, after, 5)
				return
			}
		}
	}
	count := func(sql string, args ...any) int {
		return dbtest.One[int](t, direct.Pool, "SELECT count(*)::int FROM "+sql, args...)
	}
	// What always holds of monitors.
	requireWhole := func() {
		require.Zero(t, count(`monitors AS m
			WHERE (m.deleted_at IS NULL) <> EXISTS (SELECT 1 FROM monitor_states AS s WHERE s.monitor_id = m.id)`), "who is there stands somewhere")
		require.Zero(t, count(`monitors AS m
			FULL JOIN (SELECT * FROM monitor_schedules WHERE until_at IS NULL) AS s ON s.monitor_id = m.id
			WHERE (m.deleted_at IS NULL AND m.paused_at IS NULL) <> (s.monitor_id IS NOT NULL)
				OR (m.interval_seconds, m.phase_ms) <> (s.interval_seconds, s.phase_ms)`), "active and promised are one")
		require.Zero(t, count(`monitor_schedules AS s WHERE until_at IS NULL AND NOT EXISTS (SELECT 1 FROM river_job AS j
			WHERE j.kind = 'round' AND j.args ->> 'interval' = s.interval_seconds::text AND j.args ->> 'phase_ms' = s.phase_ms::text
				AND (j.args ->> 'slot')::timestamptz = s.from_at)`), "what is promised has its round")
		require.Zero(t,
			count(`monitors AS m JOIN monitor_states AS s ON s.monitor_id = m.id
				WHERE paused_at IS NOT NULL AND status <> 'paused'`))
	}

	// Monitors, one after the other: each cut meets a new one.
	n := 0
	var monitor db.Monitor
	cuts(func() { n++ }, func() error {
		_, err := p.StoreAt(monitorstest.Noon).Create(ctx, []monitors.Monitor{
			monitorstest.Of(monitorstest.URL("cut/%d", n), 60),
			monitorstest.Of(monitorstest.URL("cut/more/%d", n), 3600),
		}, false)
		return err
	}, func(error) {
		requireWhole()
		require.Contains(t, []int{0, 2}, count("monitors WHERE url IN ($1, $2)", monitorstest.URL("cut/%d", n), monitorstest.URL("cut/more/%d", n)))
	})
	create := func() {
		n++
		monitor = direct.Create(t, monitorstest.Of(monitorstest.URL("cut/%d", n), 60))
	}
	cuts(create, func() error {
		_, _, err := p.StoreAt(monitorstest.Noon.Add(time.Second)).Edit(ctx, monitor.ID, monitorstest.Edit(func(c *monitors.Monitor) {
			c.IntervalSeconds, c.AcceptedStatuses = 90, []string{"404"}
		}))
		return err
	}, func(err error) {
		requireWhole()
		edited, getErr := db.New(direct.Pool).GetMonitor(ctx, monitor.ID)
		require.NoError(t, getErr)
		if err == nil {
			require.Equal(t, monitor.Version+1, edited.Version)
		}
	})
	holder := direct.Create(t, monitorstest.Of(monitorstest.URL("holder"), 60))
	cuts(create, func() error {
		_, _, err := p.StoreAt(monitorstest.Noon).Edit(ctx, monitor.ID, monitorstest.Edit(func(c *monitors.Monitor) { c.URL = holder.URL }))
		if _, ok := errors.AsType[*monitors.ConflictError](err); ok {
			return nil
		}
		require.Error(t, err)
		return err
	}, func(error) { requireWhole() })
	cuts(create, func() error { return p.StoreAt(monitorstest.Noon.Add(time.Second)).Delete(ctx, monitor.ID) },
		func(error) { requireWhole() })
	cuts(func() {
		create()
		require.NoError(t, direct.StoreAt(monitorstest.Noon).Delete(ctx, monitor.ID))
	}, func() error {
		_, err := p.StoreAt(monitorstest.Noon).Create(ctx, []monitors.Monitor{{Monitor: monitor}}, false)
		return err
	}, func(error) { requireWhole() })

	// A result: however often the connection goes, it is recorded and judged once.
	slot := monitorstest.Noon
	create()
	p.Exec(t, "UPDATE monitors SET interval_seconds = 86400, failure_threshold = 100 WHERE id = $1", monitor.ID)
	failures := 0
	cuts(func() { slot = slot.Add(time.Second) }, func() error {
		scan := dbtest.Scan(monitor.ID, slot)
		scan.Outcome = uptime.StatusMismatch
		return p.worker.Recorder().Record(context.Background(), scan, nil)
	}, func(err error) {
		require.NoError(t, err)
		failures++
		require.Equal(t, failures, direct.State(t, monitor.ID).Failures)
		require.Equal(t, failures, count("monitor_log WHERE monitor_id = $1", monitor.ID))
	})

	// A round: a cut one is tried again, and no slot is lost.
	schedule := uptime.Schedule{Interval: 3600, PhaseMS: 3_599_000}
	direct.insertMonitors(t, 3, 1, schedule, monitorstest.Noon)
	direct.Exec(t, "UPDATE monitors SET method = CASE WHEN id = 1001 THEN 'POST' ELSE 'GET' END WHERE phase_ms = 3599000")
	args := queue.RoundArgs{Interval: 3600, PhaseMS: 3_599_000, Slot: schedule.SlotAfter(monitorstest.Noon)}
	worker := p.worker.RoundWorker()
	rescuer := direct.worker.RoundWorker()
	round := func(late time.Duration, ahead int, failures ...string) (do func() error, check func(error)) {
		return func() error {
				p.SetNow(args.Slot.Add(late))
				direct.SetNow(args.Slot.Add(late))
				_, err := work(t, direct, worker, args, failures...)
				return err
			}, func(err error) {
				if err != nil {
					_, err := work(t, direct, rescuer, args, append(failures, rescued)...)
					require.NoError(t, err)
				}
				require.Zero(t, count("unaccounted_slots($1, $2) WHERE phase_ms = 3599000", args.Slot, args.Slot.Add(time.Second)))
				require.Equal(t, ahead, count("river_job WHERE args ->> 'phase_ms' = '3599000' AND (args ->> 'slot')::timestamptz > $1",
					args.Slot), "the chain goes on")
			}
	}
	next := func() { args.Slot = schedule.Next(args.Slot) }
	do, check := round(time.Second, 2)
	cuts(next, do, check)
	do, check = round(time.Hour, 1)
	cuts(next, do, check)

	// Tend: the next one finds the rest.
	direct.Exec(t, "DELETE FROM monitor_schedules WHERE phase_ms <> 3599000")
	p.SetNow(args.Slot.Add(3*time.Hour + 5*time.Minute))
	tender := p.worker.TendWorker()
	cuts(func() {
		direct.Exec(t, "DELETE FROM river_job")
		direct.Exec(t, "DELETE FROM scan_gaps WHERE reason = 'unaccounted'")
		direct.Exec(t, "UPDATE tend_progress SET checked_until = $1", p.Now().Add(-15*time.Minute))
	}, func() error {
		_, err := work(t, direct, tender, queue.TendArgs{})
		return err
	}, func(err error) {
		if err == nil {
			require.Zero(t, count("unaccounted_slots($1, $2)", p.Now().Add(-15*time.Minute), p.Now().Add(-5*time.Minute)))
		}
	})
}
