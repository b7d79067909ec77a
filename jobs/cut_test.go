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

// cutting is two processes on one database: one that is cut off from it, and one that is not.
type cutting struct {
	direct, p *process
	proxy     *dbtest.Proxy
	t         *testing.T
	n         int // monitors, one after the other: each cut meets a new one
	monitor   db.Monitor
}

func newCutting(t *testing.T) *cutting {
	t.Helper()
	direct := newProcessOn(t, dbtest.New(t), &tally{}, jobs.Limits{Probes: 10, ProbesPerHost: 10})
	proxy, databaseURL := dbtest.NewProxy(t, direct.Pool.Config().ConnString())
	p := newProcessOn(t, dbtest.Open(t, databaseURL), &tally{}, jobs.Limits{Probes: 10, ProbesPerHost: 10})
	return &cutting{direct: direct, p: p, proxy: proxy, t: t}
}

func (c *cutting) create() {
	c.n++
	c.monitor = c.direct.Create(c.t, monitorstest.Of(monitorstest.URL("cut/%d", c.n), 60))
}

func (c *cutting) count(sql string, args ...any) int {
	return dbtest.One[int](c.t, c.direct.Pool, "SELECT count(*)::int FROM "+sql, args...)
}

// requireWhole requires what always holds of monitors.
func (c *cutting) requireWhole() {
	c.t.Helper()
	require.Zero(c.t, c.count(`monitors AS m
		WHERE (m.deleted_at IS NULL) <> EXISTS (SELECT 1 FROM monitor_states AS s WHERE s.monitor_id = m.id)`), "who is there stands somewhere")
	require.Zero(c.t, c.count(`monitors AS m
		FULL JOIN (SELECT * FROM monitor_schedules WHERE until_at IS NULL) AS s ON s.monitor_id = m.id
		WHERE (m.deleted_at IS NULL AND m.paused_at IS NULL) <> (s.monitor_id IS NOT NULL)
			OR (m.interval_seconds, m.phase_ms) <> (s.interval_seconds, s.phase_ms)`), "active and promised are one")
	require.Zero(c.t, c.count(`monitor_schedules AS s WHERE until_at IS NULL AND NOT EXISTS (SELECT 1 FROM river_job AS j
		WHERE j.kind = 'round' AND j.args ->> 'interval' = s.interval_seconds::text AND j.args ->> 'phase_ms' = s.phase_ms::text
			AND (j.args ->> 'slot')::timestamptz = s.from_at)`), "what is promised has its round")
	require.Zero(c.t,
		c.count(`monitors AS m JOIN monitor_states AS s ON s.monitor_id = m.id
			WHERE paused_at IS NOT NULL AND status <> 'paused'`))
}

// cuts does something again and again, each time with the cut a little later, until it is done in time.
func (c *cutting) cuts(prepare func(), do func() error, check func(err error)) {
	c.t.Helper()
	for after := 4; ; after += 1 + after/6 {
		require.Less(c.t, after, 300, "it comes to no end")
		prepare()
		c.p.Pool.Reset()
		c.proxy.CutAfter(after)
		err := do()
		done := c.proxy.CutAfter(0)
		if done {
			require.NoError(c.t, err)
		}
		check(err)
		if done {
			require.Greater(c.t, after, 5)
			return
		}
	}
}

