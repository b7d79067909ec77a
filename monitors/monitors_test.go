package monitors_test

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
	"riverwatch/db/dbtest"
	"riverwatch/monitors"
	"riverwatch/monitors/monitorstest"
	"riverwatch/probe"
	"riverwatch/uptime"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	short := monitorstest.Of("https://example.com/a/", 10)
	require.Equal(t, "example.com/a", short.Name)
	require.Equal(t, 5000, short.TimeoutMS, "half the interval")
	long := monitorstest.Of("https://example.com:8443", 60)
	require.Equal(t, "example.com:8443", long.Name)
	require.Equal(t, 10_000, long.TimeoutMS)
	require.Len(t, []rune(monitorstest.Of("https://example.com/"+strings.Repeat("ä", 300), 60).Name), 200)
	require.Equal(t, "%zz", monitorstest.Of("%zz", 60).Name)

	named := monitors.Monitor{Monitor: db.Monitor{Name: "shop", TimeoutMS: 7, IntervalSeconds: 60}}.Complete()
	require.Equal(t, "shop", named.Name)
	require.Equal(t, 7, named.TimeoutMS)
}

func TestCreateMonitors(t *testing.T) {
	t.Parallel()
	p := monitorstest.On(t, dbtest.New(t))

	t.Run("RowStatePromiseAndJobsAreThereTogether", func(t *testing.T) {
		t.Parallel()
		c := monitorstest.Of(monitorstest.URL("together"), 3601)
		pattern := "ok"
		c.Regexp, c.Tags, c.Method = &pattern, []string{"a", "b"}, http.MethodHead
		monitor := p.Create(t, c)
		schedule := uptime.ScheduleOf(monitor.ID, 3601)
		stored, err := monitors.Of(monitor, probe.Secrets{})
		require.NoError(t, err)
		require.Equal(t, c.Target(), stored.Target())
		require.Equal(t, c.Tags, stored.Tags)
		require.Equal(t, schedule, monitor.Schedule())

		state := p.State(t, monitor.ID)
		require.Equal(t, uptime.Pending, state.Status)
		require.True(t, state.Since.Equal(monitorstest.Noon))
		open, err := db.New(p.Pool).ListOpenSchedules(t.Context(), []int64{monitor.ID})
		require.NoError(t, err)
		first := schedule.SlotAfter(monitorstest.Noon)
		require.True(t, open[0].FromAt.Equal(first))
		require.Equal(t, 1, p.Count(t, `river_job WHERE kind = 'round' AND state = 'available' AND args ->> 'interval' = '3601'
			AND (args ->> 'phase_ms')::int = $1 AND (args ->> 'slot')::timestamptz = $2`, schedule.PhaseMS, first))

		scans := dbtest.Column[time.Time](t, p.Pool,
			"SELECT scheduled_at FROM river_job WHERE kind = 'scan' AND (args ->> 'monitor_id')::bigint = $1", monitor.ID)
		require.Len(t, scans, 1, "the first result is there in a second")
		require.True(t, scans[0].Equal(monitorstest.Noon.Add(time.Microsecond)),
			"a scan outside rounds is at no quarter of a second, lest it take a slot's place")
	})

	t.Run("AllIsRolledBackTogether", func(t *testing.T) {
		t.Parallel()
		c := monitorstest.Of(monitorstest.URL("rolled-back"), 3602)
		require.ErrorIs(t, pgx.BeginFunc(t.Context(), p.Pool, func(tx pgx.Tx) error {
			creations, err := p.StoreOn(tx, monitorstest.Noon).Create(t.Context(), []monitors.Monitor{c}, false)
			require.NoError(t, err)
			require.NotZero(t, creations[0].Monitor.ID)
			return context.Canceled // the caller's, of all that he does in his transaction
		}), context.Canceled)
		require.Zero(t, p.Count(t, "monitors WHERE interval_seconds = 3602"))
		require.Zero(t, p.Count(t, "monitor_schedules WHERE interval_seconds = 3602"))
		require.Zero(t, p.Count(t, "river_job WHERE args ->> 'interval' = '3602'"))
	})

	t.Run("OneThatCannotBeStoredSpoilsAll", func(t *testing.T) {
		t.Parallel()
		bad := monitorstest.Of(monitorstest.URL("bad"), 3603)
		bad.FailureThreshold = 0
		_, err := p.StoreAt(monitorstest.Noon).Create(t.Context(), []monitors.Monitor{monitorstest.Of(monitorstest.URL("fine"), 3603), bad}, false)
		require.ErrorContains(t, err, "create 2 monitors: insert monitors: ")
		require.Equal(t, db.TroubleOurs, db.TroubleOf(err))
		require.Zero(t, p.Count(t, "monitors WHERE interval_seconds = 3603"))
	})

	t.Run("APausedOneIsPromisedNothing", func(t *testing.T) {
		t.Parallel()
		c := monitorstest.Of(monitorstest.URL("paused"), 3604)
		c.Enable(false)
		monitor := p.Create(t, c)
		require.NotNil(t, monitor.PausedAt)
		require.Equal(t, uptime.Paused, p.State(t, monitor.ID).Status)
		require.Zero(t, p.Count(t, "monitor_schedules WHERE monitor_id = $1", monitor.ID))
		require.Zero(t, p.Count(t, "river_job WHERE args ->> 'interval' = '3604'"))
		require.Zero(t, p.Count(t, "river_job WHERE (args ->> 'monitor_id')::bigint = $1", monitor.ID))
	})

	t.Run("FiftyAtOnceMakeOne", func(t *testing.T) {
		t.Parallel()
		created := make(chan int64, 50)
		ids := make(chan int64, 50)
		var all errgroup.Group
		for range 50 {
			all.Go(func() error {
				creations, err := p.StoreAt(monitorstest.Noon).Create(t.Context(), []monitors.Monitor{monitorstest.Of(monitorstest.URL("raced"), 3605)}, false)
				if err != nil {
					return err
				}
				if creations[0].Result == monitors.Created {
					created <- creations[0].Monitor.ID
				}
				ids <- creations[0].Monitor.ID
				return nil
			})
		}
		require.NoError(t, all.Wait())
		require.Len(t, created, 1)
		id := <-created
		for range 50 {
			require.Equal(t, id, <-ids)
		}
		require.Equal(t, 1, p.Count(t, "monitors WHERE url = $1", monitorstest.URL("raced")))
		require.Equal(t, 1, p.Count(t, "monitor_schedules WHERE monitor_id = $1 AND until_at IS NULL", id))
		require.Equal(t, uptime.Pending, p.State(t, id).Status)
	})

	t.Run("WhatIsThereIsLeftAloneOrUpdated", func(t *testing.T) {
		t.Parallel()
		c := monitorstest.Of(monitorstest.URL("again"), 3606)
		first := p.Create(t, c)
		c.Name = "another name"

		creations, err := p.StoreAt(monitorstest.Noon).Create(t.Context(), []monitors.Monitor{c}, false)
		require.NoError(t, err)
		require.Equal(t, monitors.Exists, creations[0].Result)
		require.Equal(t, first.ID, creations[0].Monitor.ID)
		require.Equal(t, first.Name, creations[0].Monitor.Name)

		creations, err = p.StoreAt(monitorstest.Noon).Create(t.Context(), []monitors.Monitor{c}, true)
		require.NoError(t, err)
		require.Equal(t, monitors.Updated, creations[0].Result)
		require.Equal(t, first.ID, creations[0].Monitor.ID)
		require.Equal(t, "another name", creations[0].Monitor.Name)
		require.Equal(t, first.Version+1, creations[0].Monitor.Version)

		empty := ""
		c.Regexp = &empty
		require.NotEqual(t, first.ID, p.Create(t, c).ID, "no regexp and the empty one are two")
	})

	t.Run("ADeletedOneIsRevivedWithItsHistory", func(t *testing.T) {
		t.Parallel()
		c := monitorstest.Of(monitorstest.URL("revived"), 3607)
		first := p.Create(t, c)
		require.NoError(t, p.StoreAt(monitorstest.Noon.Add(2*time.Hour)).Delete(t.Context(), first.ID))
		require.ErrorIs(t, p.StoreAt(monitorstest.Noon).Delete(t.Context(), first.ID), pgx.ErrNoRows)

		later := monitorstest.Noon.Add(50 * time.Hour)
		creations, err := p.StoreAt(later).Create(t.Context(), []monitors.Monitor{c}, false)
		require.NoError(t, err)
		require.Equal(t, monitors.Created, creations[0].Result)
		require.Equal(t, first.ID, creations[0].Monitor.ID)
		require.Nil(t, creations[0].Monitor.DeletedAt)
		require.Equal(t, 2, p.Count(t, "monitor_schedules WHERE monitor_id = $1", first.ID))
		state := p.State(t, first.ID)
		require.Equal(t, uptime.Pending, state.Status)
		require.True(t, state.Since.Equal(later))
		require.Equal(t, 2, p.Count(t, "river_job WHERE kind = 'scan' AND (args ->> 'monitor_id')::bigint = $1", first.ID))
	})
}

