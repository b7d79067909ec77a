package jobs_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"riverwatch/db"
	"riverwatch/jobs"
	"riverwatch/probe"
	"riverwatch/uptime"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	short := config("https://example.com/a/", 10)
	require.Equal(t, "example.com/a", short.Name)
	require.Equal(t, 5000, short.TimeoutMS, "half the interval")
	long := config("https://example.com:8443", 60)
	require.Equal(t, "example.com:8443", long.Name)
	require.Equal(t, 10_000, long.TimeoutMS)
	require.Len(t, []rune(config("https://example.com/"+strings.Repeat("ä", 300), 60).Name), 200)
	require.Equal(t, "%zz", config("%zz", 60).Name)

	named := jobs.MonitorConfig{Name: "shop", TimeoutMS: 7, IntervalSeconds: 60}.WithDefaults()
	require.Equal(t, "shop", named.Name)
	require.Equal(t, 7, named.TimeoutMS)
}

func TestCreateMonitors(t *testing.T) {
	t.Parallel()
	p := newProcess(t)

	t.Run("RowStatePromiseAndJobsAreThereTogether", func(t *testing.T) {
		t.Parallel()
		c := config(url("together"), 3601)
		pattern := "ok"
		c.Regexp, c.Tags, c.Method = &pattern, []string{"a", "b"}, http.MethodHead
		monitor := p.create(t, c)
		schedule := uptime.ScheduleOf(monitor.ID, 3601)
		require.Equal(t, c, jobs.ConfigOf(monitor, probe.Secrets{}))
		require.Equal(t, schedule, scheduleOf(monitor))

		state := p.state(t, monitor.ID)
		require.Equal(t, uptime.Pending, state.Status)
		require.True(t, state.Since.Equal(noon))
		open, err := db.New(p.pool).GetOpenSchedule(t.Context(), monitor.ID)
		require.NoError(t, err)
		require.True(t, open.FromAt.Equal(schedule.SlotAfter(noon)))
		require.Contains(t, openJobs[jobs.RoundArgs](t, p), roundOf(monitor, schedule.SlotAfter(noon)))

		scans := column[time.Time](t, p,
			"SELECT scheduled_at FROM river_job WHERE kind = 'scan' AND (args ->> 'monitor_id')::bigint = $1", monitor.ID)
		require.Len(t, scans, 1, "the first result is there in a second")
		require.True(t, scans[0].Equal(noon.Add(time.Microsecond)),
			"a scan outside rounds is at no quarter of a second, lest it take a slot's place")
	})

	t.Run("AllIsRolledBackTogether", func(t *testing.T) {
		t.Parallel()
		c := config(url("rolled-back"), 3602)
		require.ErrorIs(t, pgx.BeginFunc(t.Context(), p.pool, func(tx pgx.Tx) error {
			puts, err := jobs.CreateMonitors(t.Context(), tx, p.queue, []jobs.MonitorConfig{c}, false, noon)
			require.NoError(t, err)
			require.NotZero(t, puts[0].Monitor.ID)
			return context.Canceled // the caller's, of all that he does in his transaction
		}), context.Canceled)
		require.Zero(t, p.count(t, "monitors WHERE interval_seconds = 3602"))
		require.Zero(t, p.count(t, "monitor_schedules WHERE interval_seconds = 3602"))
		require.Zero(t, p.count(t, "river_job WHERE args ->> 'interval' = '3602'"))
	})

	t.Run("OneThatCannotBeStoredSpoilsAll", func(t *testing.T) {
		t.Parallel()
		bad := config(url("bad"), 3603)
		bad.FailureThreshold = 0
		_, err := jobs.CreateMonitors(t.Context(), p.pool, p.queue, []jobs.MonitorConfig{config(url("fine"), 3603), bad},
			false, noon)
		require.ErrorContains(t, err, "create 2 monitors: insert monitors: ")
		require.Equal(t, db.TroubleOurs, db.TroubleOf(err))
		require.Zero(t, p.count(t, "monitors WHERE interval_seconds = 3603"))
	})

	t.Run("APausedOneIsPromisedNothing", func(t *testing.T) {
		t.Parallel()
		c := config(url("paused"), 3604)
		c.Enabled = false
		monitor := p.create(t, c)
		require.NotNil(t, monitor.PausedAt)
		require.Equal(t, uptime.Paused, p.state(t, monitor.ID).Status)
		require.Zero(t, p.count(t, "monitor_schedules WHERE monitor_id = $1", monitor.ID))
		require.Zero(t, p.count(t, "river_job WHERE args ->> 'interval' = '3604'"))
		require.Zero(t, p.count(t, "river_job WHERE (args ->> 'monitor_id')::bigint = $1", monitor.ID))
	})

	t.Run("FiftyAtOnceMakeOne", func(t *testing.T) {
		t.Parallel()
		created := make(chan int64, 50)
		ids := make(chan int64, 50)
		var all errgroup.Group
		for range 50 {
			all.Go(func() error {
				puts, err := jobs.CreateMonitors(t.Context(), p.pool, p.queue, []jobs.MonitorConfig{config(url("raced"), 3605)},
					false, noon)
				if err != nil {
					return err
				}
				if puts[0].Put == jobs.PutCreated {
					created <- puts[0].Monitor.ID
				}
				ids <- puts[0].Monitor.ID
				return nil
			})
		}
		require.NoError(t, all.Wait())
		require.Len(t, created, 1)
		id := <-created
		for range 50 {
			require.Equal(t, id, <-ids)
		}
		require.Equal(t, 1, p.count(t, "monitors WHERE url = $1", url("raced")))
		require.Equal(t, 1, p.count(t, "monitor_schedules WHERE monitor_id = $1 AND until_at IS NULL", id))
		require.Equal(t, uptime.Pending, p.state(t, id).Status)
	})

	t.Run("WhatIsThereIsLeftAloneOrUpdated", func(t *testing.T) {
		t.Parallel()
		c := config(url("again"), 3606)
		first := p.create(t, c)
		c.Name = "another name"

		puts, err := jobs.CreateMonitors(t.Context(), p.pool, p.queue, []jobs.MonitorConfig{c}, false, noon)
		require.NoError(t, err)
		require.Equal(t, jobs.PutExists, puts[0].Put)
		require.Equal(t, first.ID, puts[0].Monitor.ID)
		require.Equal(t, first.Name, puts[0].Monitor.Name)

		puts, err = jobs.CreateMonitors(t.Context(), p.pool, p.queue, []jobs.MonitorConfig{c}, true, noon)
		require.NoError(t, err)
		require.Equal(t, jobs.PutUpdated, puts[0].Put)
		require.Equal(t, first.ID, puts[0].Monitor.ID)
		require.Equal(t, "another name", puts[0].Monitor.Name)
		require.Equal(t, first.Version+1, puts[0].Monitor.Version)

		empty := ""
		c.Regexp = &empty
		require.NotEqual(t, first.ID, p.create(t, c).ID, "no regexp and the empty one are two")
	})

	t.Run("ADeletedOneIsRevivedWithItsHistory", func(t *testing.T) {
		t.Parallel()
		c := config(url("revived"), 3607)
		first := p.create(t, c)
		require.NoError(t, jobs.DeleteMonitor(t.Context(), p.pool, first.ID, noon.Add(2*time.Hour)))
		require.ErrorIs(t, jobs.DeleteMonitor(t.Context(), p.pool, first.ID, noon), pgx.ErrNoRows)

		later := noon.Add(50 * time.Hour)
		puts, err := jobs.CreateMonitors(t.Context(), p.pool, p.queue, []jobs.MonitorConfig{c}, false, later)
		require.NoError(t, err)
		require.Equal(t, jobs.PutCreated, puts[0].Put)
		require.Equal(t, first.ID, puts[0].Monitor.ID)
		require.Nil(t, puts[0].Monitor.DeletedAt)
		require.Equal(t, 2, p.count(t, "monitor_schedules WHERE monitor_id = $1", first.ID))
		state := p.state(t, first.ID)
		require.Equal(t, uptime.Pending, state.Status)
		require.True(t, state.Since.Equal(later))
		require.Equal(t, 2, p.count(t, "river_job WHERE kind = 'scan' AND (args ->> 'monitor_id')::bigint = $1", first.ID))
	})
}

