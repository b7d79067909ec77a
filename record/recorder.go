// Package record writes what came of promises: the results of scans to the log, what they change of where monitors
// stand, and the gaps where there is no result. A status changes through Apply and nowhere else.
package record

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"riverwatch/db"
	"riverwatch/queue"
	"riverwatch/wait"
)

const (
	batchSize    = 500
	batchWait    = 10 * time.Millisecond
	writeTimeout = 10 * time.Second // a frozen database answers nothing, not even its own statement_timeout
	longestWait  = 5 * time.Second  // between two tries to reach the database
	drainTimeout = 2 * time.Second
	mayBeDropped = time.Hour // what is younger than this is always kept
)

// Config is what a recorder works with.
type Config struct {
	Conn     db.Conn
	Queue    queue.Queue // inserts second looks
	Kept     int         // how many results it keeps until they are written
	Retries  int         // how many second looks it asks for in a second
	Now      func() time.Time
	Logger   *slog.Logger
	Registry prometheus.Registerer
	Traces   trace.TracerProvider // nil: none
	// Committed is told of each batch that is in the log, and of what it changed; nil: nobody is.
	Committed func(scans []db.Scan, transitions []Transition)
}

// A Recorder writes the results of all scans of the process to the log, in batches: one short transaction inserts the
// rows, judges those that were really inserted, and writes the states that changed with the jobs that follow from them.
// So states always agree with the log, and a scan that comes twice is judged once.
type Recorder struct {
	Config

	metrics metrics
	tracer  trace.Tracer
	results chan *result
	closed  chan struct{} // Run has returned
	drain   time.Duration // how long Run may go on after its ctx
	shown   shownCertificates
	retries allowance
}

// result is that of a scan, until it is written.
type result struct {
	scan        db.Scan
	certificate *newCertificate // that the target showed; nil: none, or a known one
	probe       trace.SpanContext
	done        chan error // buffered: nobody need wait
}

// NewRecorder makes a recorder that works while its Run does.
func NewRecorder(config Config) *Recorder {
	if config.Traces == nil {
		config.Traces = noop.NewTracerProvider()
	}
	return &Recorder{
		Config: config, metrics: newMetrics(config.Registry), tracer: config.Traces.Tracer("riverwatch/record"),
		results: make(chan *result, config.Kept), closed: make(chan struct{}), drain: drainTimeout,
		retries: allowance{perSecond: config.Retries},
	}
}

// Why a scan is not in the log, besides what the database said of it.
var (
	ErrNoRoom = errors.New("the recorder has no room: the database is away, or slow")
	ErrClosed = errors.New("the recorder is closed")
)

// Record takes over a scan, as Take does, and returns once its row is committed.
func (r *Recorder) Record(ctx context.Context, scan db.Scan, certificate *x509.Certificate) error {
	taken, err := r.Take(ctx, scan, certificate)
	if err != nil {
		return err
	}
	return taken.Await()
}

// Taken is a scan that the recorder has taken over.
type Taken struct {
	result   *result
	recorder *Recorder
}

// Take takes over a scan, with the certificate that the target showed, as soon as there is room, for which it waits until ctx
// is done. A scan that was taken is written even if nobody awaits it. Errors: ErrNoRoom, ErrClosed.
func (r *Recorder) Take(ctx context.Context, scan db.Scan, certificate *x509.Certificate) (Taken, error) {
	one := &result{
		scan: scan, certificate: r.shown.unlessKnown(scan.MonitorID, certificate),
		probe: trace.SpanContextFromContext(ctx), done: make(chan error, 1),
	}
	if len(r.results) == cap(r.results) {
		r.metrics.full.Inc()
	}
	select {
	case r.results <- one:
		return Taken{one, r}, nil
	case <-ctx.Done():
		return Taken{}, ErrNoRoom
	case <-r.closed:
		return Taken{}, ErrClosed
	}
}