func TestCreateMonitorsInBulk(t *testing.T) {
	t.Parallel()
	p := monitorstest.On(t, dbtest.New(t))
	paused := monitorstest.Of(monitorstest.URL("there"), 86400)
	paused.Enable(false)
	there := p.Create(t, paused)

	// A thousand: 989 new ones, ten that come twice, and one that was there.
	var configs []monitors.Monitor
	for i := range 989 {
		configs = append(configs, monitorstest.Of(monitorstest.URL("%d", i), 86400))
	}
	configs = append(configs, paused)
	for i := range 10 {
		twice := monitorstest.Of(monitorstest.URL("%d", i), 86400)
		twice.Name = "the second"
		configs = append(configs, twice)
	}
	creations, err := p.StoreAt(monitorstest.Noon).Create(t.Context(), configs, true)
	require.NoError(t, err)
	require.Len(t, creations, 1000)

	for i, put := range creations {
		require.Equal(t, configs[i].URL, put.Monitor.URL, "in the order of configs")
		switch {
		case i < 989:
			require.Equal(t, monitors.Created, put.Result)
		case i == 989:
			require.Equal(t, monitors.Updated, put.Result)
			require.Equal(t, there.ID, put.Monitor.ID)
			require.Equal(t, there.Version, put.Monitor.Version, "nothing in it is new")
		default:
			require.Equal(t, monitors.Updated, put.Result)
			require.Equal(t, creations[i-990].Monitor.ID, put.Monitor.ID)
			require.Equal(t, "the second", put.Monitor.Name)
		}
	}
	require.Equal(t, 990, p.Count(t, "monitors"))
	require.Equal(t, 990, p.Count(t, "monitor_states"))
	require.Equal(t, 989, p.Count(t, "monitor_schedules WHERE until_at IS NULL"))

	// Each is promised its next slot, and that has a round.
	require.Zero(t, dbtest.One[int](t, p.Pool, `
		SELECT count(*)::int FROM monitor_schedules AS s
		WHERE NOT EXISTS (
			SELECT 1 FROM river_job
			WHERE kind = 'round' AND state = 'available' AND scheduled_at = s.from_at - interval '500 ms'
				AND (args ->> 'phase_ms')::int = s.phase_ms AND (args ->> 'slot')::timestamptz = s.from_at
		)`))

	// Those that would wait long are scanned ahead, a few each second.
	at := dbtest.Column[time.Time](t, p.Pool, "SELECT scheduled_at FROM river_job WHERE kind = 'scan' ORDER BY scheduled_at")
	require.Greater(t, len(at), 950)
	require.Less(t, len(at), 990, "a few have a slot within a minute")
	for i := range len(at) - 50 {
		require.GreaterOrEqual(t, at[i+50].Sub(at[i]), 999*time.Millisecond)
	}
}