func TestCreateMonitorsInBulk(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	paused := config(url("there"), 86400)
	paused.Enabled = false
	there := p.create(t, paused)

	// A thousand: 989 new ones, ten that come twice, and one that was there.
	var configs []jobs.MonitorConfig
	for i := range 989 {
		configs = append(configs, config(url("%d", i), 86400))
	}
	configs = append(configs, paused)
	for i := range 10 {
		twice := config(url("%d", i), 86400)
		twice.Name = "the second"
		configs = append(configs, twice)
	}
	puts, err := jobs.CreateMonitors(t.Context(), p.pool, p.queue, configs, true, noon)
	require.NoError(t, err)
	require.Len(t, puts, 1000)

	for i, put := range puts {
		require.Equal(t, configs[i].URL, put.Monitor.URL, "in the order of configs")
		switch {
		case i < 989:
			require.Equal(t, jobs.PutCreated, put.Put)
		case i == 989:
			require.Equal(t, jobs.PutUpdated, put.Put)
			require.Equal(t, there.ID, put.Monitor.ID)
			require.Equal(t, there.Version, put.Monitor.Version, "nothing in it is new")
		default:
			require.Equal(t, jobs.PutUpdated, put.Put)
			require.Equal(t, puts[i-990].Monitor.ID, put.Monitor.ID)
			require.Equal(t, "the second", put.Monitor.Name)
		}
	}
	require.Equal(t, 990, p.count(t, "monitors"))
	require.Equal(t, 990, p.count(t, "monitor_states"))
	require.Equal(t, 989, p.count(t, "monitor_schedules WHERE until_at IS NULL"))

	// Each is promised its next slot, and that has a round.
	require.Zero(t, one[int](t, p, `
		SELECT count(*)::int FROM monitor_schedules AS s
		WHERE NOT EXISTS (
			SELECT 1 FROM river_job
			WHERE kind = 'round' AND state = 'available' AND scheduled_at = s.from_at - interval '500 ms'
				AND (args ->> 'phase_ms')::int = s.phase_ms AND (args ->> 'slot')::timestamptz = s.from_at
		)`))

	// Those that would wait long are scanned ahead, a few each second.
	at := column[time.Time](t, p, "SELECT scheduled_at FROM river_job WHERE kind = 'scan' ORDER BY scheduled_at")
	require.Greater(t, len(at), 950)
	require.Less(t, len(at), 990, "a few have a slot within a minute")
	for i := range len(at) - 50 {
		require.GreaterOrEqual(t, at[i+50].Sub(at[i]), 999*time.Millisecond)
	}
}

