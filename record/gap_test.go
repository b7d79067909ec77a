package record_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/monitors/monitorstest"
	"riverwatch/record"
	"riverwatch/uptime"
)

// lost is that the worker died which had a slot of a day's schedule.
func lost(slot time.Time) record.Gap {
	return record.Gap{Schedule: uptime.Schedule{Interval: 86400}, From: slot, To: slot, Reason: uptime.WorkerLost}
}

// awaitWaiting waits until somebody in the process's database waits for a lock.
func (p *process) awaitWaiting(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		return p.Count(t, "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") > 0
	}, 20*time.Second, 5*time.Millisecond)
}

// requireRowsAndGaps holds how many rows and how many gaps of single monitors there are.
func (p *process) requireRowsAndGaps(t *testing.T, rows, gaps int) {
	t.Helper()
	require.Equal(t, rows, p.Count(t, "monitor_log"), "rows")
	require.Equal(t, gaps, p.Count(t, "scan_gaps WHERE monitor_id IS NOT NULL"), "gaps")
}

func TestARowThatComesLaterTakesItsGapAway(t *testing.T) {
	t.Parallel()
	slot := monitorstest.Noon
	queries := func(p *process) *db.Queries { return db.New(p.Pool) }

	for _, outcome := range []uptime.Outcome{uptime.OK, uptime.StatusMismatch, uptime.Inconclusive} {
		t.Run(string(outcome), func(t *testing.T) {
			t.Parallel()
			p := newProcess(t)
			require.NoError(t, lost(slot).DeclareFor(t.Context(), queries(p), slot, 1, 2))
			require.NoError(t, lost(slot.Add(-24*time.Hour)).DeclareFor(t.Context(), queries(p), slot, 1))
			_, err := lost(slot).Declare(t.Context(), queries(p), slot)
			require.NoError(t, err)
			p.requireRowsAndGaps(t, 0, 3)

			scan := dbtest.Scan(1, slot)
			scan.Outcome = outcome
			require.NoError(t, p.recorder.Record(t.Context(), scan, nil))
			p.requireRowsAndGaps(t, 1, 2)
			require.Equal(t, 1, p.Count(t, "scan_gaps WHERE monitor_id = 2 AND from_slot = $1", slot), "another monitor's stays")
			require.Equal(t, 1, p.Count(t, "scan_gaps WHERE monitor_id = 1 AND from_slot < $1", slot), "another slot's stays")
		})
	}

	t.Run("NotOfAWholePhase", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		p.Exec(t, "INSERT INTO scan_gaps VALUES (86400, 0, NULL, $1, $1, 'service_down', $1)", slot)
		require.NoError(t, p.recorder.Record(t.Context(), dbtest.Scan(1, slot), nil))
		require.Equal(t, 1, p.Count(t, "scan_gaps"), "it is about those without a row")
	})

	t.Run("ManyAtOnce", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		require.NoError(t, lost(slot).DeclareFor(t.Context(), queries(p), slot, 1, 2, 3, 4, 5, 6))
		require.NoError(t, lost(slot.Add(time.Minute)).DeclareFor(t.Context(), queries(p), slot, 1, 2, 3))
		var scans []db.Scan
		for id := range int64(4) {
			scans = append(scans, dbtest.Scan(id+1, slot), dbtest.Scan(id+1, slot.Add(time.Minute)))
		}
		for _, err := range p.recordTogether(t.Context(), t, scans...) {
			require.NoError(t, err)
		}
		p.requireRowsAndGaps(t, 8, 2)
	})
}

// Whoever comes second, the row or the gap, waits for the first, and sees it.
func TestARowAndItsGapAtTheSameMoment(t *testing.T) {
	t.Parallel()
	slot := monitorstest.Noon
	ctx := context.Background()
	begin := func(t *testing.T, p *process) pgx.Tx {
		t.Helper()
		tx, err := p.Pool.Begin(ctx)
		require.NoError(t, err)
		t.Cleanup(func() { _ = tx.Rollback(ctx) })
		return tx
	}
	type ending func(tx pgx.Tx, ctx context.Context) error
	commit, rollback := ending(pgx.Tx.Commit), ending(pgx.Tx.Rollback)

	for name, test := range map[string]struct {
		ends       ending
		rows, gaps int
	}{"Commits": {commit, 1, 1}, "Fails": {rollback, 1, 0}} {
		t.Run("TheGapIsFirstAnd"+name, func(t *testing.T) {
			t.Parallel()
			p := newProcess(t)
			tx := begin(t, p)
			require.NoError(t, lost(slot).DeclareFor(ctx, db.New(tx), slot, 1, 2))
			recorded := make(chan error, 1)
			go func() { recorded <- p.recorder.Record(ctx, dbtest.Scan(2, slot), nil) }()
			p.awaitWaiting(t)
			require.NoError(t, test.ends(tx, ctx))
			require.NoError(t, <-recorded)
			p.requireRowsAndGaps(t, test.rows, test.gaps)
			require.Zero(t, p.Count(t, "scan_gaps WHERE monitor_id = 2"))
		})
	}

	for name, test := range map[string]struct {
		ends       ending
		rows, gaps int
	}{"Commits": {commit, 1, 1}, "Fails": {rollback, 0, 2}} {
		t.Run("TheRowIsFirstAnd"+name, func(t *testing.T) {
			t.Parallel()
			p := newProcess(t)
			tx := begin(t, p)
			dbtest.Insert(t, tx, dbtest.Scan(2, slot))
			declared := make(chan error, 1)
			go func() { declared <- lost(slot).DeclareFor(ctx, db.New(p.Pool), slot, 1, 2) }()
			p.awaitWaiting(t)
			require.NoError(t, test.ends(tx, ctx))
			require.NoError(t, <-declared)
			p.requireRowsAndGaps(t, test.rows, test.gaps)
		})
	}

	t.Run("TwoGapsAreOne", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		tx := begin(t, p)
		require.NoError(t, lost(slot).DeclareFor(ctx, db.New(tx), slot, 2, 1))
		declared := make(chan error, 1)
		go func() { declared <- lost(slot).DeclareFor(ctx, db.New(p.Pool), slot, 1, 2) }()
		p.awaitWaiting(t)
		require.NoError(t, tx.Commit(ctx))
		require.NoError(t, <-declared)
		p.requireRowsAndGaps(t, 0, 2)
	})
}
