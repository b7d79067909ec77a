package record_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/monitors/monitorstest"
	"riverwatch/record"
	"riverwatch/uptime"
	"riverwatch/wait"
)

// retries gives the instants of the quick second looks that were asked for, of a monitor.
func (p *process) retries(t *testing.T, id int64) []time.Time {
	t.Helper()
	return dbtest.Column[time.Time](t, p.Pool, `SELECT scheduled_at FROM river_job WHERE kind = 'scan' AND args ->> 'reason' = 'retry'
		AND (args ->> 'monitor_id')::bigint = $1 ORDER BY scheduled_at`, id)
}

func TestRecorderJudges(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	const good, bad = uptime.OK, uptime.StatusMismatch
	slot := func(n int) time.Time { return monitorstest.Noon.Add(time.Duration(n) * time.Second) }

	t.Run("DownAndUpAgainByTheThresholds", func(t *testing.T) {
		t.Parallel()
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("thresholds"), 86400))
		for i, step := range []struct {
			outcome             uptime.Outcome
			status              uptime.Status
			failures, successes int
			since               int
		}{
			{good, uptime.Up, 0, 0, 1},
			{bad, uptime.Up, 1, 0, 1},
			{uptime.Inconclusive, uptime.Up, 1, 0, 1},
			{bad, uptime.Up, 2, 0, 1},
			{bad, uptime.Down, 0, 0, 5},
			{bad, uptime.Down, 0, 0, 5},
			{good, uptime.Down, 0, 1, 5},
			{good, uptime.Up, 0, 0, 8},
			{uptime.BlockedByPolicy, uptime.Unknown, 0, 0, 9},
		} {
			p.record(t, monitor, slot(i+1), step.outcome)
			state := p.State(t, monitor.ID)
			require.Equal(t, step.status, state.Status, i)
			require.Equal(t, step.failures, state.Failures, i)
			require.Equal(t, step.successes, state.Successes, i)
			require.True(t, state.Since.Equal(slot(step.since)), i)
		}
	})

	t.Run("AFailureAsksForAQuickSecondLook", func(t *testing.T) {
		t.Parallel()
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("retry"), 86400))
		p.record(t, monitor, slot(1), good)
		require.Empty(t, p.retries(t, monitor.ID))
		p.record(t, monitor, slot(2), bad)
		retries := p.retries(t, monitor.ID)
		require.Len(t, retries, 1)
		require.Equal(t, "test", dbtest.One[string](t, p.Pool, `SELECT args ->> 'looked_at_by' FROM river_job
			WHERE args ->> 'reason' = 'retry' AND (args ->> 'monitor_id')::bigint = $1`, monitor.ID), "the scan's worker")
		require.True(t, retries[0].Equal(monitorstest.Noon.Add(20*time.Second+time.Microsecond)), "the monitor's retry interval from now")
		p.record(t, monitor, slot(3), good)
		require.Len(t, p.retries(t, monitor.ID), 1)
		p.Exec(t, "DELETE FROM river_job WHERE kind = 'scan' AND (args ->> 'monitor_id')::bigint = $1", monitor.ID)
		p.record(t, monitor, slot(4), bad, bad, bad)
		require.Len(t, p.retries(t, monitor.ID), 1, "two, at the same instant; and none for one that is down")
	})

	t.Run("SoDoesAGoodScanOfOneThatIsDown", func(t *testing.T) {
		t.Parallel()
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("recovers"), 86400))
		p.record(t, monitor, slot(1), bad, bad, bad)
		p.Exec(t, "DELETE FROM river_job WHERE kind = 'scan' AND (args ->> 'monitor_id')::bigint = $1", monitor.ID)
		p.record(t, monitor, slot(4), bad)
		require.Empty(t, p.retries(t, monitor.ID))
		p.record(t, monitor, slot(5), good)
		require.Equal(t, uptime.Down, p.State(t, monitor.ID).Status)
		require.Len(t, p.retries(t, monitor.ID), 1)
		p.Exec(t, "DELETE FROM river_job WHERE kind = 'scan' AND (args ->> 'monitor_id')::bigint = $1", monitor.ID)
		p.record(t, monitor, slot(6), good)
		require.Equal(t, uptime.Up, p.State(t, monitor.ID).Status)
		require.Empty(t, p.retries(t, monitor.ID))
	})

	t.Run("NoSecondLookWhereTheNextSlotIsSooner", func(t *testing.T) {
		t.Parallel()
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("soon"), 10))
		p.record(t, monitor, slot(1), bad)
		require.Equal(t, 1, p.State(t, monitor.ID).Failures)
		require.Empty(t, p.retries(t, monitor.ID))
	})

	t.Run("ManyOfOneMonitorInABatchAreJudgedInTheirOrder", func(t *testing.T) {
		t.Parallel()
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("batch"), 86400))
		var scans []db.Scan
		for i, outcome := range []uptime.Outcome{bad, bad, bad, good, good, bad, bad} {
			scan := dbtest.Scan(monitor.ID, slot(10-i))
			scan.Outcome = outcome
			scans = append(scans, scan)
		}
		p.recordTogether(t.Context(), t, scans...)
		// In the order of slots: bad, bad, good, good, bad, bad, bad.
		state := p.State(t, monitor.ID)
		require.Equal(t, uptime.Down, state.Status)
		require.True(t, state.Since.Equal(slot(10)))
		require.Empty(t, p.retries(t, monitor.ID), "it is not in doubt")
	})

	t.Run("AKnownScanIsNotJudgedAgain", func(t *testing.T) {
		t.Parallel()
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("known"), 86400))
		for range 5 {
			p.record(t, monitor, slot(1), bad)
		}
		require.Equal(t, 1, p.State(t, monitor.ID).Failures)
		require.Equal(t, []string{"round status_mismatch"}, p.Scans(t, monitor.ID))

		// Nor when it comes with others, or twice in one batch.
		var scans []db.Scan
		for _, n := range []int{1, 2, 2, 2} {
			scan := dbtest.Scan(monitor.ID, slot(n))
			scan.Outcome = bad
			scans = append(scans, scan)
		}
		for _, err := range p.recordTogether(t.Context(), t, scans...) {
			require.NoError(t, err)
		}
		require.Equal(t, 2, p.State(t, monitor.ID).Failures)
		require.Equal(t, []string{"round status_mismatch", "round status_mismatch"}, p.Scans(t, monitor.ID))
	})

	t.Run("WhatTheLogHoldsIsJudgedAndNotWhatComesAfterIt", func(t *testing.T) {
		t.Parallel()
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("second"), 86400))
		p.record(t, monitor, slot(1), good)
		p.record(t, monitor, slot(2), good)
		p.record(t, monitor, slot(2), bad) // of another worker, which lost
		require.Equal(t, []string{"round ok", "round ok"}, p.Scans(t, monitor.ID))
		require.Zero(t, p.State(t, monitor.ID).Failures)
	})

	t.Run("WhatSaysNothingOfHowItStandsNow", func(t *testing.T) {
		t.Parallel()
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("then"), 60))
		p.record(t, monitor, slot(1), good)

		older := dbtest.Scan(monitor.ID, slot(2))
		older.MonitorVersion, older.Outcome = monitor.Version-1, bad
		require.NoError(t, p.recorder.Record(t.Context(), older, nil))

		late := dbtest.Scan(monitor.ID, monitorstest.Noon.Add(-2*time.Minute)) // an interval and a minute
		late.Outcome = bad
		p.Exec(t, "UPDATE monitor_states SET judged_slot = $2 WHERE monitor_id = $1", monitor.ID, monitorstest.Noon.Add(-time.Hour))
		require.NoError(t, p.recorder.Record(t.Context(), late, nil))

		require.Zero(t, p.State(t, monitor.ID).Failures)
		require.Len(t, p.Scans(t, monitor.ID), 3)

		late.Slot = late.Slot.Add(time.Second)
		require.NoError(t, p.recorder.Record(t.Context(), late, nil))
		require.Equal(t, 1, p.State(t, monitor.ID).Failures, "just in time")
	})

	t.Run("ADeletedMonitorIsNotJudged", func(t *testing.T) {
		t.Parallel()
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("deleted"), 86400))
		require.NoError(t, p.StoreAt(monitorstest.Noon).Delete(t.Context(), monitor.ID))
		p.record(t, monitor, slot(1), bad)
		require.Equal(t, []string{"round status_mismatch"}, p.Scans(t, monitor.ID))
		require.Zero(t, p.Count(t, "monitor_states WHERE monitor_id = $1", monitor.ID), "it stands nowhere")
	})
}