func TestAMonitorPausedDuringItsFirstScan(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	monitor := p.create(t, config(url("first"), 60))
	first := scheduleOf(monitor).SlotAfter(noon)
	p.setNow(first.Add(time.Second))
	p.edit(t, monitor.ID, func(c *jobs.MonitorConfig) { c.Enabled = false })
	p.record(t, monitor, first, uptime.OK) // the scan ends

	require.Zero(t, p.count(t, "promised_slots($1, $2)", noon, first.Add(time.Hour)), "it is no longer promised")
	scans, err := db.NewestScans(t.Context(), p.pool, monitor.ID, noon, first.Add(time.Hour), 10)
	require.NoError(t, err)
	require.Len(t, scans, 1, "but found")

	p.edit(t, monitor.ID, func(c *jobs.MonitorConfig) { c.Enabled = true })
	require.Equal(t, 2, p.count(t, "monitor_schedules"))
}

func TestEditMonitor(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	scanJobs := func(t *testing.T, id int64) int {
		t.Helper()
		return p.count(t, "river_job WHERE kind = 'scan' AND (args ->> 'monitor_id')::bigint = $1", id)
	}
	changeAt := func(t *testing.T, id int64, at time.Time, change func(*jobs.MonitorConfig)) db.Monitor {
		t.Helper()
		monitor, err := jobs.EditMonitor(t.Context(), p.pool, p.queue, id, edit(change), at)
		require.NoError(t, err)
		return monitor
	}

	t.Run("NothingNew", func(t *testing.T) {
		t.Parallel()
		monitor := p.create(t, config(url("same"), 3600))
		same := changeAt(t, monitor.ID, noon.Add(time.Hour), func(*jobs.MonitorConfig) {})
		require.Equal(t, monitor, same)
		require.Equal(t, 1, scanJobs(t, monitor.ID))
	})

	t.Run("APhaseIsKeptAsLongAsTheInterval", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		monitor := p.create(t, config(url("kept"), 60))
		other := (monitor.PhaseMS + 10_500) % 60_000 // as if phases were made in another way once
		p.exec(t, "UPDATE monitors SET phase_ms = $1", other)
		p.exec(t, "UPDATE monitor_schedules SET phase_ms = $1", other)
		require.Equal(t, other, p.edit(t, monitor.ID, func(c *jobs.MonitorConfig) { c.Name = "other" }).PhaseMS)
		require.Equal(t, 1, p.count(t, "monitor_schedules"))
		p.edit(t, monitor.ID, func(c *jobs.MonitorConfig) { c.IntervalSeconds = 120 })
		require.Equal(t, monitor.PhaseMS, p.edit(t, monitor.ID, func(c *jobs.MonitorConfig) { c.IntervalSeconds = 60 }).PhaseMS)
	})

	t.Run("PauseAndResume", func(t *testing.T) {
		t.Parallel()
		monitor := p.create(t, config(url("pause"), 3600))
		later := noon.Add(100 * time.Minute)
		paused := changeAt(t, monitor.ID, later, func(c *jobs.MonitorConfig) { c.Enabled = false })
		require.True(t, paused.PausedAt.Equal(later))
		require.Equal(t, uptime.Paused, p.state(t, monitor.ID).Status)
		_, err := db.New(p.pool).GetOpenSchedule(t.Context(), monitor.ID)
		require.ErrorIs(t, err, pgx.ErrNoRows)

		// While it is paused, its expectations change: it stays paused since then.
		edited := changeAt(t, monitor.ID, later.Add(time.Minute),
			func(c *jobs.MonitorConfig) { c.AcceptedStatuses = []string{"404"} })
		require.True(t, edited.PausedAt.Equal(later))
		require.True(t, p.state(t, monitor.ID).Since.Equal(later))
		require.Equal(t, 1, scanJobs(t, monitor.ID))

		again := later.Add(2 * time.Hour)
		resumed := changeAt(t, monitor.ID, again, func(c *jobs.MonitorConfig) { c.Enabled = true })
		require.Nil(t, resumed.PausedAt)
		require.Equal(t, uptime.Pending, p.state(t, monitor.ID).Status)
		open, err := db.New(p.pool).GetOpenSchedule(t.Context(), monitor.ID)
		require.NoError(t, err)
		require.True(t, open.FromAt.Equal(scheduleOf(monitor).SlotAfter(again)))
		require.Equal(t, 2, scanJobs(t, monitor.ID), "it is looked at at once")
	})

	t.Run("OtherExpectationsStartTheStatusAnew", func(t *testing.T) {
		t.Parallel()
		monitor := p.create(t, config(url("expect"), 3600))
		p.exec(t, "UPDATE monitor_states SET status = 'down' WHERE monitor_id = $1", monitor.ID)

		changeAt(t, monitor.ID, noon.Add(time.Minute), func(c *jobs.MonitorConfig) { c.Name, c.FailureThreshold = "x", 9 })
		require.Equal(t, uptime.Down, p.state(t, monitor.ID).Status, "what is known of it still holds")
		require.Equal(t, 1, scanJobs(t, monitor.ID))

		later := noon.Add(2 * time.Minute)
		changeAt(t, monitor.ID, later, func(c *jobs.MonitorConfig) { c.AcceptedStatuses = []string{"404"} })
		state := p.state(t, monitor.ID)
		require.Equal(t, uptime.Pending, state.Status)
		require.True(t, state.Since.Equal(later))
		require.Equal(t, 2, scanJobs(t, monitor.ID))
	})

	t.Run("AnIdentityThatIsTaken", func(t *testing.T) {
		t.Parallel()
		holder := p.create(t, config(url("holder"), 3600))
		monitor := p.create(t, config(url("wants"), 3600))
		take := edit(func(c *jobs.MonitorConfig) { c.URL = url("holder") })
		_, err := jobs.EditMonitor(t.Context(), p.pool, p.queue, monitor.ID, take, noon)
		var conflict *jobs.ConflictError
		require.ErrorAs(t, err, &conflict)
		require.Equal(t, jobs.ConflictError{MonitorID: holder.ID}, *conflict)
		require.ErrorContains(t, err, "has this method, URL and regexp")

		require.NoError(t, jobs.DeleteMonitor(t.Context(), p.pool, holder.ID, noon))
		_, err = jobs.EditMonitor(t.Context(), p.pool, p.queue, monitor.ID, take, noon)
		require.ErrorAs(t, err, &conflict)
		require.Equal(t, jobs.ConflictError{MonitorID: holder.ID, Deleted: true}, *conflict)

		stored, err := db.New(p.pool).GetMonitor(t.Context(), monitor.ID)
		require.NoError(t, err)
		require.Equal(t, monitor, stored)
	})

	t.Run("WhatIsNotThere", func(t *testing.T) {
		t.Parallel()
		_, err := jobs.EditMonitor(t.Context(), p.pool, p.queue, 1<<40, edit(func(*jobs.MonitorConfig) {}), noon)
		require.ErrorIs(t, err, pgx.ErrNoRows)
		require.ErrorIs(t, jobs.DeleteMonitor(t.Context(), p.pool, 1<<40, noon), pgx.ErrNoRows)
	})

	t.Run("AnErrorOfTheEditIsReturnedAsItIs", func(t *testing.T) {
		t.Parallel()
		monitor := p.create(t, config(url("refuses"), 3600))
		refusal := errors.New("no")
		_, err := jobs.EditMonitor(t.Context(), p.pool, p.queue, monitor.ID,
			func(c jobs.MonitorConfig) (jobs.MonitorConfig, error) { return c, refusal }, noon)
		require.Equal(t, refusal, err)
	})

	t.Run("ASerializationFailureIsTriedAgain", func(t *testing.T) {
		t.Parallel()
		monitor := p.create(t, config(url("unlucky"), 3600))
		p.exec(t, `
			CREATE SEQUENCE unlucky;
			CREATE FUNCTION unlucky() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN
				IF nextval('unlucky') < 3 THEN
					RAISE EXCEPTION USING ERRCODE = '40001';
				END IF;
				RETURN NEW;
			END $$;
			CREATE TRIGGER unlucky BEFORE UPDATE ON monitors FOR EACH ROW
				WHEN (NEW.name = 'unlucky') EXECUTE FUNCTION unlucky()`)
		rename := edit(func(c *jobs.MonitorConfig) { c.Name = "unlucky" })
		edited, err := jobs.EditMonitor(t.Context(), p.pool, p.queue, monitor.ID, rename, noon)
		require.NoError(t, err)
		require.Equal(t, monitor.Version+1, edited.Version)

		// Three times, and then no more.
		p.exec(t, "ALTER SEQUENCE unlucky RESTART WITH -5 MINVALUE -5")
		_, err = jobs.EditMonitor(t.Context(), p.pool, p.queue, monitor.ID,
			edit(func(c *jobs.MonitorConfig) { c.TimeoutMS = 7777 }), noon)
		require.Equal(t, db.TroubleRetry, db.TroubleOf(err))
	})
}

