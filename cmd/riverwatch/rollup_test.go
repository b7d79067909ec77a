package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/history"
	"riverwatch/uptime"
)

func TestRollUpByHand(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"DATABASE_URL": dbtest.URL(t)}
	pool := dbtest.Open(t, environment["DATABASE_URL"])
	stdout, stderr, err := command(t.Context(), environment, "rollup", "--from", "now-1h")
	require.NoError(t, err)
	require.Contains(t, stdout, "nothing to roll up", "nothing was promised yet")
	require.Empty(t, stderr)

	begin := history.DayOf(time.Now()).Add(-48 * time.Hour)
	schedule := uptime.Schedule{Interval: 600}
	dbtest.Monitors(t, pool, schedule, begin, 1, func(int, *db.Monitor) {})
	for slot := begin; slot.Before(begin.Add(30 * time.Hour)); slot = schedule.Next(slot) {
		dbtest.Insert(t, pool, dbtest.Scan(1000, slot))
	}
	dbtest.Exec(t, pool, "INSERT INTO tend_progress (checked_until) VALUES ($1)", begin.Add(30*time.Hour))
	_, err = history.RollUp(t.Context(), pool)
	require.NoError(t, err)

	// By hand somebody takes away one scan of each hour.
	dbtest.Exec(t, pool, "DELETE FROM monitor_log WHERE extract(minute FROM slot) = 30")
	stdout, stderr, err = command(t.Context(), environment,
		"rollup", "--from", begin.Add(90*time.Minute).Format(time.RFC3339), "--to", begin.Add(25*time.Hour).Format(time.RFC3339))
	require.NoError(t, err)
	require.Contains(t, stdout, "rolled up 24 hours again")
	require.Contains(t, stderr, "rolling up: 0/24 hours\n")
	require.Contains(t, stderr, "rolling up: 24/24 hours\n")
	require.NotContains(t, stderr, "\r", "it is no terminal")
	require.Equal(t, 24, dbtest.Count(t, pool, "scan_hours WHERE good = 5"), "those from the hour of --from until before --to")
	require.Equal(t, 6, dbtest.Count(t, pool, "scan_hours WHERE good = 6"))
	require.Equal(t, 6+23*5, dbtest.One[int](t, pool, "SELECT good FROM scan_days"), "a day is the sum of its hours")
}

func TestProgressOnATerminalIsABar(t *testing.T) {
	t.Parallel()
	var out output
	bar := progress{out: &out, terminal: true, doing: "rolling up", what: "hours"}
	bar.tell(0, 0)
	bar.end()
	require.Empty(t, out.String())
	bar.tell(0, 4)
	bar.tell(2, 4)
	bar.end()
	bar.end()
	require.Equal(t, "\rrolling up [                              ] 0/4 hours\rrolling up [===============               ] 2/4 hours\n", out.String())
}
