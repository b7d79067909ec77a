package history_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/history"
)

// hourly gives the log chunks of an hour, and fills some of them.
func hourly(t *testing.T, monitors, hours int) *past {
	t.Helper()
	p := newPast(t, monitors)
	require.NoError(t, db.New(p.Pool).SetLogChunk(t.Context(), 3600))
	p.fill(t, noon, noon.Add(time.Duration(hours)*time.Hour))
	return p
}

func (p *past) chunks(t *testing.T) []db.ListChunksRow {
	t.Helper()
	chunks, err := db.New(p.Pool).ListChunks(t.Context(), "monitor_log")
	require.NoError(t, err)
	return chunks
}

func (p *past) oldest(t *testing.T) time.Time {
	t.Helper()
	return dbtest.One[time.Time](t, p.Pool, "SELECT min(slot) FROM monitor_log").UTC()
}

func TestKeep(t *testing.T) {
	t.Parallel()
	forEver := history.Keep{Scans: 1e6 * time.Hour, ScansBytes: 1 << 50, Hours: 1e6 * time.Hour}
	now := noon.Add(20 * time.Hour)

	t.Run("ByAge", func(t *testing.T) {
		t.Parallel()
		p := hourly(t, 1, 20)
		p.account(t, now)
		p.rollUp(t)
		keep := forEver
		keep.Scans = 8*time.Hour + 30*time.Minute
		kept, err := keep.Once(t.Context(), p.Pool, now)
		require.NoError(t, err)
		require.Equal(t, history.Kept{Chunks: 11}, kept, "a chunk goes when all of it is too old")
		require.Equal(t, noon.Add(11*time.Hour), p.oldest(t).Truncate(time.Hour))
		require.Equal(t, 20, dbtest.Count(t, p.Pool, "scan_hours"))
		again, err := keep.Once(t.Context(), p.Pool, now)
		require.NoError(t, err)
		require.Equal(t, history.Kept{}, again)

		steps, err := history.Latency(t.Context(), p.Pool, p.ids[0], noon, now, 5*time.Minute)
		require.NoError(t, err)
		require.Empty(t, steps[11*12-1].Source, "of what was dropped there are no scans")
		require.Equal(t, history.FromScans, steps[11*12].Source)
		hours, err := history.Latency(t.Context(), p.Pool, p.ids[0], noon, now, time.Hour)
		require.NoError(t, err)
		require.Equal(t, history.FromHours, hours[0].Source)
	})

	t.Run("NeverWhatIsNotRolledUp", func(t *testing.T) {
		t.Parallel()
		p := hourly(t, 1, 20)
		p.account(t, noon.Add(6*time.Hour+59*time.Minute))
		p.rollUp(t)
		p.writeLate(t, asked(p.ids[0], noon.Add(3*time.Hour+time.Minute)))
		keep := forEver
		keep.Scans = time.Hour
		kept, err := keep.Once(t.Context(), p.Pool, now)
		require.NoError(t, err)
		require.EqualValues(t, 3, kept.Chunks, "an hour that is stale is not rolled up")
		p.rollUp(t)
		kept, err = keep.Once(t.Context(), p.Pool, now)
		require.NoError(t, err)
		require.EqualValues(t, 3, kept.Chunks)
		require.Equal(t, noon.Add(6*time.Hour), p.oldest(t).Truncate(time.Hour))
	})

	t.Run("BySize", func(t *testing.T) {
		t.Parallel()
		p := hourly(t, 20, 20)
		p.account(t, now)
		p.rollUp(t)
		var bytes int64
		chunks := p.chunks(t)
		for _, chunk := range chunks {
			bytes += chunk.Bytes
		}
		keep := forEver
		keep.ScansBytes = bytes - chunks[0].Bytes - 1
		keep.Least = 19 * time.Hour
		kept, err := keep.Once(t.Context(), p.Pool, now)
		require.NoError(t, err)
		require.Equal(t, history.Kept{Chunks: 1, CutBySize: true}, kept, "no more, as it would be less than the least")
		storage, err := history.Stored(t.Context(), p.Pool, now)
		require.NoError(t, err)
		require.True(t, storage.CutBySize)

		keep.Least = 2 * time.Hour
		kept, err = keep.Once(t.Context(), p.Pool, now)
		require.NoError(t, err)
		require.Equal(t, history.Kept{Chunks: 1, CutBySize: true}, kept, "as many as are too much")
		keep.ScansBytes = bytes
		kept, err = keep.Once(t.Context(), p.Pool, now)
		require.NoError(t, err)
		require.Equal(t, history.Kept{}, kept)
		storage, err = history.Stored(t.Context(), p.Pool, now)
		require.NoError(t, err)
		require.False(t, storage.CutBySize)
	})

	t.Run("HoursGoWhenTheirDaysAreMerged", func(t *testing.T) {
		t.Parallel()
		p := newPast(t, 1)
		later := noon.Add(20 * 24 * time.Hour)
		for day := range 20 {
			dbtest.Insert(t, p.Pool, dbtest.Scan(p.ids[0], noon.Add(time.Duration(day)*24*time.Hour+250*time.Millisecond)))
		}
		p.account(t, later)
		p.rollUp(t)
		keep := forEver
		keep.Hours, keep.Days = 48*time.Hour, 90*24*time.Hour
		kept, err := keep.Once(t.Context(), p.Pool, later)
		require.NoError(t, err)
		require.EqualValues(t, 3, kept.Hours, "whole weeks")
		require.Equal(t, 20, dbtest.Count(t, p.Pool, "scan_days"))
		steps, err := history.Latency(t.Context(), p.Pool, p.ids[0], history.DayOf(noon), later, 24*time.Hour)
		require.NoError(t, err)
		require.Equal(t, history.FromDays, steps[1].Source)

		kept, err = keep.Once(t.Context(), p.Pool, later.Add(300*24*time.Hour))
		require.NoError(t, err)
		require.Positive(t, kept.Days)
		require.Zero(t, dbtest.Count(t, p.Pool, "scan_days"))
	})

	t.Run("WhatNothingRefersToIsForgotten", func(t *testing.T) {
		t.Parallel()
		p := newPast(t, 2)
		p.account(t, now)
		p.rollUp(t)
		old, young := noon.Add(-100*24*time.Hour), noon.Add(-time.Hour)
		for _, at := range []time.Time{old, young} {
			dbtest.Exec(t, p.Pool, "INSERT INTO scan_gaps VALUES (10, 250, NULL, $1, $1, 'overloaded', $1)", at)
			dbtest.Exec(t, p.Pool, `INSERT INTO monitor_schedules VALUES ($1, $2::timestamptz - INTERVAL '1 day', $2, 10, 0)`, p.ids[0], at)
			dbtest.Exec(t, p.Pool, `INSERT INTO status_changes (monitor_id, at, status) VALUES ($1, $2, 'up')`, p.ids[0], at)
			dbtest.Exec(t, p.Pool, `INSERT INTO warnings (kind, message, processes, open_processes, opened_at, seen_at, closed_at)
				VALUES ('test', '', '{}', '{}', $1, $1, $1)`, at)
		}
		dbtest.Exec(t, p.Pool, `INSERT INTO status_changes (monitor_id, at, status) VALUES ($1, $2, 'down')`, p.ids[0], old.Add(time.Minute))
		dbtest.Exec(t, p.Pool, `INSERT INTO status_changes (monitor_id, at, status) VALUES ($1, $2, 'up')`, p.ids[1], old)
		kept, err := forEver.Once(t.Context(), p.Pool, now)
		require.NoError(t, err)
		require.Equal(t, history.Kept{}, kept)
		keep := forEver
		keep.Hours, keep.Days = 90*24*time.Hour, 90*24*time.Hour
		kept, err = keep.Once(t.Context(), p.Pool, now)
		require.NoError(t, err)
		require.EqualValues(t, 4, kept.Forgotten, "a gap, a promise, a warning, and the change of status that no longer holds then")
		require.Equal(t, 1, dbtest.Count(t, p.Pool, "scan_gaps"))
		require.Equal(t, 1, dbtest.Count(t, p.Pool, "warnings"))
		require.Equal(t, 3, dbtest.Count(t, p.Pool, "status_changes"))
		require.Equal(t, 3, dbtest.Count(t, p.Pool, "monitor_schedules"))
	})
}