// However a monitor is changed, and whether its present slot was scanned or not: no instant is promised by two
// schedules, and what was scanned as promised stays promised.
func TestPromisesOfAChangedMonitor(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	n := 0

	rapid.Check(t, func(rt *rapid.T) {
		ctx := context.Background()
		n++
		tx, err := p.pool.Begin(ctx)
		require.NoError(rt, err)
		defer tx.Rollback(ctx) //nolint:errcheck // nothing is kept
		at := noon
		puts, err := jobs.CreateMonitors(ctx, tx, p.queue, []jobs.MonitorConfig{config(url("history/%d", n), 10)}, false, at)
		require.NoError(rt, err)
		monitor := puts[0].Monitor
		var scanned []time.Time

		for range rapid.IntRange(1, 6).Draw(rt, "changes") {
			at = at.Add(time.Duration(rapid.IntRange(1, 25_000).Draw(rt, "ms later")) * time.Millisecond)
			present := scheduleOf(monitor).SlotAt(at)
			if monitor.PausedAt == nil && rapid.Bool().Draw(rt, "scanned") && promised(rt, tx, monitor.ID, present) {
				if _, err := tx.Exec(ctx, `INSERT INTO monitor_log (slot, monitor_id, late_ms, total_us, monitor_version, outcome,
					reason, worker) VALUES ($1, $2, 0, 0, 1, 'ok', 'round', '') ON CONFLICT DO NOTHING`,
					present, monitor.ID); err != nil {
					rt.Fatal(err)
				}
				scanned = append(scanned, present)
			}
			change := rapid.SampledFrom([]string{"10", "20", "15", "toggle", "delete"}).Draw(rt, "change")
			if change == "delete" {
				require.NoError(rt, jobs.DeleteMonitor(ctx, tx, monitor.ID, at))
				puts, err := jobs.CreateMonitors(ctx, tx, p.queue, []jobs.MonitorConfig{jobs.ConfigOf(monitor, probe.Secrets{})}, false, at)
				require.NoError(rt, err)
				require.Equal(rt, monitor.ID, puts[0].Monitor.ID)
				monitor = puts[0].Monitor
				continue
			}
			monitor, err = jobs.EditMonitor(ctx, tx, p.queue, monitor.ID, edit(func(c *jobs.MonitorConfig) {
				switch change {
				case "toggle":
					c.Enabled = !c.Enabled
				case "10":
					c.IntervalSeconds = 10
				case "15":
					c.IntervalSeconds = 15
				case "20":
					c.IntervalSeconds = 20
				}
			}), at)
			require.NoError(rt, err)
		}

		count := func(sql string, args ...any) (n int) {
			require.NoError(rt, tx.QueryRow(ctx, "SELECT count(*) FROM "+sql, args...).Scan(&n))
			return n
		}
		require.Zero(rt, count(`monitor_schedules AS a JOIN monitor_schedules AS b USING (monitor_id)
			WHERE a.monitor_id = $1 AND a.from_at < b.from_at AND (a.until_at IS NULL OR a.until_at > b.from_at)`, monitor.ID),
			"two promises overlap")
		open := 1
		if monitor.PausedAt != nil {
			open = 0
		}
		require.Equal(rt, open, count("monitor_schedules WHERE monitor_id = $1 AND until_at IS NULL", monitor.ID))
		for _, slot := range scanned {
			require.True(rt, promised(rt, tx, monitor.ID, slot), "scanned, and no longer promised: %s", slot)
		}
		// The open promise begins at its first slot after the change, whose round is there.
		if open == 1 {
			require.Equal(rt, 1, count(`monitor_schedules AS s
				JOIN river_job AS j ON (j.args ->> 'slot')::timestamptz = s.from_at
				AND (j.args ->> 'interval')::int = s.interval_seconds AND (j.args ->> 'phase_ms')::int = s.phase_ms
				WHERE s.monitor_id = $1 AND s.until_at IS NULL AND j.kind = 'round'`, monitor.ID))
		}
	})
}

