package db_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/uptime"
)

// What workers do locks the chunks that it needs, and not each that there is: a year of them would be more locks than a server
// has. On one connection each query comes so often that Postgres weighs a plan for all values, which locks all.
func TestWorkersLockFewChunks(t *testing.T) {
	t.Parallel()
	const chunks, often = 30, 8
	pool, ctx := dbtest.New(t), t.Context()
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	dbtest.Exec(t, pool, "SELECT set_log_chunk(INTERVAL '1 hour')")
	for n := range chunks {
		dbtest.Insert(t, pool, dbtest.Scan(1, now.Add(-time.Duration(n)*time.Hour)))
	}
	require.Equal(t, chunks, dbtest.Count(t, pool, "timescaledb_information.chunks"))
	dbtest.Monitors(t, pool, uptime.Schedule{Interval: 60}, now.Add(-time.Hour), 3, func(int, *db.Monitor) {})

	for name, do := range map[string]func(queries *db.Queries, at time.Time) error{
		"CopyScans": func(queries *db.Queries, at time.Time) error {
			_, err := queries.CopyScans(ctx, []db.CopyScansParams{db.CopyScansParams(dbtest.Scan(1000, at))})
			return err
		},
		"InsertScans": func(queries *db.Queries, at time.Time) (err error) {
			queries.InsertScans(ctx, []db.InsertScansParams{db.InsertScansParams(dbtest.Scan(1000, at))}).
				QueryRow(func(_ int, _ int64, oneErr error) { err = oneErr })
			return err
		},
		"DeclareGap": func(queries *db.Queries, at time.Time) error {
			_, err := queries.DeclareGap(ctx, db.DeclareGapParams{
				IntervalSeconds: 60, FromSlot: at.Add(-10 * time.Minute), ToSlot: at, Reason: "service_down", At: at,
			})
			return err
		},
		"DeclareGaps": func(queries *db.Queries, at time.Time) error {
			_, err := queries.DeclareGaps(ctx, db.DeclareGapsParams{
				IntervalsSeconds: []int{60, 30}, PhasesMS: []int{0, 0}, FromSlots: []time.Time{at.Add(-10 * time.Minute), at},
				ToSlots: []time.Time{at, at}, Reason: "service_down", At: at,
			})
			return err
		},
		"DeclareMonitorGaps": func(queries *db.Queries, at time.Time) error {
			return queries.DeclareMonitorGaps(ctx, db.DeclareMonitorGapsParams{
				IntervalSeconds: 60, Slot: at, MonitorIDs: []int64{1000, 1001}, Reason: "worker_lost", At: at,
			})
		},
		"ListUnscannedRoundMonitors": func(queries *db.Queries, at time.Time) error {
			monitors, err := queries.ListUnscannedRoundMonitors(ctx, db.ListUnscannedRoundMonitorsParams{
				IntervalSeconds: 60, Slot: at, SinceID: 0, UntilID: 2000,
			})
			require.Len(t, monitors, 3)
			return err
		},
		"ListUnaccountedSlots": func(queries *db.Queries, at time.Time) error {
			require.NoError(t, queries.PlanForManyPromises(ctx))
			_, err := queries.ListUnaccountedSlots(ctx, db.ListUnaccountedSlotsParams{Since: at.Add(-10 * time.Minute), Until: at})
			return err
		},
		"TakeBackScans": func(queries *db.Queries, at time.Time) error {
			_, err := queries.TakeBackScans(ctx, db.TakeBackScansParams{
				Since: at.Add(-time.Minute), Worker: "test", Outcomes: []string{"ok"}, EndedSince: at.Add(-time.Minute),
				EndedUntil: at.Add(time.Minute), PageSize: 10, Error: "blind",
			})
			return err
		},
		"ExportScans": func(queries *db.Queries, at time.Time) error {
			_, err := queries.ExportScans(ctx, db.ExportScansParams{Since: at.Add(-time.Minute), Until: at, AfterID: 0, At: at, Tag: nil, PageSize: 10})
			return err
		},
		"ExportScansOf": func(queries *db.Queries, at time.Time) error {
			_, err := queries.ExportScansOf(ctx, db.ExportScansOfParams{MonitorID: 1000, Since: at.Add(-time.Minute), Until: at, PageSize: 10})
			return err
		},
		"MakeLogChunks": func(queries *db.Queries, at time.Time) error { return queries.MakeLogChunks(ctx, at) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := pool.Acquire(ctx)
			require.NoError(t, err)
			defer conn.Release()
			for n := range often {
				tx, err := conn.Begin(ctx)
				require.NoError(t, err)
				var as db.DBTX = tx
				if strings.HasPrefix(name, "Export") { // as exports do
					as = db.PlanEach(tx)
				}
				require.NoError(t, do(db.New(as), now.Add(-time.Duration(n)*time.Minute)))
				locked := dbtest.One[int](t, tx, `
					SELECT count(DISTINCT c.oid)::int FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
					WHERE l.pid = pg_backend_pid() AND c.relkind = 'r' AND c.relname LIKE '\_hyper\_%\_chunk'`)
				require.LessOrEqual(t, locked, 3, "the %d. time", n+1)
				require.NoError(t, tx.Rollback(ctx))
			}
		})
	}
}