func TestSeal(t *testing.T) {
	t.Parallel()
	p := hourly(t, 1, 4)
	now := noon.Add(3*time.Hour + 30*time.Minute)
	sealed := map[string]bool{}
	seal := func() string {
		chunk, err := history.Seal(t.Context(), p.Pool, now)
		require.NoError(t, err)
		return chunk
	}
	indexes := func() int {
		return dbtest.Count(t, p.Pool, `pg_index WHERE indisvalid AND indrelid::regclass::text LIKE '%_hyper_%' AND pg_get_indexdef(indexrelid) LIKE '%(monitor_id)'`)
	}
	first := p.chunks(t)[0].Chunk
	require.Equal(t, first, seal(), "the oldest first")

	// Whoever seals the next one dies half way: a writer holds him up, and he is cut off.
	second := p.chunks(t)[1].Chunk
	writer, err := p.Begin(t.Context())
	require.NoError(t, err)
	dbtest.Insert(t, writer, asked(p.ids[0], noon.Add(90*time.Minute)))
	ctx, cancel := context.WithCancel(t.Context())
	cut := make(chan error)
	go func() {
		_, err := history.Seal(ctx, p.Pool, now)
		cut <- err
	}()
	broken := func() int { return dbtest.Count(t, p.Pool, "pg_index WHERE NOT indisvalid") }
	require.Eventually(t, func() bool { return broken() == 1 }, 10*time.Second, 5*time.Millisecond)
	cancel()
	require.Error(t, <-cut)
	require.Eventually(t, func() bool { // the server hears of it a moment later
		return dbtest.Count(t, p.Pool, "pg_stat_activity WHERE datname = current_database() AND query LIKE 'CREATE INDEX%' AND state = 'active'") == 0
	}, 10*time.Second, 5*time.Millisecond)
	require.Equal(t, 1, broken())
	require.NoError(t, writer.Rollback(t.Context()))

	require.Equal(t, second, seal(), "anew")
	require.Zero(t, broken())
	for range 4 {
		sealed[seal()] = true
	}
	require.Len(t, sealed, 2, "the third one, and then none: the fourth is not over")
	require.Equal(t, 3, indexes())
	require.Equal(t, "30s", dbtest.One[string](t, p.Pool, "SHOW statement_timeout"), "the session is as it was")
}