// recordTogether records scans that have all come before the recorder looks, and so share batches.
func (p *process) recordTogether(running context.Context, t *testing.T, scans ...db.Scan) []error {
	t.Helper()
	recorder := p.newRecorder()
	recorder.SetDrain(time.Minute)
	errs := make([]error, len(scans))
	var all sync.WaitGroup
	for i, scan := range scans {
		all.Go(func() { errs[i] = recorder.Record(t.Context(), scan, nil) })
	}
	require.Eventually(t, func() bool { return recorder.Waiting() == len(scans) }, 10*time.Second, time.Millisecond)
	running, stop := context.WithCancel(running)
	var run sync.WaitGroup
	run.Go(func() { recorder.Run(running) })
	all.Wait()
	stop()
	run.Wait()
	return errs
}

func TestRecorderRefusals(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	monitor := p.Create(t, monitorstest.Of(monitorstest.URL("poison"), 86400))

	for name, poison := range map[string]func(*db.Scan){
		"ThatCannotBeEncoded":        func(s *db.Scan) { tooLarge := 70_000; s.HTTPStatus = &tooLarge },
		"ThatTheDatabaseDoesNotTake": func(s *db.Scan) { text := "a\x00b"; s.Error = &text },
	} {
		t.Run("AScan"+name, func(t *testing.T) {
			t.Parallel()
			first := monitorstest.Noon.Add(time.Duration(len(name)) * time.Hour)
			scans := make([]db.Scan, 100)
			for i := range scans {
				scans[i] = dbtest.Scan(monitor.ID, first.Add(time.Duration(i)*time.Second))
			}
			poison(&scans[33])
			poison(&scans[66])
			dbtest.Insert(t, p.Pool, scans[99]) // and one is known

			for i, err := range p.recordTogether(t.Context(), t, scans...) {
				if i == 33 || i == 66 {
					require.ErrorContains(t, err, "record scan of monitor")
				} else {
					require.NoError(t, err)
				}
			}
			require.Equal(t, 98, p.Count(t, "monitor_log WHERE slot >= $1 AND slot < $2",
				first, first.Add(100*time.Second)))
			require.Contains(t, p.Logs.All(), "scan cannot be recorded")
		})
	}
}