func promised(t *rapid.T, tx pgx.Tx, id int64, slot time.Time) (is bool) {
	require.NoError(t, tx.QueryRow(context.Background(),
		"SELECT count(*) > 0 FROM promised_slots($1, $2) WHERE monitor_id = $3", slot, slot.Add(time.Second), id).Scan(&is))
	return is
}

func TestAskForScan(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	monitor := p.create(t, config(url("asked"), 3600))

	slot, err := jobs.AskForScan(t.Context(), p.queue, monitor.ID, noon.Add(time.Minute))
	require.NoError(t, err)
	require.Equal(t, noon.Add(time.Minute+time.Microsecond), slot)
	require.Equal(t, jobs.ScanArgs{MonitorID: monitor.ID, At: slot, Reason: jobs.ReasonAsked}, openJobs[jobs.ScanArgs](t,
		p)[1])

	precise, err := jobs.AskForScan(t.Context(), p.queue, monitor.ID, noon.Add(1234567891))
	require.NoError(t, err)
	require.Equal(t, noon.Add(1234567*time.Microsecond), precise, "as precise as the database")

	ctx, leave := context.WithCancel(t.Context())
	leave()
	_, err = jobs.AskForScan(ctx, p.queue, monitor.ID, noon)
	require.ErrorContains(t, err, "insert a scan of monitor")
}
