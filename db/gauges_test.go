package db_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
)

func TestRoundsAreCountedToABound(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	dbtest.Exec(t, pool, `
		INSERT INTO river_job (kind, queue, state, priority, max_attempts, args, scheduled_at, finalized_at)
		SELECT 'round', job.queue, job.state::river_job_state, job.priority, 1, '{}', now() - job.waited,
			CASE job.state WHEN 'completed' THEN now() END
		FROM (VALUES
			('rounds', 'available', 1, INTERVAL '1 second', 3), ('rounds', 'available', 2, INTERVAL '7 seconds', 2),
			('rounds', 'available', 2, INTERVAL '-1 hour', 1), ('rounds', 'completed', 2, INTERVAL '1 day', 9),
			('scans', 'available', 1, INTERVAL '1 day', 4)
		) AS job (queue, state, priority, waited, count), generate_series(1, job.count)`)

	rows, err := db.New(pool).CountRounds(t.Context(), db.CountRoundsParams{Queue: "rounds", AtMost: 8})
	require.NoError(t, err)
	counted := map[string]int64{}
	for _, row := range rows {
		counted[row.State] = row.Rounds
	}
	require.Equal(t, map[string]int64{
		"available": 6, "completed": 8, "cancelled": 0, "discarded": 0, "pending": 0, "retryable": 0, "running": 0, "scheduled": 0,
	}, counted)

	seconds, err := db.New(pool).OldestUnscannedSeconds(t.Context(), "rounds")
	require.NoError(t, err)
	require.GreaterOrEqual(t, seconds, 7.0)
	require.Less(t, seconds, 3600.0)
	seconds, err = db.New(pool).OldestUnscannedSeconds(t.Context(), "upkeep")
	require.NoError(t, err)
	require.Zero(t, seconds)
}
