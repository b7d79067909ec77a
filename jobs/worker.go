// Package jobs works River's jobs, one file for each kind: rounds, scans, tend. A Worker is all that a process needs to
// scan; any number of them share a database, and the scans.
package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"riverwatch/history"
	"riverwatch/queue"
	"riverwatch/record"
	"riverwatch/sight"
	"riverwatch/wait"
)

const (
	// When its soft stop is over, open scans are cut short, and have so long to be recorded…
	recordWithin = 2 * time.Second
	// …and River's client so long to end, though the database is away.
	closeWithin = 2 * time.Second
)

// Config is what a worker works with.
type Config struct {
	Pool      *pgxpool.Pool
	Name      string // this process, in the log and in River's attempted_by; short, as each row of the log has it
	Prober    Prober
	Limits    Limits
	Sentinels []string // URLs by which to see the network, in normal form; none: the hosts of monitors
	Keep      history.Keep
	SoftStop  time.Duration // how long open scans may go on when the worker is told to stop
	Now       func() time.Time
	Logger    *slog.Logger
	Quiet     *slog.Logger // River's own
	Registry  prometheus.Registerer
	Traces    trace.TracerProvider // nil: none
}

// A Worker scans monitors, together with all others on its database.
type Worker struct {
	Config

	queue    queue.Queue
	recorder *record.Recorder
	sight    *sight.Sight
	scanner  *scanner
	rounds   *roundWorker
	scans    *scanWorker
	tend     *tendWorker
	history  *historyWorker
	seal     *sealWorker
	late     *backlog
}

// NewWorker makes a worker that works while its Run does.
func NewWorker(config Config) (*Worker, error) {
	inserts, err := queue.New(config.Pool, config.Quiet, config.Traces)
	if err != nil {
		return nil, fmt.Errorf("make a worker: %w", err)
	}
	w := &Worker{Config: config, queue: inserts}
	w.sight = sight.New(sight.Config{
		Conn: config.Pool, Queue: inserts, Prober: config.Prober, Sentinels: config.Sentinels, Worker: config.Name,
		Now: config.Now, Logger: config.Logger,
	})
	w.recorder = record.NewRecorder(record.Config{
		Conn: config.Pool, Queue: inserts, Kept: config.Limits.Results, Retries: config.Limits.Retries, Now: config.Now, Logger: config.Logger,
		Registry: config.Registry, Traces: config.Traces, Committed: w.sight.Recorded,
	})
	traces := config.Traces
	if traces == nil {
		traces = noop.NewTracerProvider()
	}
	metrics := newMetrics(config.Registry)
	w.scanner = &scanner{
		conn: config.Pool, prober: config.Prober, recorder: w.recorder, sight: w.sight, name: config.Name, now: config.Now,
		logger: config.Logger, metrics: metrics, tracer: traces.Tracer("riverwatch/jobs"),
		limiter: newLimiter(config.Limits, metrics), startWithin: startWithin,
	}
	w.rounds = &roundWorker{scanner: w.scanner, queue: inserts}
	w.scans = &scanWorker{scanner: w.scanner, handOverWithin: handOverWithin}
	w.late = &backlog{scanner: w.scanner, queue: inserts}
	w.late.behind.Store(true)
	w.tend = &tendWorker{
		tend: Tend{Conn: config.Pool, Queue: inserts, Now: config.Now}, logger: config.Logger, metrics: metrics,
	}
	w.history = &historyWorker{conn: config.Pool, keep: config.Keep, now: config.Now}
	w.seal = &sealWorker{pool: config.Pool, now: config.Now, logger: config.Logger}
	return w, nil
}

// Run works jobs until ctx is done. Then it takes no new ones, and returns when open scans have ended and are recorded:
// within its SoftStop and 6 s. It fails if jobs are still open then, because the database is away.
func (w *Worker) Run(ctx context.Context) error {
	stopRecorder := wait.Beside(ctx, w.recorder.Run)
	defer stopRecorder()
	defer wait.Beside(ctx, w.scanner.announce)()
	defer wait.Beside(ctx, w.sight.Run)()
	defer wait.Beside(ctx, w.scanner.limiter.run)()
	defer wait.Beside(ctx, w.late.run)()
	client, err := w.start(ctx)
	if err != nil {
		return err
	}
	w.Logger.InfoContext(ctx, "worker started", slog.String("worker", w.Name))
	<-ctx.Done()
	w.Logger.InfoContext(ctx, "worker stops: open scans finish", slog.String("worker", w.Name))
	err = awaitStop(client.Stopped(), w.SoftStop, stopRecorder)
	w.Logger.InfoContext(ctx, "worker stopped", slog.String("worker", w.Name))
	return err
}

// start starts the client that works all kinds of jobs, until ctx is done.
func (w *Worker) start(ctx context.Context) (queue.Queue, error) {
	workers := river.NewWorkers()
	err := errors.Join(
		river.AddWorkerSafely(workers, w.rounds), river.AddWorkerSafely(workers, w.scans), river.AddWorkerSafely(workers, w.tend),
		river.AddWorkerSafely(workers, w.history), river.AddWorkerSafely(workers, w.seal),
	)
	if err != nil {
		return nil, fmt.Errorf("register the workers: %w", err)
	}
	client, err := newClient(w.Pool, workers, w.mayTake, w.late, &river.Config{
		ID:              w.Name,
		Logger:          w.Quiet,
		Middleware:      queue.Middleware(w.Traces),
		SoftStopTimeout: w.SoftStop,
	})
	if err != nil {
		return nil, err
	}
	if err := client.Start(ctx); err != nil {
		return nil, fmt.Errorf("start the River client: %w", err)
	}
	return client, nil
}

// mayTake reports whether this worker takes jobs of a queue.
func (w *Worker) mayTake(name string) bool {
	switch name {
	case queue.Rounds:
		return w.scanner.mayTake()
	case queue.Scans:
		return w.scanner.mayTake() && !w.scans.standsBack()
	default:
		return true
	}
}

// awaitStop waits for River's client. While the database is away neither its jobs nor those who wait for the recorder
// come to an end by themselves: the recorder is stopped first then, and what it held is a gap.
func awaitStop(stopped <-chan struct{}, softStop time.Duration, stopRecorder func()) error {
	select {
	case <-stopped:
		return nil
	case <-time.After(softStop + recordWithin):
		stopRecorder()
	}
	select {
	case <-stopped:
		return nil
	case <-time.After(closeWithin):
		return errors.New("stopped with jobs open: the database is away, and other workers will see to them")
	}
}