func TestRecorderTriesAgain(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	_, err := pool.Exec(t.Context(), `
		CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$
		DECLARE
			code text := (SELECT name FROM monitors WHERE id = NEW.monitor_id);
		BEGIN
			IF nextval(quote_ident('tries_' || code)) < 5 THEN
				RAISE EXCEPTION USING ERRCODE = code;
			END IF;
			RETURN NEW;
		END $$;
		CREATE TRIGGER fails BEFORE UPDATE ON monitor_states FOR EACH ROW EXECUTE FUNCTION fails()`)
	require.NoError(t, err)

	for _, code := range []string{"40P01", "40001", "57014", "53100"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			p := newProcessOn(t, pool)
			p.Exec(t, `CREATE SEQUENCE "tries_`+code+`"`)
			c := monitorstest.Of(monitorstest.URL("%s", code), 86400)
			c.Name = code
			monitor := p.Create(t, c)
			p.record(t, monitor, monitorstest.Noon.Add(time.Second), uptime.OK)
			require.Equal(t, uptime.Up, p.State(t, monitor.ID).Status)
			require.Equal(t, []string{"round ok"}, p.Scans(t, monitor.ID))
			require.Equal(t, 5, dbtest.One[int](t, p.Pool, `SELECT last_value::int FROM "tries_`+code+`"`))
			require.Contains(t, p.Logs.All(), "status changed")
		})
	}
}

