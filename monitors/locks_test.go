package monitors_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/monitors"
	"riverwatch/monitors/monitorstest"
)

// held locks where a monitor stands, as the recorder does, until the transaction ends.
func held(t *testing.T, p *monitorstest.Bench, id int64) pgx.Tx {
	t.Helper()
	tx, err := p.Pool.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	dbtest.Exec(t, tx, "SELECT FROM monitor_states WHERE monitor_id = $1 FOR UPDATE", id)
	return tx
}

// awaitLock waits until somebody waits for a lock.
func awaitLock(t *testing.T, p *monitorstest.Bench) {
	t.Helper()
	require.Eventually(t, func() bool {
		return p.Count(t, "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") > 0
	}, 10*time.Second, time.Millisecond)
}

// The recorder must not wait for an edit that has nothing to do with how a monitor stands, nor the edit for the recorder: a
// bulk that sends all of a configuration anew would stop the recorder until its end.
func TestEditsLockNoStatusThatTheyLeaveAsItIs(t *testing.T) {
	t.Parallel()
	p := monitorstest.On(t, dbtest.New(t))
	monitor := p.Create(t, monitorstest.Of(monitorstest.URL("locks"), 60))
	held(t, p, monitor.ID)

	same, err := p.Store().Create(t.Context(), []monitors.Monitor{monitorstest.Of(monitorstest.URL("locks"), 60)}, true)
	require.NoError(t, err)
	require.Equal(t, monitor.Version, same[0].Monitor.Version)
	edited := p.Edit(t, monitor.ID, func(m *monitors.Monitor) {
		m.Name, m.Tags, m.FailureThreshold, m.IntervalSeconds = "shop", []string{"a"}, 5, 120
	})
	require.Equal(t, monitor.Version+1, edited.Version)
}

// The recorder locks the states of a batch in the order of their monitors' ids. A bulk that restarts them must as well, in
// whatever order they were given and whatever they are called.
func TestABulkLocksStatusesInTheOrderOfIDs(t *testing.T) {
	t.Parallel()
	p := monitorstest.On(t, dbtest.New(t))
	first := p.Create(t, monitorstest.Of(monitorstest.URL("z"), 60))
	second := p.Create(t, monitorstest.Of(monitorstest.URL("a"), 60))
	var given []monitors.Monitor
	for _, name := range []string{"a", "z"} {
		m := monitorstest.Of(monitorstest.URL("%s", name), 60)
		m.MaxRedirects = 0
		given = append(given, m)
	}
	recorder := held(t, p, first.ID)

	done := make(chan error, 1)
	go func() {
		_, err := p.Store().Create(context.Background(), given, true)
		done <- err
	}()
	awaitLock(t, p)
	dbtest.Exec(t, recorder, "SELECT FROM monitor_states WHERE monitor_id = $1 FOR UPDATE NOWAIT", second.ID)

	require.NoError(t, recorder.Commit(t.Context()))
	require.NoError(t, <-done)
	require.Equal(t, 2, p.Count(t, "monitors WHERE max_redirects = 0"))
}

// Two bulks that create the same monitors, in whatever order, meet at the first of them: else each would wait for the other.
func TestBulksMeetAtTheFirstOfWhatTheyShare(t *testing.T) {
	t.Parallel()
	p := monitorstest.On(t, dbtest.New(t))
	tx, err := p.Pool.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	dbtest.Exec(t, tx, "SET LOCAL lock_timeout = '200ms'")
	ours := *p.Store()
	ours.Conn = tx
	create := func(store *monitors.Store, names ...string) error {
		var given []monitors.Monitor
		for _, name := range names {
			given = append(given, monitorstest.Of(monitorstest.URL("%s", name), 60))
		}
		_, err := store.Create(context.Background(), given, false)
		return err
	}

	require.NoError(t, create(&ours, "a"))
	theirs := make(chan error, 1)
	go func() { theirs <- create(p.Store(), "z", "a") }()
	require.Eventually(t, func() bool {
		return dbtest.Count(t, p.Pool, "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") > 0
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, create(&ours, "z"), "they wait for the first, and have taken nothing that comes after it")

	require.NoError(t, tx.Commit(t.Context()))
	require.NoError(t, <-theirs)
	require.Equal(t, 2, p.Count(t, "monitors"))
}

// What the database says is in the way of a new monitor may be gone when it is looked for.
func TestWhoeverWasInTheWayIsGone(t *testing.T) {
	t.Parallel()
	p := monitorstest.On(t, dbtest.New(t))
	p.Exec(t, `CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`)
	p.Exec(t, `CREATE TRIGGER skip BEFORE INSERT ON monitors FOR EACH ROW EXECUTE FUNCTION skip()`)

	_, err := p.Store().Create(t.Context(), []monitors.Monitor{monitorstest.Of(monitorstest.URL("race"), 60)}, false)

	require.ErrorIs(t, err, db.ErrLostRace)
	require.Equal(t, db.TroubleRetry, db.TroubleOf(err), "the caller may try again")
}

// A row that somebody wrote by hand must not be in the way for ever.
func TestAMonitorThatCannotBeRead(t *testing.T) {
	t.Parallel()
	p := monitorstest.On(t, dbtest.New(t))
	given := monitorstest.Of(monitorstest.URL("unreadable"), 60)
	given.Secrets.BearerToken = "canary"
	monitor := p.Create(t, given)
	p.Exec(t, `UPDATE monitors SET request = '{"headers": 1}' WHERE id = $1`, monitor.ID)
	p.Exec(t, `UPDATE monitor_secrets SET secrets = '[]' WHERE monitor_id = $1`, monitor.ID)

	creations, err := p.Store().Create(t.Context(), []monitors.Monitor{given}, false)
	require.NoError(t, err)
	require.Equal(t, monitors.Exists, creations[0].Result)
	require.Equal(t, monitor.ID, creations[0].Conflict().MonitorID)

	require.NoError(t, p.Store().Delete(t.Context(), monitor.ID))
	require.Equal(t, 1, p.Count(t, "monitors WHERE id = $1 AND deleted_at IS NOT NULL AND secret_names = '{}'", monitor.ID))
	require.Zero(t, p.Count(t, "monitor_secrets"))
	require.Zero(t, p.Count(t, "monitor_states"))
}

// Only what a monitor is known by can belong to another one.
func TestAPromiseThatIsThereIsNoConflictOfMonitors(t *testing.T) {
	t.Parallel()
	p := monitorstest.On(t, dbtest.New(t))
	given := monitorstest.Of(monitorstest.URL("promised"), 60)
	given.Enable(false)
	monitor := p.Create(t, given)
	next := monitors.Monitor{Monitor: monitor}.Schedule().SlotAfter(monitorstest.Noon)
	p.Exec(t, `INSERT INTO monitor_schedules (monitor_id, from_at, until_at, interval_seconds, phase_ms)
		VALUES ($1, $2, $2, 60, $3)`, monitor.ID, next, monitor.PhaseMS)

	_, _, err := p.StoreAt(monitorstest.Noon).Edit(t.Context(), monitor.ID, monitorstest.Edit(func(m *monitors.Monitor) {
		m.Enable(true)
	}))

	require.ErrorContains(t, err, "monitor_schedules_pkey")
	require.NotErrorAs(t, err, new(*monitors.ConflictError))
}