// Await returns once the scan's row is committed. It is not for ctx to end that: a scan whose fate is not known would be
// scanned again by its round elsewhere. After an error the row is not there, or, when the recorder was closed meanwhile, may
// be. It is for the caller to account for it then.
func (t Taken) Await() error {
	select {
	case err := <-t.result.done:
		return err
	case <-t.recorder.closed:
	}
	select {
	case err := <-t.result.done: // it was among the last
		return err
	default:
		return ErrClosed
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

// gather waits for a result, and then a moment for more of them. Once ctx is done it takes what is there; none: that
// was all.
func (r *Recorder) gather(ctx context.Context) []*result {
	var batch []*result
	select {
	case one := <-r.results:
		batch = append(batch, one)
	case <-ctx.Done():
		return r.left()
	}
	enough := time.After(batchWait)
	for len(batch) < batchSize {
		select {
		case one := <-r.results:
			batch = append(batch, one)
		case <-enough:
			return batch
		}
	}
	return batch
}

// left takes what is there now, as far as it fits in a batch.
func (r *Recorder) left() []*result {
	var batch []*result
	for len(batch) < batchSize {
		select {
		case one := <-r.results:
			batch = append(batch, one)
		default:
			return batch
		}
	}
	return batch
}

// writeAll writes a batch, for as long as it takes: a database that is away is waited for. It gives up on single scans
// that the database will never take, and on everything when ctx is done (ErrClosed).
func (r *Recorder) writeAll(ctx context.Context, batch []*result) {
	start := r.Now()
	r.metrics.waiting.Set(float64(len(r.results)))
	ctx, span := r.startBatch(ctx, batch)
	err := r.write(ctx, batch, copyScans)
	if err != nil && db.TroubleOf(err) != db.TroubleAway {
		// One of them is there already, or cannot be encoded, which COPY reports as a statement that was cancelled.
		err = r.write(ctx, batch, insertNewScans)
	}
	for try := 1; err != nil; try++ {
		if ctx.Err() != nil { // whatever a write that is cut short says
			err = fmt.Errorf("%w: %w", ErrClosed, err)
			break
		}
		if trouble := db.TroubleOf(err); trouble != db.TroubleAway && trouble != db.TroubleRetry {
			endBatch(span, err)
			r.divide(ctx, batch, err)
			return
		}
		r.Logger.WarnContext(ctx, "results wait for the database", slog.Int("scans", len(batch)), slog.Any("error", err))
		if wait.About(ctx, min(longestWait, 50*time.Millisecond<<min(try, 8))) {
			err = r.write(ctx, batch, insertNewScans) // the commit may have come through before the error did
		}
	}
	endBatch(span, err)
	for _, one := range batch {
		if err == nil {
			r.metrics.recorded(one.scan)
		}
		one.done <- err
	}
	if err == nil {
		r.metrics.batchSize.Observe(float64(len(batch)))
		r.metrics.batchSeconds.Observe(r.Now().Sub(start).Seconds())
	}
}

// divide writes the halves of a batch that the database refuses by themselves, until the scan that it will never take,
// whatever is in it, is alone.
func (r *Recorder) divide(ctx context.Context, batch []*result, refusal error) {
	if half := len(batch) / 2; half > 0 {
		r.writeAll(ctx, batch[:half])
		r.writeAll(ctx, batch[half:])
		return
	}
	scan := batch[0].scan
	r.Logger.ErrorContext(ctx, "scan cannot be recorded", slog.Int64("monitor_id", scan.MonitorID),
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

// insertNewScans inserts the scans that are not there yet, and returns these, in their order.
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

// refuseDropped refuses a batch with a slot of which the log was dropped: its row would make a chunk of its own, and belongs to an
// hour that can no longer be computed.
func (r *Recorder) refuseDropped(ctx context.Context, queries *db.Queries, oldest time.Time) error {
	if r.Now().Sub(oldest) < mayBeDropped {
		return nil
	}
	progress, err := queries.GetHistoryProgress(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ask from when on the log is kept: %w", err)
	}
	if oldest.Before(progress.ScansFrom) {
		return fmt.Errorf("the log is kept from %s on", progress.ScansFrom)
	}
	return nil
}

// write is the one transaction of a batch. Its rows go into the log in the order of the log's key, which fills the pages of
// the index.
func (r *Recorder) write(ctx context.Context, batch []*result, insert insertFunc) error {
	scans := make([]db.Scan, len(batch))
	for i, one := range batch {
		scans[i] = one.scan
	}
	slices.SortFunc(scans, func(a, b db.Scan) int {
		return cmp.Or(a.Slot.Compare(b.Slot), cmp.Compare(a.MonitorID, b.MonitorID))
	})
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()

	var transitions []Transition
	unseen, retries := r.shown.unseen(batch), r.retries
	err := pgx.BeginFunc(ctx, r.Conn, func(tx pgx.Tx) error {
		if err := r.refuseDropped(ctx, db.New(tx), scans[0].Slot); err != nil {
			return err
		}
		inserted, err := insert(ctx, db.New(tx), scans)
		if err != nil {
			return fmt.Errorf("insert scans: %w", err)
		}
		if transitions, err = r.settle(ctx, tx, inserted); err != nil {
			return err
		}
		return insertCertificates(ctx, db.New(tx), unseen, r.Now())
	})
	if err != nil {
		r.retries = retries // none was asked for
		return err
	}
	r.metrics.retriesLeftOut.Add(float64(r.retries.refused))
	r.retries.refused = 0
	r.shown.add(unseen)
	if r.Committed != nil {
		r.Committed(scans, transitions)
	}
	Log(ctx, r.Logger, transitions)
	return nil
}