func TestRecorderWithoutDatabase(t *testing.T) {
	t.Parallel()

	// A process whose way to the database can be cut.
	newProxied := func(t *testing.T) (*process, *dbtest.Proxy) {
		t.Helper()
		proxy, databaseURL := dbtest.NewProxy(t, dbtest.URL(t))
		return newProcessOn(t, dbtest.Open(t, databaseURL)), proxy
	}
	const waits = "results wait for the database"

	t.Run("ResultsAreKeptAndWrittenWhenItReturns", func(t *testing.T) {
		t.Parallel()
		p, proxy := newProxied(t)
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("kept"), 86400))
		p.record(t, monitor, monitorstest.Noon.Add(time.Second), uptime.OK)

		proxy.SetDown(true)
		var waiting errgroup.Group
		for i := range 1200 {
			scan := dbtest.Scan(monitor.ID, monitorstest.Noon.Add(time.Duration(i)*time.Second))
			waiting.Go(func() error { return p.recorder.Record(t.Context(), scan, nil) })
		}
		p.Logs.Await(t, waits)
		proxy.SetDown(false)
		require.NoError(t, waiting.Wait())
		require.Equal(t, 1200, p.Count(t, "monitor_log"))
	})

	t.Run("TheDatabaseIsRenamedAwayAndBack", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("renamed"), 86400))
		name := p.Pool.Config().ConnConfig.Database
		admin := dbtest.Open(t, dbtest.EmptyURL(t))
		rename := func(from, to string) {
			require.Eventually(t, func() bool {
				_, err := admin.Exec(t.Context(),
					"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1", from)
				require.NoError(t, err)
				_, err = admin.Exec(t.Context(), "ALTER DATABASE "+from+" RENAME TO "+to)
				return err == nil
			}, 10*time.Second, time.Millisecond)
		}
		rename(name, name+"_away")
		done := make(chan error, 1)
		go func() {
			done <- p.recorder.Record(context.Background(), dbtest.Scan(monitor.ID, monitorstest.Noon), nil)
		}()
		p.Logs.Await(t, waits)
		rename(name+"_away", name)
		require.NoError(t, <-done)
		require.Equal(t, []string{"round ok"}, p.Scans(t, monitor.ID))
	})

	t.Run("AtTheStopItIsNotWaitedForForLong", func(t *testing.T) {
		t.Parallel()
		p, proxy := newProxied(t)
		proxy.SetDown(true)
		done := make(chan error, 1)
		go func() { done <- p.recorder.Record(context.Background(), dbtest.Scan(1, monitorstest.Noon), nil) }()
		p.Logs.Await(t, waits)
		p.stopRecorder() // which is the end, though nothing comes back
		err := <-done
		require.ErrorIs(t, err, record.ErrClosed)
		require.Equal(t, db.TroubleAway, db.TroubleOf(err))
		<-p.recorderEnded
	})
}

// A write that is cut short at the stop says nothing against the scans that were in it.
func TestRecorderStopsInTheMiddleOfAWrite(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	tx, err := p.Pool.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(context.Background()) //nolint:errcheck // there is nothing to keep
	dbtest.Insert(t, tx, dbtest.Scan(2, monitorstest.Noon))

	recorder := p.newRecorder()
	recorder.SetDrain(0)
	errs := make(chan error, 4)
	for id := range int64(4) {
		go func() { errs <- recorder.Record(t.Context(), dbtest.Scan(id, monitorstest.Noon), nil) }()
	}
	require.Eventually(t, func() bool { return recorder.Waiting() == 4 }, 10*time.Second, time.Millisecond)
	stop := wait.Beside(t.Context(), recorder.Run)
	p.awaitWaiting(t)
	stop()
	for range 4 {
		require.ErrorIs(t, <-errs, record.ErrClosed)
	}
	require.NotContains(t, p.Logs.All(), "scan cannot be recorded")
	require.Zero(t, p.Count(t, "monitor_log"))
}

