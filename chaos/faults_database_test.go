//go:build linux

package chaos_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What a database that goes away may leave: a job that was handed out to a worker which never heard of it comes back
// only when it is rescued, and its slot is missed; and a job that failed for want of the database is tried again, when it
// is too late.
var lostWithTheDatabase = []string{"worker_lost", "service_down", "overloaded"}

// Within this time of the database's return all monitors are scanned again.
const databaseIsBack = 30 * time.Second

// Faults of Postgres.
func databaseFaults() []fault {
	return []fault{
		{"F12", "Postgres restarts under load", true, setup{ownCluster: true, gaps: lostWithTheDatabase, late: lateAgain, healed: databaseIsBack}, restartPostgres},
		{"F13", "Postgres stops at once and recovers", true, setup{ownCluster: true, gaps: lostWithTheDatabase, late: lateAgain, healed: databaseIsBack}, crashPostgres},
		{"F14", "a backend is killed, and with it all sessions", true, setup{ownCluster: true, gaps: lostWithTheDatabase, late: lateAgain, healed: databaseIsBack}, killBackend},
		{"F16", "Postgres is frozen", false, setup{ownCluster: true, gaps: lostWithTheDatabase, late: lateAgain}, freezePostgres},
		{"F24", "the log is locked", true, setup{}, lockLog},
		{"F25", "transactions deadlock and fail to serialise", true, setup{}, failTransactions},
	}
}

// apiAnswers is how long the API may take: its own 2.5 s for the database, and a second.
const apiAnswers = 3500 * time.Millisecond

func restartPostgres(t *testing.T, w *world) {
	t.Helper()
	w.hurt(func() {
		w.cluster.stop(t, syscall.SIGINT)
		w.cluster.start(t)
	})
}

func crashPostgres(t *testing.T, w *world) {
	t.Helper()
	w.hurt(func() {
		w.cluster.stop(t, syscall.SIGQUIT)
		w.cluster.start(t)
	})
	from := time.Now()
	w.leader(t)
	t.Logf("a leader %s after the recovery", time.Since(from).Round(time.Millisecond))
}

func killBackend(t *testing.T, w *world) {
	t.Helper()
	w.hurt(func() {
		pid := one[int](t, w.cluster.connect(t), `SELECT pid FROM pg_stat_activity
			WHERE application_name = 'riverwatch' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1`)
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		time.Sleep(time.Second)
		w.cluster.connect(t)
	})
}

// freezePostgres stops all its processes, so that nobody is answered, and no timeout of Postgres's own comes to help.
func freezePostgres(t *testing.T, w *world) {
	t.Helper()
	w.hurt(func() {
		w.cluster.signal(t, syscall.SIGSTOP)
		t.Cleanup(func() { w.cluster.signal(t, syscall.SIGCONT) })
		for until := time.Now().Add(full(12*time.Second, 30*time.Second)); time.Now().Before(until); {
			from := time.Now()
			status, err := w.post(t.Context(), "/api/v1/monitors", w.monitorConfig("/frozen"), nil)
			require.NoError(t, err)
			require.Equal(t, 503, status)
			require.Less(t, time.Since(from), apiAnswers, "the API does not say that the database is away")
			time.Sleep(time.Second)
		}
		w.cluster.signal(t, syscall.SIGCONT)
	})
}

func lockLog(t *testing.T, w *world) {
	t.Helper()
	w.hurt(func() {
		tx, err := w.direct.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), "LOCK monitor_log IN ACCESS EXCLUSIVE MODE")
		require.NoError(t, err)
		for until := time.Now().Add(full(5*time.Second, 20*time.Second)); time.Now().Before(until); {
			var waiting int
			require.NoError(t, tx.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
				WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting))
			require.LessOrEqual(t, waiting, 5*(len(w.workers)+1)+2, "connections pile up")
			time.Sleep(100 * time.Millisecond)
		}
		require.NoError(t, tx.Rollback(t.Context()))
	})
}

// failTransactions makes one row in twenty fail its whole transaction, as if it had lost against another one.
func failTransactions(t *testing.T, w *world) {
	t.Helper()
	w.exec(t, `
		CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF random() < 0.05 THEN
				RAISE EXCEPTION 'lost' USING ERRCODE = CASE WHEN random() < 0.5 THEN '40P01' ELSE '40001' END;
			END IF;
			RETURN NEW;
		END $$`)
	w.exec(t, "CREATE TRIGGER lose BEFORE INSERT ON monitor_log FOR EACH ROW EXECUTE FUNCTION lose()")
	time.Sleep(full(12*time.Second, time.Minute))
	w.exec(t, "DROP TRIGGER lose ON monitor_log")
}
