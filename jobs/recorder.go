package jobs

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/trace"

	"riverwatch/db"
	"riverwatch/uptime"
)

const (
	batchSize    = 500
	batchWait    = 10 * time.Millisecond
	writeTimeout = 10 * time.Second // a frozen database answers nothing, not even its own statement_timeout
	longestWait  = 5 * time.Second  // between two tries to reach the database
	drainTimeout = 2 * time.Second
)

// A Recorder writes the results of all scans of the process to the log, in batches: one short transaction inserts the
// rows, judges those that were really inserted, and writes the states that changed with the jobs that follow from them.
// So states always agree with the log, and a scan that comes twice is judged once.
type Recorder struct {
	Traces *Traces // to be set before Run; nil: none

	conn    db.Conn
	queue   Queue
	metrics *Metrics
	logger  *slog.Logger
	now     func() time.Time
	records chan *record
	closed  chan struct{} // Run has returned
	drain   time.Duration // how long Run may go on after its ctx
	shown   shownCertificates

	blindness *blindness // what scans tell of our own network; Sight asks it
}

type record struct {
	scan        db.Scan
	certificate *x509.Certificate // that the target showed; nil: none
	probe       trace.Span        // nil without Traces
	done        chan error        // buffered: nobody need wait
}

// NewRecorder makes a recorder that works while its Run does. It keeps so many results until they are written.
func NewRecorder(
	conn db.Conn, queue Queue, kept int, metrics *Metrics, now func() time.Time, logger *slog.Logger,
) *Recorder {
	return &Recorder{
		conn: conn, queue: queue, metrics: metrics, logger: logger, now: now, records: make(chan *record, kept),
		closed: make(chan struct{}), drain: drainTimeout, blindness: newBlindness(now),
	}
}

// Why a scan is not in the log, besides what the database said of it.
var (
	errNoRoom = errors.New("the recorder has no room: the database is away, or slow")
	errClosed = errors.New("the recorder is closed")
)

// Record hands over a scan, with the certificate that the target showed, and returns once its row is committed. ctx
// bounds the wait for room only: a scan that was taken is waited for, lest its round scan it again elsewhere. After an
// error the row is not there, or, when the recorder was closed meanwhile, may be. It is for the caller to account for
// it then.
func (r *Recorder) Record(ctx context.Context, scan db.Scan, certificate *x509.Certificate) error {
	rec := &record{scan: scan, certificate: certificate, probe: r.Traces.probeOf(ctx), done: make(chan error, 1)}
	if len(r.records) == cap(r.records) {
		r.metrics.limitWaits.WithLabelValues(limitRecorder).Inc()
	}
	select {
	case r.records <- rec:
	case <-ctx.Done():
		return errNoRoom
	case <-r.closed:
		return errClosed
	}
	select {
	case err := <-rec.done:
		return err
	case <-r.closed:
	}
	select {
	case err := <-rec.done: // it was among the last
		return err
	default:
		return errClosed
	}
}

// Run writes what Record hands over until ctx is done, and then what is left, for drainTimeout at most.
func (r *Recorder) Run(ctx context.Context) {
	defer close(r.closed)
	writeCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(r.drain, stop) })()

	for writeCtx.Err() == nil {
		batch := r.gather(ctx)
		if len(batch) == 0 {
			return
		}
		r.writeAll(writeCtx, batch)
	}
}

// gather waits for a record, and then a moment for more of them. Once ctx is done it takes what is there; none: that
// was all.
func (r *Recorder) gather(ctx context.Context) []*record {
	var batch []*record
	select {
	case rec := <-r.records:
		batch = append(batch, rec)
	case <-ctx.Done():
		return r.left()
	}
	moment := time.After(batchWait)
	for len(batch) < batchSize {
		select {
		case rec := <-r.records:
			batch = append(batch, rec)
		case <-moment:
			return batch
		}
	}
	return batch
}

// left takes what is there now, as far as it fits in a batch.
func (r *Recorder) left() []*record {
	var batch []*record
	for len(batch) < batchSize {
		select {
		case rec := <-r.records:
			batch = append(batch, rec)
		default:
			return batch
		}
	}
	return batch
}