func TestStored(t *testing.T) {
	t.Parallel()
	p := hourly(t, 5, 6)
	now := noon.Add(5*time.Hour + 30*time.Minute)
	empty, err := history.Stored(t.Context(), p.Pool, now)
	require.NoError(t, err)
	require.True(t, empty.RolledUntil.IsZero())
	p.account(t, now)
	p.rollUp(t)
	storage, err := history.Stored(t.Context(), p.Pool, now)
	require.NoError(t, err)
	require.True(t, storage.RolledUntil.Equal(noon.Add(5*time.Hour)))
	require.Len(t, storage.Tables, 3)
	scans := storage.Tables[0]
	require.Equal(t, "scans", scans.Name)
	require.True(t, scans.From.Equal(noon))
	var whole, all int64
	for i, chunk := range p.chunks(t) {
		all += chunk.Bytes
		if i < 5 {
			whole += chunk.Bytes
		}
	}
	require.Equal(t, all, scans.Bytes)
	require.InDelta(t, whole*24/5, *scans.BytesPerDay, 1)
	require.Nil(t, storage.Tables[1].BytesPerDay, "a week is not over")

	keep := history.Keep{Scans: 30 * 24 * time.Hour, ScansBytes: all + 2**scans.BytesPerDay}
	days, ok := keep.DaysUntilCut(scans)
	require.True(t, ok)
	require.InDelta(t, 2, days, 1e-9)
	keep.Scans = 24 * time.Hour
	_, ok = keep.DaysUntilCut(scans)
	require.False(t, ok, "age cuts it before")
}