func TestRecorderHasBounds(t *testing.T) {
	t.Parallel()
	p := newProcess(t)

	t.Run("WithoutRoomAResultIsRefusedAfterAWhile", func(t *testing.T) {
		t.Parallel()
		recorder := p.newRecorder()
		ctx, leave := context.WithCancel(t.Context())
		errs := make(chan error, 10_001)
		for range 10_001 {
			go func() { errs <- recorder.Record(ctx, dbtest.Scan(1, monitorstest.Noon), nil) }()
		}
		require.Eventually(t, func() bool { return recorder.Waiting() == 10_000 }, 10*time.Second, time.Millisecond)
		leave()
		require.ErrorContains(t, <-errs, "no room")

		// The others were taken: that their callers leave does not lose them.
		running, stop := context.WithCancel(t.Context())
		defer stop()
		go recorder.Run(running)
		for range 10_000 {
			require.NoError(t, <-errs)
		}
	})

	t.Run("AtTheStopWhatIsLeftIsWritten", func(t *testing.T) {
		t.Parallel()
		var scans []db.Scan
		for i := range 1200 {
			scans = append(scans, dbtest.Scan(2, monitorstest.Noon.Add(time.Duration(i)*time.Second)))
		}
		stopped, stop := context.WithCancel(t.Context())
		stop()
		for _, err := range p.recordTogether(stopped, t, scans...) {
			require.NoError(t, err)
		}
		require.Equal(t, 1200, p.Count(t, "monitor_log WHERE monitor_id = 2"))
	})

	t.Run("AfterTheStopNothingIsTaken", func(t *testing.T) {
		t.Parallel()
		stopped, stop := context.WithCancel(t.Context())
		stop()
		recorder := p.newRecorder()
		recorder.Run(stopped)
		for range 20 {
			require.ErrorContains(t, recorder.Record(t.Context(), dbtest.Scan(3, monitorstest.Noon), nil), "closed")
		}
	})
}

// What comes when its hour may be rolled up already marks the hour, and what comes when its chunk is dropped makes no new one.
func TestLateScans(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	monitor := p.Create(t, monitorstest.Of(monitorstest.URL("late"), 86400))
	slot := monitorstest.Noon.Add(-3 * time.Hour)
	take := func(slot time.Time) error {
		return p.recorder.Record(t.Context(), dbtest.Scan(monitor.ID, slot), nil)
	}
	marks := func() int { return p.Count(t, "stale_hours") }
	require.NoError(t, take(slot))
	require.Zero(t, marks(), "nothing is rolled up yet")

	hour := slot.Truncate(time.Hour)
	p.Exec(t, "INSERT INTO history_progress (closed_until, rolled_until, days_until) VALUES ($1, $1, $1)", hour.Add(time.Hour))
	require.NoError(t, take(hour.Add(time.Hour)))
	require.Zero(t, marks(), "the hour is open")
	require.NoError(t, take(slot.Add(time.Minute)))
	require.NoError(t, take(slot.Add(2*time.Minute)))
	require.Equal(t, 1, p.Count(t, "stale_hours WHERE hour = $1 AND monitor_id = $2 AND marked = 2", hour, monitor.ID))
	require.Equal(t, 1, marks())

	p.Exec(t, "UPDATE history_progress SET scans_from = $1", hour.Add(-24*time.Hour))
	chunks := p.Count(t, "show_chunks('monitor_log')")
	require.NoError(t, take(hour.Add(-24*time.Hour)))
	require.Equal(t, chunks+1, p.Count(t, "show_chunks('monitor_log')"))
	require.ErrorContains(t, take(hour.Add(-48*time.Hour)), "the log is kept from")
	require.Equal(t, chunks+1, p.Count(t, "show_chunks('monitor_log')"))
}

// Each change of a status is a row, in order; what does not change it is none.
func TestStatusChanges(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	monitor := p.Create(t, monitorstest.Of(monitorstest.URL("changes"), 86400))
	slot := func(n int) time.Time { return monitorstest.Noon.Add(time.Duration(n) * time.Second) }
	p.record(t, monitor, slot(1), uptime.OK, uptime.OK, uptime.StatusMismatch, uptime.StatusMismatch, uptime.StatusMismatch,
		uptime.OK, uptime.OKSlow, uptime.OK)
	require.Equal(t, []string{"pending 0 ", "up 1 ok", "down 5 status_mismatch", "degraded 7 ok_slow", "up 8 ok"}, dbtest.Column[string](t, p.Pool,
		`SELECT status || ' ' || extract(epoch FROM at - $2)::integer || ' ' || coalesce(outcome, '') FROM status_changes
		WHERE monitor_id = $1 ORDER BY id`, monitor.ID, monitorstest.Noon))
}