// With a key a monitor is known by that alone; without one by its method, URL and regexp.
func TestKeys(t *testing.T) {
	t.Parallel()
	p := monitorstest.On(t, dbtest.New(t))
	keyed := func(key, url string) monitors.Monitor {
		m := monitorstest.Of(url, 3600)
		m.Key = &key
		return m
	}
	put := func(t *testing.T, m monitors.Monitor, update bool) monitors.Creation {
		t.Helper()
		creations, err := p.Store().Create(t.Context(), []monitors.Monitor{m}, update)
		require.NoError(t, err)
		return creations[0]
	}

	t.Run("TwoOfOneURLAreBothWelcome", func(t *testing.T) {
		t.Parallel()
		url := monitorstest.URL("twins")
		ids := map[int64]bool{}
		for _, m := range []monitors.Monitor{keyed("twin/a", url), keyed("twin/b", url), monitorstest.Of(url, 3600)} {
			creation := put(t, m, false)
			require.Equal(t, monitors.Created, creation.Result)
			require.Equal(t, "127.0.0.1", creation.Monitor.Host)
			ids[creation.Monitor.ID] = true
		}
		require.Len(t, ids, 3)
		require.Equal(t, monitors.Exists, put(t, monitorstest.Of(url, 3600), false).Result)
	})

	t.Run("TheKeyIsEnough", func(t *testing.T) {
		t.Parallel()
		first := put(t, keyed("shop/checkout", monitorstest.URL("checkout")), false)
		there := put(t, keyed("shop/checkout", monitorstest.URL("elsewhere")), false)
		require.Equal(t, monitors.Exists, there.Result)
		require.Equal(t, monitors.ConflictError{MonitorID: first.Monitor.ID, ByKey: true}, *there.Conflict())
		require.ErrorContains(t, there.Conflict(), "has this key")

		updated := put(t, keyed("shop/checkout", monitorstest.URL("elsewhere")), true)
		require.Equal(t, monitors.Updated, updated.Result)
		require.Equal(t, first.Monitor.ID, updated.Monitor.ID)
		require.Equal(t, monitorstest.URL("elsewhere"), updated.Monitor.URL)

		require.NoError(t, p.Store().Delete(t.Context(), first.Monitor.ID))
		revived := put(t, keyed("shop/checkout", monitorstest.URL("again")), false)
		require.Equal(t, monitors.Created, revived.Result)
		require.Equal(t, first.Monitor.ID, revived.Monitor.ID)
	})

	t.Run("InOneRequestToo", func(t *testing.T) {
		t.Parallel()
		given := []monitors.Monitor{
			keyed("bulk/b", monitorstest.URL("bulk")), monitorstest.Of(monitorstest.URL("bulk"), 3600),
			keyed("bulk/a", monitorstest.URL("bulk")), keyed("bulk/b", monitorstest.URL("bulk/other")),
		}
		creations, err := p.Store().Create(t.Context(), given, false)
		require.NoError(t, err)
		var results []monitors.Result
		for _, creation := range creations {
			results = append(results, creation.Result)
		}
		require.Equal(t, []monitors.Result{monitors.Created, monitors.Created, monitors.Created, monitors.Exists}, results)
		require.Equal(t, creations[0].Monitor.ID, creations[3].Monitor.ID)
	})

	t.Run("AnEditMayNotTakeAnothersIdentity", func(t *testing.T) {
		t.Parallel()
		url := monitorstest.URL("taken")
		plain, a, b := put(t, monitorstest.Of(url, 3600), false), put(t, keyed("taken/a", url), false), put(t, keyed("taken/b", url), false)
		for name, edit := range map[string]struct {
			id     int64
			change func(*monitors.Monitor)
			want   monitors.ConflictError
		}{
			"AKey":                 {b.Monitor.ID, func(m *monitors.Monitor) { m.Key = a.Monitor.Key }, monitors.ConflictError{MonitorID: a.Monitor.ID, ByKey: true}},
			"WithoutItsKeyTheRest": {b.Monitor.ID, func(m *monitors.Monitor) { m.Key = nil }, monitors.ConflictError{MonitorID: plain.Monitor.ID}},
		} {
			_, _, err := p.Store().Edit(t.Context(), edit.id, monitorstest.Edit(edit.change))
			var conflict *monitors.ConflictError
			require.ErrorAs(t, err, &conflict, name)
			require.Equal(t, edit.want, *conflict, name)
		}
		// What says nothing of how it is scanned leaves its status alone.
		p.Exec(t, "UPDATE monitor_states SET status = 'down' WHERE monitor_id = $1", b.Monitor.ID)
		other := "taken/c"
		edited := p.Edit(t, b.Monitor.ID, func(m *monitors.Monitor) { m.Key, m.Description = &other, "of the shop" })
		require.Equal(t, 2, edited.Version)
		require.Equal(t, uptime.Down, p.State(t, b.Monitor.ID).Status)
	})
}

