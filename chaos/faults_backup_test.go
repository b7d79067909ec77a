//go:build linux

package chaos_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"riverwatch/db/dbtest"
)

// Faults that bring an older state of the database back.
func backupFaults() []fault {
	return []fault{
		{"F57", "the database is restored from a dump", false, setup{
			ownCluster: true, noClient: true, gaps: lostWithWorkers, late: lateAgain, check: checkRestored,
		}, restoreDump},
	}
}

// restoreDump dumps the database under load, as docs/operate.md says, goes on for a while, and then lets everything begin again with
// what was dumped. What came between is lost.
func restoreDump(t *testing.T, w *world) {
	t.Helper()
	w.awaitScans(t, w.began, len(w.monitors), 40*time.Second) // so that each has a row in the dump
	dump := filepath.Join(reachableDir(t), "riverwatch.dump")
	w.cluster.program(t, "pg_dump", "--format=custom", "--file="+dump, w.cluster.url)
	dumped := one[time.Time](t, w.direct, "SELECT max(slot) FROM monitor_log")
	time.Sleep(full(12*time.Second, time.Minute)) // of which nothing is restored
	for _, p := range w.processes() {
		p.terminate(t)
	}
	w.unwatch()
	w.watching.Wait()
	w.direct.Close()

	admin := w.cluster.connect(t)
	name := one[string](t, admin, "SELECT current_database()::text")
	require.NoError(t, admin.Close(t.Context()))
	other := strings.Replace(w.cluster.url, "/"+name+"?", "/postgres?", 1)
	for _, statement := range []string{"DROP DATABASE " + name + " WITH (FORCE)", "CREATE DATABASE " + name} {
		execOn(t, other, statement)
	}
	execOn(t, w.cluster.url, "CREATE EXTENSION timescaledb")
	execOn(t, w.cluster.url, "SELECT timescaledb_pre_restore()")
	w.cluster.program(t, "pg_restore", "--dbname="+w.cluster.url, "--no-owner", dump)
	execOn(t, w.cluster.url, "SELECT timescaledb_post_restore()")

	w.direct = dbtest.Open(t, w.cluster.url)
	w.hurtFrom = dumped // the slots since then have no rows any more
	for row := range w.seen {
		if row.slot.After(dumped.Add(-interval * time.Second)) {
			delete(w.seen, row)
		}
	}
	require.NotEmpty(t, w.seen)
	w.began = time.Now()
	w.api = w.startAPI(t)
	for i := range w.workers {
		w.workers[i] = w.startWorker(t)
	}
	w.watch(t)
	w.hurtUntil, w.calm = time.Now(), time.Now()
	time.Sleep(interval * time.Second)
	asked := map[string]int{}
	for _, h := range w.target.hitsSince(w.began) {
		asked[h.path]++
	}
	for path, count := range asked {
		require.LessOrEqual(t, count, 3, "%s: old slots are caught up with", path) // the present slot, and those of the time since then
	}
}

// checkRestored looks at what followed: the time between is gaps, nothing is asked for twice since then, nobody is down, and what was
// read of the dump's time is still there.
func checkRestored(t *testing.T, w *world) {
	t.Helper()
	// The slots of the moment in which workers begin may be at work still.
	since := pgx.NamedArgs{"from": w.hurtFrom, "until": w.began.Add(-interval * time.Second)}
	if *longRun { // rounds that ran when the dump was made are somebody's until they are rescued
		require.Empty(t, w.ask(t, "SELECT 'monitor ' || monitor_id || ' at ' || slot FROM unaccounted_slots(@from, @until)", since))
	}
	require.NotEmpty(t, w.ask(t, "SELECT reason FROM scan_gaps WHERE reason = 'service_down' AND to_slot > @from", since))
	require.Empty(t, w.ask(t, "SELECT status FROM status_changes WHERE status NOT IN ('pending', 'up')", nil), "an alert for the time between")
	for row := range w.seen {
		require.Equal(t, row.outcome, one[string](t, w.direct, "SELECT outcome FROM monitor_log WHERE slot = $1 AND monitor_id = $2", row.slot, row.monitorID))
	}
	w.writeDown(t)
	w.exec(t, "DELETE FROM chaos.hits WHERE at < $1", w.began) // of the requests before that only some have rows
	for _, violation := range w.violations(t) {
		t.Error(violation)
	}
}

// program runs one of Postgres' own programs to its end.
func (c *cluster) program(t *testing.T, name string, args ...string) {
	t.Helper()
	folder, err := exec.Command(postgresScript(t), "fetch").Output()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(strings.TrimSpace(string(folder)), name), args...).CombinedOutput()
	require.NoError(t, err, string(out))
}

func execOn(t *testing.T, databaseURL, statement string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), statement)
	require.NoError(t, err, statement)
	require.NoError(t, conn.Close(t.Context()))
}
