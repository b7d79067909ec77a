package db_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/uptime"
)

// The recorder reads the states of monitors that a good scan may change, and no others: rule, query and index must say the
// same of each.
func TestNotPlainlyUp(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	at := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	var ids, changed []int64
	for _, status := range uptime.Statuses() {
		for failures := range 3 {
			monitor := dbtest.Monitor(t, pool, 60, 0)
			state := uptime.State{Status: status, Failures: failures, Since: at, JudgedSlot: at}
			dbtest.Exec(t, pool, "INSERT INTO monitor_states VALUES ($1, $2, $3, $3, $4, 0)", monitor.ID, status, at, failures)
			ids = append(ids, monitor.ID)
			// No scan changes the state of one that is paused, but it is read: it has no scans, save for the last.
			after := uptime.Decide(state, at.Add(time.Minute), uptime.OK, uptime.Thresholds{Failure: 3, Success: 2})
			if after != state || status == uptime.Paused {
				changed = append(changed, monitor.ID)
			}
		}
	}

	got, err := db.New(pool).LookBesideScans(t.Context(), db.LookBesideScansParams{MonitorIDs: ids, Oldest: at, Newest: at})
	require.NoError(t, err)
	require.ElementsMatch(t, changed, got.NotPlainlyUp)

	indexed := dbtest.One[string](t, pool, `
		SELECT pg_get_expr(indpred, indrelid) FROM pg_index WHERE indexrelid = 'monitor_states_not_plainly_up'::regclass`)
	require.ElementsMatch(t, changed, dbtest.Column[int64](t, pool, "SELECT monitor_id FROM monitor_states WHERE "+indexed))

	// And Postgres sees which indexes serve the query.
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(t.Context()) //nolint:errcheck // nothing is written
	dbtest.Exec(t, tx, "SET LOCAL enable_seqscan = off")
	plan := explain(t, tx, db.LookBesideScansSQL, slices.Clone(ids), at, at)
	require.Contains(t, plan, "monitor_states_not_plainly_up")
	require.Contains(t, plan, "scan_gaps_monitor")
}

// A round asks for its monitors by one index, though it asks a function for them, and for the promise of each by its key, even
// of a fleet that is so new that Postgres has no statistics of it.
func TestRoundMonitorsIsInlined(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	at := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	dbtest.Monitors(t, pool, uptime.Schedule{Interval: 10}, at, 1000, func(n int, m *db.Monitor) { m.PhaseMS = n % 40 * 250 })

	require.Contains(t, explain(t, pool, db.CountRoundMonitorsSQL, 10, 0, 501), "monitors_round")
	for query, args := range map[string][]any{
		db.ListRoundMonitorsSQL: {10, 0, at},
	} {
		plan := explain(t, pool, query, args...)
		require.Contains(t, plan, "monitors_round")
		require.NotContains(t, plan, "Function Scan")
		require.Contains(t, plan, "Index Cond: (monitor_id = m.id)")
	}
}

func explain(t *testing.T, conn db.DBTX, query string, args ...any) string {
	t.Helper()
	return strings.Join(dbtest.Column[string](t, conn, "EXPLAIN "+query, args...), "\n")
}
