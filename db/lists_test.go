package db_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/uptime"
)

// Who looks for the few monitors that are down, or for a part of a name, does not read all.
func TestListsUseIndexes(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	dbtest.Monitors(t, pool, uptime.Schedule{Interval: 60, PhaseMS: 0}, day, 3000, func(n int, m *db.Monitor) {
		m.Name = fmt.Sprintf("shop %d", n)
	})
	dbtest.Exec(t, pool, "UPDATE monitor_states SET status = CASE WHEN monitor_id % 1000 = 7 THEN 'down' ELSE 'up' END")
	dbtest.Exec(t, pool, "VACUUM ANALYZE monitors, monitor_states")
	plan := func(sql string, args ...any) string {
		rows, err := db.PlanEach(pool).Query(t.Context(), "EXPLAIN "+sql, args...)
		require.NoError(t, err)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		return strings.Join(lines, "\n")
	}

	var none *string
	down, text := "down", "%op 2345%"
	for range 10 { // a plan for all values would be made after five
		require.Contains(t, plan(db.ListMonitorsByIDSQL, 0, none, none, none, none, text, 51), "monitors_text")
		require.Contains(t, plan(db.ListMonitorsByNameSQL, "", 0, none, none, none, none, text, 51), "monitors_text")
		require.Contains(t, plan(db.ListMonitorsByIDSQL, 0, down, none, none, none, none, 51), "monitor_states_not_plainly_up")
		require.Contains(t, plan(db.ListMonitorsByNameSQL, "", 0, down, none, none, none, none, 51), "monitor_states_not_plainly_up")
		require.NotContains(t, plan(db.ListMonitorsByIDSQL, 0, none, none, none, none, none, 51), "Seq Scan")
	}
}