func TestAMonitorPausedDuringItsFirstScan(t *testing.T) {
	t.Parallel()
	p := monitorstest.On(t, dbtest.New(t))
	monitor := p.Create(t, monitorstest.Of(monitorstest.URL("first"), 60))
	first := monitor.Schedule().SlotAfter(monitorstest.Noon)
	p.SetNow(first.Add(time.Second))
	p.Edit(t, monitor.ID, func(c *monitors.Monitor) { c.Enable(false) })
	dbtest.Insert(t, p.Pool, dbtest.Scan(monitor.ID, first)) // the scan ends

	require.Zero(t, p.Count(t, "promised_slots($1, $2)", monitorstest.Noon, first.Add(time.Hour)), "it is no longer promised")
	scans, _, err := db.NewestScans(t.Context(), p.Pool, monitor.ID, monitorstest.Noon, first.Add(time.Hour), 10)
	require.NoError(t, err)
	require.Len(t, scans, 1, "but found")

	p.Edit(t, monitor.ID, func(c *monitors.Monitor) { c.Enable(true) })
	require.Equal(t, 2, p.Count(t, "monitor_schedules"))
}

func TestEditMonitor(t *testing.T) {
	t.Parallel()
	p := monitorstest.On(t, dbtest.New(t))
	scanJobs := func(t *testing.T, id int64) int {
		t.Helper()
		return p.Count(t, "river_job WHERE kind = 'scan' AND (args ->> 'monitor_id')::bigint = $1", id)
	}
	changeAt := func(t *testing.T, id int64, at time.Time, change func(*monitors.Monitor)) db.Monitor {
		t.Helper()
		monitor, _, err := p.StoreAt(at).Edit(t.Context(), id, monitorstest.Edit(change))
		require.NoError(t, err)
		return monitor.Monitor
	}

	t.Run("NothingNew", func(t *testing.T) {
		t.Parallel()
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("same"), 3600))
		same := changeAt(t, monitor.ID, monitorstest.Noon.Add(time.Hour), func(*monitors.Monitor) {})
		require.Equal(t, monitor, same)
		require.Equal(t, 1, scanJobs(t, monitor.ID))
	})

	t.Run("APhaseIsKeptAsLongAsTheInterval", func(t *testing.T) {
		t.Parallel()
		p := monitorstest.On(t, dbtest.New(t))
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("kept"), 60))
		other := (monitor.PhaseMS + 10_500) % 60_000 // as if phases were made in another way once
		p.Exec(t, "UPDATE monitors SET phase_ms = $1", other)
		p.Exec(t, "UPDATE monitor_schedules SET phase_ms = $1", other)
		require.Equal(t, other, p.Edit(t, monitor.ID, func(c *monitors.Monitor) { c.Name = "other" }).PhaseMS)
		require.Equal(t, 1, p.Count(t, "monitor_schedules"))
		p.Edit(t, monitor.ID, func(c *monitors.Monitor) { c.IntervalSeconds = 120 })
		require.Equal(t, monitor.PhaseMS, p.Edit(t, monitor.ID, func(c *monitors.Monitor) { c.IntervalSeconds = 60 }).PhaseMS)
	})

	t.Run("PauseAndResume", func(t *testing.T) {
		t.Parallel()
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("pause"), 3600))
		later := monitorstest.Noon.Add(100 * time.Minute)
		paused := changeAt(t, monitor.ID, later, func(c *monitors.Monitor) { c.Enable(false) })
		require.True(t, paused.PausedAt.Equal(later))
		require.Equal(t, uptime.Paused, p.State(t, monitor.ID).Status)
		open, err := db.New(p.Pool).ListOpenSchedules(t.Context(), []int64{monitor.ID})
		require.NoError(t, err)
		require.Empty(t, open)

		// While it is paused, its expectations change: it stays paused since then.
		edited := changeAt(t, monitor.ID, later.Add(time.Minute),
			func(c *monitors.Monitor) { c.AcceptedStatuses = []string{"404"} })
		require.True(t, edited.PausedAt.Equal(later))
		require.True(t, p.State(t, monitor.ID).Since.Equal(later))
		require.Equal(t, 1, scanJobs(t, monitor.ID))

		again := later.Add(2 * time.Hour)
		resumed := changeAt(t, monitor.ID, again, func(c *monitors.Monitor) { c.Enable(true) })
		require.Nil(t, resumed.PausedAt)
		require.Equal(t, uptime.Pending, p.State(t, monitor.ID).Status)
		open, err = db.New(p.Pool).ListOpenSchedules(t.Context(), []int64{monitor.ID})
		require.NoError(t, err)
		require.True(t, open[0].FromAt.Equal(monitor.Schedule().SlotAfter(again)))
		require.Equal(t, 2, scanJobs(t, monitor.ID), "it is looked at at once")
	})

	t.Run("OtherExpectationsStartTheStatusAnew", func(t *testing.T) {
		t.Parallel()
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("expect"), 3600))
		p.Exec(t, "UPDATE monitor_states SET status = 'down' WHERE monitor_id = $1", monitor.ID)

		changeAt(t, monitor.ID, monitorstest.Noon.Add(time.Minute), func(c *monitors.Monitor) { c.Name, c.FailureThreshold = "x", 9 })
		require.Equal(t, uptime.Down, p.State(t, monitor.ID).Status, "what is known of it still holds")
		require.Equal(t, 1, scanJobs(t, monitor.ID))

		later := monitorstest.Noon.Add(2 * time.Minute)
		changeAt(t, monitor.ID, later, func(c *monitors.Monitor) { c.AcceptedStatuses = []string{"404"} })
		state := p.State(t, monitor.ID)
		require.Equal(t, uptime.Pending, state.Status)
		require.True(t, state.Since.Equal(later))
		require.Equal(t, 2, scanJobs(t, monitor.ID))
	})

	t.Run("AnIdentityThatIsTaken", func(t *testing.T) {
		t.Parallel()
		holder := p.Create(t, monitorstest.Of(monitorstest.URL("holder"), 3600))
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("wants"), 3600))
		take := monitorstest.Edit(func(c *monitors.Monitor) { c.URL = monitorstest.URL("holder") })
		_, _, err := p.StoreAt(monitorstest.Noon).Edit(t.Context(), monitor.ID, take)
		var conflict *monitors.ConflictError
		require.ErrorAs(t, err, &conflict)
		require.Equal(t, monitors.ConflictError{MonitorID: holder.ID}, *conflict)
		require.ErrorContains(t, err, "has this method, URL and regexp")

		require.NoError(t, p.StoreAt(monitorstest.Noon).Delete(t.Context(), holder.ID))
		_, _, err = p.StoreAt(monitorstest.Noon).Edit(t.Context(), monitor.ID, take)
		require.ErrorAs(t, err, &conflict)
		require.Equal(t, monitors.ConflictError{MonitorID: holder.ID, Deleted: true}, *conflict)

		stored, err := db.New(p.Pool).GetMonitor(t.Context(), monitor.ID)
		require.NoError(t, err)
		require.Equal(t, monitor, stored)
	})

	t.Run("WhatIsNotThere", func(t *testing.T) {
		t.Parallel()
		_, _, err := p.StoreAt(monitorstest.Noon).Edit(t.Context(), 1<<40, monitorstest.Edit(func(*monitors.Monitor) {}))
		require.ErrorIs(t, err, pgx.ErrNoRows)
		require.ErrorIs(t, p.StoreAt(monitorstest.Noon).Delete(t.Context(), 1<<40), pgx.ErrNoRows)
	})

	t.Run("AnErrorOfTheEditIsReturnedAsItIs", func(t *testing.T) {
		t.Parallel()
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("refuses"), 3600))
		refusal := errors.New("no")
		_, _, err := p.StoreAt(monitorstest.Noon).Edit(t.Context(), monitor.ID, func(c monitors.Monitor) (monitors.Monitor, error) { return c, refusal })
		require.Equal(t, refusal, err)
	})

	t.Run("ASerializationFailureIsTriedAgain", func(t *testing.T) {
		t.Parallel()
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("unlucky"), 3600))
		p.Exec(t, `
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
		rename := monitorstest.Edit(func(c *monitors.Monitor) { c.Name = "unlucky" })
		edited, _, err := p.StoreAt(monitorstest.Noon).Edit(t.Context(), monitor.ID, rename)
		require.NoError(t, err)
		require.Equal(t, monitor.Version+1, edited.Version)

		// Three times, and then no more.
		p.Exec(t, "ALTER SEQUENCE unlucky RESTART WITH -5 MINVALUE -5")
		_, _, err = p.StoreAt(monitorstest.Noon).Edit(t.Context(), monitor.ID, monitorstest.Edit(func(c *monitors.Monitor) { c.TimeoutMS = 7777 }))
		require.Equal(t, db.TroubleRetry, db.TroubleOf(err))
	})
}

// A slot that both schedules of a monitor have is not promised anew, if the round of the one before may be at work on it: it
// would be requested twice.
func TestASlotOfBothSchedules(t *testing.T) {
	t.Parallel()
	p := monitorstest.On(t, dbtest.New(t))
	for n, test := range []struct{ before, after, ahead, later int }{{60, 30, 1, 30}, {3600, 1800, 60, 0}} {
		var monitor db.Monitor
		var shared time.Time
		for i := 0; shared.IsZero(); i++ {
			monitor = p.Create(t, monitorstest.Of(monitorstest.URL("%d/%d", n, i), test.before))
			slot := monitor.Schedule().SlotAfter(monitorstest.Noon)
			if uptime.ScheduleOf(monitor.ID, test.after).SlotAt(slot).Equal(slot) {
				shared = slot
			}
		}
		_, _, err := p.StoreAt(shared.Add(-time.Duration(test.ahead)*time.Second)).Edit(t.Context(), monitor.ID,
			monitorstest.Edit(func(m *monitors.Monitor) { m.IntervalSeconds = test.after }))
		require.NoError(t, err)
		open, err := db.New(p.Pool).ListOpenSchedules(t.Context(), []int64{monitor.ID})
		require.NoError(t, err)
		require.True(t, open[0].FromAt.Equal(shared.Add(time.Duration(test.later)*time.Second)), "%s and %s", open[0].FromAt, shared)
		require.Equal(t, 1, p.Count(t, "river_job WHERE kind = 'round' AND (args ->> 'interval')::int = $1 AND (args ->> 'slot')::timestamptz = $2",
			test.after, open[0].FromAt))
	}
}

// However a monitor is changed, and whether its present slot was scanned or not: no instant is promised by two
// schedules, and what was scanned as promised stays promised.
func TestPromisesOfAChangedMonitor(t *testing.T) {
	t.Parallel()
	p := monitorstest.On(t, dbtest.New(t))
	n := 0

	rapid.Check(t, func(rt *rapid.T) {
		ctx := context.Background()
		n++
		tx, err := p.Pool.Begin(ctx)
		require.NoError(rt, err)
		defer tx.Rollback(ctx) //nolint:errcheck // nothing is kept
		at := monitorstest.Noon
		creations, err := p.StoreOn(tx, at).Create(ctx, []monitors.Monitor{monitorstest.Of(monitorstest.URL("history/%d", n), 10)}, false)
		require.NoError(rt, err)
		monitor := creations[0].Monitor
		var scanned []time.Time

		for range rapid.IntRange(1, 6).Draw(rt, "changes") {
			at = at.Add(time.Duration(rapid.IntRange(1, 25_000).Draw(rt, "ms later")) * time.Millisecond)
			present := monitor.Schedule().SlotAt(at)
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
				require.NoError(rt, p.StoreOn(tx, at).Delete(ctx, monitor.ID))
				creations, err := p.StoreOn(tx, at).Create(ctx, []monitors.Monitor{monitor}, false)
				require.NoError(rt, err)
				require.Equal(rt, monitor.ID, creations[0].Monitor.ID)
				monitor = creations[0].Monitor
				continue
			}
			monitor, _, err = p.StoreOn(tx, at).Edit(ctx, monitor.ID, monitorstest.Edit(func(c *monitors.Monitor) {
				switch change {
				case "toggle":
					c.Enable(c.PausedAt != nil)
				case "10":
					c.IntervalSeconds = 10
				case "15":
					c.IntervalSeconds = 15
				case "20":
					c.IntervalSeconds = 20
				}
			}))
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
	p := monitorstest.On(t, dbtest.New(t))
	monitor := p.Create(t, monitorstest.Of(monitorstest.URL("asked"), 3600))

	_, slot, err := p.StoreAt(monitorstest.Noon.Add(time.Minute)).Scan(t.Context(), monitor.ID)
	require.NoError(t, err)
	require.Equal(t, monitorstest.Noon.Add(time.Minute+time.Microsecond), slot)
	require.Equal(t, 1, p.Count(t, `river_job WHERE kind = 'scan' AND (args ->> 'at')::timestamptz = $1
		AND args ->> 'reason' = 'asked' AND scheduled_at = $1`, slot))

	p.Exec(t, "UPDATE river_job SET state = 'completed', finalized_at = now() WHERE kind = 'scan'") // its first, and that one
	_, precise, err := p.StoreAt(monitorstest.Noon.Add(1234567891)).Scan(t.Context(), monitor.ID)
	require.NoError(t, err)
	require.Equal(t, monitorstest.Noon.Add(1234567*time.Microsecond), precise, "as precise as the database")

	at := monitorstest.Noon
	scan := func(id int64) error {
		at = at.Add(time.Millisecond)
		_, _, err := p.StoreAt(at).Scan(t.Context(), id)
		return err
	}
	require.NoError(t, scan(monitor.ID))
	require.ErrorIs(t, scan(monitor.ID), monitors.ErrTooManyScans, "two are open")
	ask := func() error {
		err := scan(monitor.ID)
		p.Exec(t, "UPDATE river_job SET state = 'completed', finalized_at = now() WHERE kind = 'scan'")
		return err
	}
	p.Exec(t, "UPDATE river_job SET state = 'completed', finalized_at = now() WHERE kind = 'scan'")
	for range 56 { // besides the first, and three
		require.NoError(t, ask())
	}
	require.ErrorIs(t, ask(), monitors.ErrTooManyScans, "60 were asked for in this minute")
	p.Exec(t, "UPDATE river_job SET created_at = now() - interval '61 seconds' WHERE kind = 'scan'")
	require.NoError(t, ask())
	other := p.Create(t, monitorstest.Of(monitorstest.URL("another"), 3600))
	require.NoError(t, scan(other.ID), "those of another one do not count")

	require.ErrorIs(t, scan(-1), pgx.ErrNoRows)

	third := p.Create(t, monitorstest.Of(monitorstest.URL("third"), 3600))
	p.Exec(t, "ALTER TABLE river_job ADD CONSTRAINT never CHECK (false) NOT VALID")
	require.ErrorContains(t, scan(third.ID), "insert a scan of monitor")
}
