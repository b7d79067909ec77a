package history

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"riverwatch/db"
)

// The hypertables that are kept for a while.
const (
	scansTable = "monitor_log"
	hoursTable = "scan_hours"
	daysTable  = "scan_days"
)

// Keep says what is kept.
type Keep struct {
	Scans      time.Duration // rows of the log
	ScansBytes int64         // of the log on disk, with its indexes; what is above goes, the oldest first
	Least      time.Duration // of the log that is kept whatever its size
	Hours      time.Duration
	Days       time.Duration // and with them gaps, promises that were withdrawn, and changes of status; 0: for ever
}

// Kept is what a call of Once did, and what River UI shows.
type Kept struct {
	Chunks    int64 `json:"chunks_dropped"` // of the log
	Hours     int64 `json:"hour_chunks_dropped"`
	Days      int64 `json:"day_chunks_dropped"`
	Forgotten int64 `json:"rows_deleted"`
	CutBySize bool  `json:"cut_by_size"`
}

// Once drops what is older or larger than it may be: whole chunks, and of the log none of which an hour is not rolled up.
func (k Keep) Once(ctx context.Context, conn db.Conn, now time.Time) (kept Kept, err error) {
	p, err := db.New(conn).GetHistoryProgress(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		return kept, nil
	}
	if err != nil {
		return kept, fmt.Errorf("get the progress: %w", err)
	}
	err = errors.Join(
		k.dropScans(ctx, conn, now, p, &kept),
		k.dropHours(ctx, conn, now, p, &kept),
		k.dropDays(ctx, conn, now, &kept),
		k.forget(ctx, conn, now, &kept),
	)
	return kept, err
}

// dropScans drops chunks of the log.
func (k Keep) dropScans(ctx context.Context, conn db.Conn, now time.Time, p db.HistoryProgress, kept *Kept) error {
	queries := db.New(conn)
	chunks, err := queries.ListChunks(ctx, scansTable)
	if err != nil {
		return fmt.Errorf("list the log's chunks: %w", err)
	}
	stale, err := queries.OldestStaleHour(ctx)
	if err != nil {
		return fmt.Errorf("ask for stale hours: %w", err)
	}
	byAge := now.Add(-k.Scans)
	before, cut := k.cut(chunks, now)
	kept.CutBySize = cut && before.After(byAge)
	if err := queries.NoteCut(ctx, kept.CutBySize); err != nil {
		return fmt.Errorf("note whether size decides: %w", err)
	}
	before = earliest(latest(byAge, before), p.RolledUntil, stale)
	kept.Chunks, err = drop(ctx, conn, scansTable, chunks, before, (*db.Queries).NoteScansDropped)
	return err
}

// cut gives up to when chunks have to go for the log's size, and whether it is too large.
func (k Keep) cut(chunks []db.ListChunksRow, now time.Time) (before time.Time, tooLarge bool) {
	var total int64
	for _, chunk := range chunks {
		total += chunk.Bytes
	}
	for _, chunk := range chunks {
		if total <= k.ScansBytes || chunk.UntilAt.After(now.Add(-k.Least)) {
			break
		}
		total -= chunk.Bytes
		before, tooLarge = chunk.UntilAt, true
	}
	return before, tooLarge || total > k.ScansBytes
}

// dropHours drops hours: none of a day that is not merged.
func (k Keep) dropHours(ctx context.Context, conn db.Conn, now time.Time, p db.HistoryProgress, kept *Kept) error {
	chunks, err := db.New(conn).ListChunks(ctx, hoursTable)
	if err != nil {
		return fmt.Errorf("list the chunks of hours: %w", err)
	}
	kept.Hours, err = drop(ctx, conn, hoursTable, chunks, earliest(now.Add(-k.Hours), p.DaysUntil), (*db.Queries).NoteHoursDropped)
	return err
}

func (k Keep) dropDays(ctx context.Context, conn db.Conn, now time.Time, kept *Kept) error {
	if k.Days == 0 {
		return nil
	}
	chunks, err := db.New(conn).ListChunks(ctx, daysTable)
	if err != nil {
		return fmt.Errorf("list the chunks of days: %w", err)
	}
	kept.Days, err = drop(ctx, conn, daysTable, chunks, now.Add(-k.Days), nil)
	return err
}

// drop drops those of a table's chunks that end at an instant or before it, and notes from when on it is kept.
func drop(
	ctx context.Context, conn db.Conn, table string, chunks []db.ListChunksRow, before time.Time,
	note func(*db.Queries, context.Context, time.Time) error,
) (dropped int64, err error) {
	var until time.Time
	for _, chunk := range chunks {
		if !chunk.UntilAt.After(before) {
			until = chunk.UntilAt
		}
	}
	if until.IsZero() {
		return 0, nil
	}
	err = db.InTx(ctx, conn, func(tx pgx.Tx) (err error) {
		queries := db.New(tx)
		if note != nil { // first: who writes a late row asks for this
			if err := note(queries, ctx, until); err != nil {
				return fmt.Errorf("note what is kept: %w", err)
			}
		}
		dropped, err = queries.DropHistory(ctx, db.DropHistoryParams{Hypertable: table, Before: until})
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("drop chunks of %s: %w", table, err)
	}
	return dropped, nil
}

// forget deletes what nothing refers to any more. Other tables that grow for ever add themselves here.
func (k Keep) forget(ctx context.Context, conn db.Conn, now time.Time, kept *Kept) (errs error) {
	queries := db.New(conn)
	for _, table := range []struct {
		age    time.Duration // 0: for ever
		forget func(context.Context, time.Time) (int64, error)
		what   string
	}{
		{k.Days, queries.ForgetGaps, "gaps"},
		{k.Days, queries.ForgetSchedules, "withdrawn promises"},
		{k.Days, queries.ForgetStatusChanges, "changes of status"},
		{k.Hours, queries.ForgetWarnings, "closed warnings"},
	} {
		if table.age == 0 {
			continue
		}
		rows, err := table.forget(ctx, now.Add(-table.age))
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("forget %s: %w", table.what, err))
		}
		kept.Forgotten += rows
	}
	return errs
}
