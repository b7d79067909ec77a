package history

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"riverwatch/db"
)

// Export reads the log of a range, oldest first, a page at a time: that of one monitor, or of all. It asks for a range of slots
// within one chunk at a time, as long as it can be read quickly, so that neither memory nor the database notice how much there is.
type Export struct {
	queries   *db.Queries
	monitorID int64   // 0: all
	tag       *string // of the monitors; nil: any
	at        time.Time
	left      []span // what is still to be read: parts of chunks
	afterID   int64  // and of the slot at which it begins, only monitors with ids above this
	window    time.Duration
}

const (
	exportPage = 1000 // scans
	// A window that was read in less than quick, and was all that kept its page from being fuller, is doubled; one that took longer
	// than slow is halved.
	firstWindow, leastWindow = time.Minute, time.Second
	quick, slow              = 100 * time.Millisecond, time.Second
)

// ErrDropped is the error of an export of which a part was dropped, by its age or the log's size, before it was read.
var ErrDropped = errors.New("a part of the range is no longer kept")

// ExportOf begins an export of the scans of a monitor with slots from an instant until before another, as far as they are kept.
func ExportOf(ctx context.Context, conn db.DBTX, monitorID int64, from, until time.Time) (*Export, error) {
	return newExport(ctx, conn, Export{monitorID: monitorID}, span{from, until})
}

// ExportAll is ExportOf for all monitors that are not deleted at an instant, or those with a tag, if it is not empty.
func ExportAll(ctx context.Context, conn db.DBTX, tag string, from, until, at time.Time) (*Export, error) {
	e := Export{at: at}
	if tag != "" {
		e.tag = &tag
	}
	return newExport(ctx, conn, e, span{from, until})
}

func newExport(ctx context.Context, conn db.DBTX, e Export, of span) (*Export, error) {
	e.queries, e.window = db.New(db.PlanEach(conn)), firstWindow
	keptFrom, err := e.keptFrom(ctx)
	if err != nil {
		return nil, err
	}
	chunks, err := e.queries.ListChunks(ctx, scansTable)
	if err != nil {
		return nil, fmt.Errorf("list the log's chunks: %w", err)
	}
	for _, chunk := range chunks {
		part := span{latest(of.from, keptFrom, chunk.FromAt), earliest(of.until, chunk.UntilAt)}
		if part.from.Before(part.until) {
			e.left = append(e.left, part)
		}
	}
	return &e, nil
}

// keptFrom gives from when on the log is kept.
func (e *Export) keptFrom(ctx context.Context) (time.Time, error) {
	progress, err := e.queries.GetHistoryProgress(ctx)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return time.Time{}, fmt.Errorf("get what is kept: %w", err)
	}
	return progress.ScansFrom, nil
}

// Next gives the next scans, which may be none, and whether there may be more. Of an export of one monitor the rows say nothing of
// the monitor.
func (e *Export) Next(ctx context.Context) (rows []db.ExportScansRow, more bool, err error) {
	if len(e.left) == 0 {
		return nil, false, nil
	}
	part := &e.left[0]
	window := span{part.from, earliest(part.until, part.from.Add(e.window))}
	began := time.Now()
	if rows, err = e.read(ctx, window); err != nil {
		return nil, false, fmt.Errorf("read the log from %s until before %s: %w",
			window.from.Format(time.RFC3339Nano), window.until.Format(time.RFC3339Nano), err)
	}
	took := time.Since(began)
	// Only now: what was dropped while it was read is noted by now.
	switch keptFrom, err := e.keptFrom(ctx); {
	case err != nil:
		return nil, false, err
	case keptFrom.After(window.from):
		return nil, false, ErrDropped
	}

	full := len(rows) == exportPage
	part.from, e.afterID = window.until, 0
	if full {
		last := rows[len(rows)-1].Scan
		part.from, e.afterID = last.Slot, last.MonitorID
	}
	switch {
	case took > slow:
		e.window = max(e.window/2, leastWindow)
	case took < quick && !full && window.until.Before(part.until):
		e.window *= 2
	}
	if !part.from.Before(part.until) {
		e.left = e.left[1:]
	}
	return rows, len(e.left) > 0, nil
}

func (e *Export) read(ctx context.Context, window span) ([]db.ExportScansRow, error) {
	if e.monitorID == 0 {
		return e.queries.ExportScans(ctx, db.ExportScansParams{
			Since: window.from, Until: window.until, AfterID: e.afterID, At: e.at, Tag: e.tag, PageSize: exportPage,
		})
	}
	if e.afterID != 0 { // the slot has been read
		window.from = window.from.Add(time.Microsecond)
	}
	scans, err := e.queries.ExportScansOf(ctx, db.ExportScansOfParams{
		MonitorID: e.monitorID, Since: window.from, Until: window.until, PageSize: exportPage,
	})
	rows := make([]db.ExportScansRow, len(scans))
	for i, scan := range scans {
		rows[i].Scan = scan
	}
	return rows, err
}