// writeAll writes a batch, for as long as it takes: a database that is away is waited for. It gives up on single scans
// that the database will never take, and on everything when ctx is done.
func (r *Recorder) writeAll(ctx context.Context, batch []*record) {
	start := r.now()
	r.metrics.recorderQueue.Set(float64(len(r.records)))
	ctx, span := r.Traces.startRecord(ctx, batch)
	err := r.write(ctx, batch, copyScans)
	if err != nil && db.TroubleOf(err) != db.TroubleAway {
		// One of them is there already, or cannot be encoded, which COPY reports as a statement that was cancelled.
		err = r.write(ctx, batch, insertNewScans)
	}
	for try := 1; err != nil; try++ {
		if trouble := db.TroubleOf(err); trouble != db.TroubleAway && trouble != db.TroubleRetry {
			endRecord(span, err)
			r.divide(ctx, batch, err)
			return
		}
		r.logger.WarnContext(ctx, "results wait for the database", slog.Int("scans", len(batch)), slog.Any("error", err))
		if !sleep(ctx, min(longestWait, 50*time.Millisecond<<min(try, 8))) {
			break
		}
		err = r.write(ctx, batch, insertNewScans) // the commit may have come through before the error did
	}
	endRecord(span, err)
	for _, rec := range batch {
		if err == nil {
			r.metrics.recorded(rec.scan)
		}
		rec.done <- err
	}
	if err == nil {
		r.metrics.wrote(len(batch), r.now().Sub(start))
	}
}

// divide writes the halves of a batch that the database refuses by themselves, until the scan that it will never take,
// whatever is in it, is alone.
func (r *Recorder) divide(ctx context.Context, batch []*record, refusal error) {
	if half := len(batch) / 2; half > 0 {
		r.writeAll(ctx, batch[:half])
		r.writeAll(ctx, batch[half:])
		return
	}
	scan := batch[0].scan
	r.logger.ErrorContext(ctx, "scan cannot be recorded", slog.Int64("monitor_id", scan.MonitorID),
		slog.Time("slot", scan.Slot), slog.String("sqlstate", sqlState(refusal)))
	batch[0].done <- fmt.Errorf("record scan of monitor %d: %w", scan.MonitorID, refusal)
}

// sqlState gives the code of an error of the database, which unlike its text tells nothing of hostile values.
func sqlState(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

// sleep waits about d, and reports whether ctx lasted.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d/2 + rand.N(d)): //nolint:gosec // jitter
		return true
	}
}

type insertFunc func(ctx context.Context, queries *db.Queries, scans []db.Scan) ([]db.Scan, error)

// copyScans inserts scans none of which is there yet: one that is makes it fail.
func copyScans(ctx context.Context, queries *db.Queries, scans []db.Scan) ([]db.Scan, error) {
	params := make([]db.CopyScansParams, len(scans))
	for i, scan := range scans {
		params[i] = db.CopyScansParams(scan)
	}
	_, err := queries.CopyScans(ctx, params)
	return scans, err
}

// insertNewScans inserts the scans that are not there yet, and returns these.
func insertNewScans(ctx context.Context, queries *db.Queries, scans []db.Scan) ([]db.Scan, error) {
	params := make([]db.InsertScansParams, len(scans))
	for i, scan := range scans {
		params[i] = db.InsertScansParams(scan)
	}
	var inserted []db.Scan
	var errs error
	queries.InsertScans(ctx, params).QueryRow(func(i int, _ int64, err error) {
		switch {
		case err == nil:
			inserted = append(inserted, scans[i])
		case !errors.Is(err, pgx.ErrNoRows):
			errs = errors.Join(errs, err)
		}
	})
	return inserted, errs
}

// write is the one transaction of a batch. Its rows go into the log in the order of the log's key, which fills the pages of
// the index.
func (r *Recorder) write(ctx context.Context, batch []*record, insert insertFunc) error {
	scans := make([]db.Scan, len(batch))
	for i, rec := range batch {
		scans[i] = rec.scan
	}
	slices.SortFunc(scans, func(a, b db.Scan) int {
		return cmp.Or(a.Slot.Compare(b.Slot), cmp.Compare(a.MonitorID, b.MonitorID))
	})
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()

	var changes []change
	unseen := r.shown.unseen(batch)
	err := pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error {
		inserted, err := insert(ctx, db.New(tx), scans)
		if err != nil {
			return fmt.Errorf("insert scans: %w", err)
		}
		if changes, err = r.judge(ctx, tx, inserted); err != nil {
			return err
		}
		return insertCertificates(ctx, db.New(tx), unseen, r.now())
	})
	if err != nil {
		return err
	}
	r.shown.add(unseen)
	r.blindness.recorded(scans, changes)
	for _, c := range changes {
		if c.before.Status != c.after.Status {
			r.logger.InfoContext(ctx, "status changed", slog.Int64("monitor_id", c.monitor.ID),
				slog.String("from", string(c.before.Status)), slog.String("to", string(c.after.Status)),
				slog.String("outcome", string(c.outcome)), slog.Time("slot", c.after.Since))
		}
	}
	return nil
}

// outcomesOf splits what a batch says into the monitors it says anything of, and those among them that are not plainly
// well: also those that are slow.
func outcomesOf(scans []db.Scan) (told, bad []int64) {
	for _, scan := range scans {
		if scan.Outcome == uptime.Inconclusive {
			continue
		}
		told = append(told, scan.MonitorID)
		if scan.Outcome != uptime.OK && scan.Outcome != uptime.OKTruncated {
			bad = append(bad, scan.MonitorID)
		}
	}
	return told, bad
}
