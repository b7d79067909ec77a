package jobs_test

import (
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/monitors"
	"riverwatch/monitors/monitorstest"
	"riverwatch/queue"
)

// Upkeep rolls up what is over, and then drops what is too old, but nothing that is not rolled up.
func TestUpkeep(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	created := monitorstest.Noon.Add(-100 * time.Hour)
	monitor, err := p.StoreAt(created).Create(t.Context(), []monitors.Monitor{monitorstest.Of(monitorstest.URL("kept"), 600)}, false)
	require.NoError(t, err)
	schedule := monitor[0].Monitor.Schedule()
	var scans []db.Scan
	for slot := schedule.SlotAfter(created); slot.Before(monitorstest.Noon); slot = schedule.Next(slot) {
		scans = append(scans, dbtest.Scan(monitor[0].Monitor.ID, slot))
	}
	dbtest.Insert(t, p.Pool, scans...)
	upkeep := func() map[string]any {
		p.Exec(t, "DELETE FROM river_job WHERE kind = 'history'")
		result, err := work(t, p, p.worker.HistoryWorker(), queue.HistoryArgs{})
		require.NoError(t, err)
		require.Equal(t, river.EventKindJobCompleted, result.EventKind)
		return output(t, result.Job)
	}
	require.Zero(t, upkeep()["hours"], "promises are not accounted for")
	require.Equal(t, len(scans), p.Count(t, "monitor_log"))

	p.Exec(t, "INSERT INTO tend_progress (checked_until) VALUES ($1)", monitorstest.Noon)
	did := upkeep()
	require.InDelta(t, 100, did["hours"], 1)
	require.InDelta(t, 8, did["chunks_dropped"], 1, "of 6 hours each, of what is older than 48 hours")
	require.Zero(t, p.Count(t, "monitor_log WHERE slot < $1", monitorstest.Noon.Add(-54*time.Hour)))
	require.Equal(t, len(scans), dbtest.One[int](t, p.Pool, "SELECT sum(good)::integer FROM scan_hours"), "hours tell of them all the same")
}
