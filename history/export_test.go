package history_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/history"
)

// What retention drops while it is exported is not left out in silence.
func TestExportMeetsRetention(t *testing.T) {
	t.Parallel()
	p := newPast(t, 2)
	dbtest.Exec(t, p.Pool, "SELECT set_log_chunk(INTERVAL '1 hour')")
	p.fill(t, noon, noon.Add(4*time.Hour))
	p.account(t, noon.Add(4*time.Hour))
	p.rollUp(t)
	drop := func(until time.Time) {
		kept, err := history.Keep{Scans: time.Hour}.Once(t.Context(), p.Pool, until.Add(time.Hour))
		require.NoError(t, err)
		require.Positive(t, kept.Chunks)
	}
	begin := func() (log *history.Export, first []db.ExportScansRow) {
		log, err := history.ExportAll(t.Context(), p.Pool, "", noon, noon.Add(4*time.Hour), noon)
		require.NoError(t, err)
		first, more, err := log.Next(t.Context())
		require.NoError(t, err)
		require.True(t, more)
		return log, first
	}

	log, first := begin()
	require.True(t, first[0].Scan.Slot.Before(noon.Add(time.Minute)))
	drop(noon.Add(2 * time.Hour))
	_, _, err := log.Next(t.Context())
	require.ErrorIs(t, err, history.ErrDropped)

	log, first = begin()
	require.False(t, first[0].Scan.Slot.Before(noon.Add(2*time.Hour)), "one that begins now has what is kept")
	rows := len(first)
	for more := true; more; {
		var page []db.ExportScansRow
		page, more, err = log.Next(t.Context())
		require.NoError(t, err)
		rows += len(page)
	}
	require.Equal(t, dbtest.Count(t, p.Pool, "monitor_log"), rows)
}