// Whatever is done is cut off from the database at one point after the other, in the middle of a statement or between
// the commit and its acknowledgement: all of it has happened then, or nothing.
func TestCutOffAtAnyPoint(t *testing.T) {
	t.Parallel()

	t.Run("ACreation", func(t *testing.T) {
		t.Parallel()
		c := newCutting(t)
		c.cuts(func() { c.n++ }, func() error {
			_, err := c.p.StoreAt(monitorstest.Noon).Create(t.Context(), []monitors.Monitor{
				monitorstest.Of(monitorstest.URL("cut/%d", c.n), 60),
				monitorstest.Of(monitorstest.URL("cut/more/%d", c.n), 3600),
			}, false)
			return err
		}, func(error) {
			c.requireWhole()
			require.Contains(t, []int{0, 2}, c.count("monitors WHERE url IN ($1, $2)", monitorstest.URL("cut/%d", c.n), monitorstest.URL("cut/more/%d", c.n)))
		})
	})

	t.Run("AnEdit", func(t *testing.T) {
		t.Parallel()
		c := newCutting(t)
		c.cuts(c.create, func() error {
			_, _, err := c.p.StoreAt(monitorstest.Noon.Add(time.Second)).Edit(t.Context(), c.monitor.ID, monitorstest.Edit(func(c *monitors.Monitor) {
				c.IntervalSeconds, c.AcceptedStatuses = 90, []string{"404"}
			}))
			return err
		}, func(err error) {
			c.requireWhole()
			edited, getErr := db.New(c.direct.Pool).GetMonitor(t.Context(), c.monitor.ID)
			require.NoError(t, getErr)
			if err == nil {
				require.Equal(t, c.monitor.Version+1, edited.Version)
			}
		})
	})

	t.Run("AnEditToWhatIsTaken", func(t *testing.T) {
		t.Parallel()
		c := newCutting(t)
		holder := c.direct.Create(t, monitorstest.Of(monitorstest.URL("holder"), 60))
		c.cuts(c.create, func() error {
			_, _, err := c.p.StoreAt(monitorstest.Noon).Edit(t.Context(), c.monitor.ID, monitorstest.Edit(func(c *monitors.Monitor) { c.URL = holder.URL }))
			if _, ok := errors.AsType[*monitors.ConflictError](err); ok {
				return nil
			}
			require.Error(t, err)
			return err
		}, func(error) { c.requireWhole() })
	})

	t.Run("ADeletion", func(t *testing.T) {
		t.Parallel()
		c := newCutting(t)
		c.cuts(c.create, func() error { return c.p.StoreAt(monitorstest.Noon.Add(time.Second)).Delete(t.Context(), c.monitor.ID) },
			func(error) { c.requireWhole() })
	})

	t.Run("ARevival", func(t *testing.T) {
		t.Parallel()
		c := newCutting(t)
		c.cuts(func() {
			c.create()
			require.NoError(t, c.direct.StoreAt(monitorstest.Noon).Delete(t.Context(), c.monitor.ID))
		}, func() error {
			_, err := c.p.StoreAt(monitorstest.Noon).Create(t.Context(), []monitors.Monitor{{Monitor: c.monitor}}, false)
			return err
		}, func(error) { c.requireWhole() })
	})

	t.Run("AResult", func(t *testing.T) {
		t.Parallel()
		c := newCutting(t)
		// A result: however often the connection goes, it is recorded and judged once.
		slot := monitorstest.Noon
		c.create()
		c.p.Exec(t, "UPDATE monitors SET interval_seconds = 86400, failure_threshold = 100 WHERE id = $1", c.monitor.ID)
		failures := 0
		c.cuts(func() { slot = slot.Add(time.Second) }, func() error {
			scan := dbtest.Scan(c.monitor.ID, slot)
			scan.Outcome = uptime.StatusMismatch
			return c.p.worker.Recorder().Record(context.Background(), scan, nil)
		}, func(err error) {
			require.NoError(t, err)
			failures++
			require.Equal(t, failures, c.direct.State(t, c.monitor.ID).Failures)
			require.Equal(t, failures, c.count("monitor_log WHERE monitor_id = $1", c.monitor.ID))
		})
	})

	t.Run("ARoundAndTend", func(t *testing.T) {
		t.Parallel()
		c := newCutting(t)
		// A round: a cut one is tried again, and no slot is lost.
		schedule := uptime.Schedule{Interval: 3600, PhaseMS: 3_599_000}
		c.direct.insertMonitors(t, 3, 1, schedule, monitorstest.Noon)
		c.direct.Exec(t, "UPDATE monitors SET method = CASE WHEN id = 1001 THEN 'POST' ELSE 'GET' END WHERE phase_ms = 3599000")
		args := queue.RoundArgs{Interval: 3600, PhaseMS: 3_599_000, Slot: schedule.SlotAfter(monitorstest.Noon)}
		worker := c.p.worker.RoundWorker()
		rescuer := c.direct.worker.RoundWorker()
		round := func(late time.Duration, ahead int, failures ...string) (do func() error, check func(error)) {
			return func() error {
					c.p.SetNow(args.Slot.Add(late))
					c.direct.SetNow(args.Slot.Add(late))
					_, err := work(t, c.direct, worker, args, failures...)
					return err
				}, func(err error) {
					if err != nil {
						_, err := work(t, c.direct, rescuer, args, append(failures, rescued)...)
						require.NoError(t, err)
					}
					require.Zero(t, c.count("unaccounted_slots($1, $2) WHERE phase_ms = 3599000", args.Slot, args.Slot.Add(time.Second)))
					require.Equal(t, ahead, c.count("river_job WHERE args ->> 'phase_ms' = '3599000' AND (args ->> 'slot')::timestamptz > $1",
						args.Slot), "the chain goes on")
				}
		}
		next := func() { args.Slot = schedule.Next(args.Slot) }
		do, check := round(time.Second, 2)
		c.cuts(next, do, check)
		do, check = round(time.Hour, 1)
		c.cuts(next, do, check)

		// Tend: the next one finds the rest.
		c.direct.Exec(t, "DELETE FROM monitor_schedules WHERE phase_ms <> 3599000")
		c.p.SetNow(args.Slot.Add(3*time.Hour + 5*time.Minute))
		tender := c.p.worker.TendWorker()
		c.cuts(func() {
			c.direct.Exec(t, "DELETE FROM river_job")
			c.direct.Exec(t, "DELETE FROM scan_gaps WHERE reason = 'unaccounted'")
			c.direct.Exec(t, "UPDATE tend_progress SET checked_until = $1", c.p.Now().Add(-15*time.Minute))
		}, func() error {
			_, err := work(t, c.direct, tender, queue.TendArgs{})
			return err
		}, func(err error) {
			if err == nil {
				require.Zero(t, c.count("unaccounted_slots($1, $2)", c.p.Now().Add(-15*time.Minute), c.p.Now().Add(-5*time.Minute)))
			}
		})
	})
}
