// Package jobs holds the work that River hands to workers: rounds, which scan the monitors of one interval and phase at
// one slot; scans, which look at one monitor now; tend, which finds what was forgotten. Changes of monitors are here as
// well, because a monitor's row, its promise and its jobs share a transaction.
package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
)

// Queue inserts jobs.
type Queue = *river.Client[pgx.Tx]

// The names of River's queues.
const (
	queueRounds = "rounds"
	queueScans  = "scans"
	queueUpkeep = "upkeep"
)

const (
	// A round ends within the longest timeout of a probe (30 s), the moments over which it spreads its starts, and the
	// time that a probe may have to wait for its turn (startWithin).
	jobTimeout = 45 * time.Second
	// River's default of an hour would leave the monitors of a dead worker unwatched for as long.
	rescueAfter = 60 * time.Second
	// So that River UI has a past to show, and the table stays small.
	completedFor = time.Hour
	// How late a round may be found. Rounds are few, so that asking often is cheap.
	fetchPollInterval = 150 * time.Millisecond
	fetchCooldown     = 50 * time.Millisecond
	// A round mostly waits for its targets, so that many may be open at once: probes in flight are limited elsewhere.
	maxRounds = 1000
	maxScans  = 200
)

// NewQueue makes a client that inserts jobs and works none: it is never River's leader.
func NewQueue(pool *pgxpool.Pool, logger *slog.Logger, middleware ...rivertype.Middleware) (Queue, error) {
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Logger:     logger,
		Hooks:      []rivertype.Hook{&startOnTime{}},
		Middleware: middleware,
	})
	if err != nil {
		return nil, fmt.Errorf("make the queue: %w", err)
	}
	return client, nil
}

// Start starts the client that works all kinds of jobs. When ctx is done it takes no new job and lets open ones finish,
// for softStop at most; Stopped tells when they have.
func Start(
	ctx context.Context, pool *pgxpool.Pool, scanner *Scanner, softStop time.Duration, logger *slog.Logger,
) (Queue, error) {
	workers := river.NewWorkers()
	err := errors.Join(
		river.AddWorkerSafely(workers, &RoundWorker{Scanner: scanner}),
		river.AddWorkerSafely(workers, &ScanWorker{Scanner: scanner}),
		river.AddWorkerSafely(workers, &TendWorker{
			Conn: pool, Queue: scanner.Queue, Logger: logger, Now: scanner.Now, Metrics: scanner.Recorder.metrics,
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("register the workers: %w", err)
	}

	driver := gatedDriver{riverpgxv5.New(pool), scanner.mayTake}
	client, err := river.NewClient(driver, &river.Config{
		ID:                          scanner.Worker, // short: River keeps it with every attempt
		Logger:                      logger,
		Workers:                     workers,
		Hooks:                       []rivertype.Hook{&startOnTime{}},
		Middleware:                  scanner.Recorder.Traces.Middleware(),
		JobTimeout:                  jobTimeout,
		RescueStuckJobsAfter:        rescueAfter,
		CompletedJobRetentionPeriod: completedFor,
		RetryPolicy:                 retrySoon{},
		SoftStopTimeout:             softStop,
		FetchOnlyKnownKinds:         true, // in a rolling deploy: what only a newer program knows waits for one
		FetchPollInterval:           fetchPollInterval,
		FetchCooldown:               fetchCooldown,
		Queues: map[string]river.QueueConfig{
			queueRounds: {MaxWorkers: maxRounds},
			queueScans:  {MaxWorkers: maxScans},
			queueUpkeep: {MaxWorkers: 2},
		},
		PeriodicJobs: []*river.PeriodicJob{
			river.NewPeriodicJob(river.PeriodicInterval(time.Minute),
				func() (river.JobArgs, *river.InsertOpts) { return TendArgs{}, nil },
				&river.PeriodicJobOpts{ID: "tend", RunOnStart: true}),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make the River client: %w", err)
	}
	if err := client.Start(ctx); err != nil {
		return nil, fmt.Errorf("start the River client: %w", err)
	}
	return client, nil
}

// gatedDriver is River's driver, except that a worker is handed no rounds and no scans unless it may take them: they stay for
// others. Nothing else of the queue knows, so that jobs under way go on, and the worker is back at once.
// River's own ways are to pause a queue, for all workers, or to remove it, which waits until its last job has ended.
type gatedDriver struct {
	*riverpgxv5.Driver

	mayTake func() bool
}

// GetExecutor implements riverdriver.Driver.
func (d gatedDriver) GetExecutor() riverdriver.Executor {
	return gatedExecutor{d.Driver.GetExecutor(), d.mayTake}
}

type gatedExecutor struct {
	riverdriver.Executor

	mayTake func() bool
}

// JobGetAvailable implements riverdriver.Executor.
func (e gatedExecutor) JobGetAvailable(
	ctx context.Context, params *riverdriver.JobGetAvailableParams,
) (*riverdriver.JobGetAvailableResult, error) {
	if params.Queue != queueUpkeep && !e.mayTake() {
		return &riverdriver.JobGetAvailableResult{}, nil
	}
	return e.Executor.JobGetAvailable(ctx, params) //nolint:wrapcheck // River's own
}

// startOnTime inserts jobs of the future as available instead of scheduled. The query that fetches jobs waits for
// scheduled_at anyway, whereas River moves scheduled jobs to available on its leader alone, every 5 s, and not at all
// for up to 20 s after a leader died.
type startOnTime struct{ river.HookDefaults }

// InsertBegin implements rivertype.HookInsertBegin.
func (*startOnTime) InsertBegin(_ context.Context, params *rivertype.JobInsertParams) error {
	if params.State == rivertype.JobStateScheduled {
		params.State = rivertype.JobStateAvailable
	}
	return nil
}

// retrySoon tries a job again after 1 s, 2 s, 4 s… and at most 30 s: a round is soon too late to be of use.
type retrySoon struct{}

// NextRetry implements river.ClientRetryPolicy.
func (retrySoon) NextRetry(job *rivertype.JobRow) time.Time {
	wait := min(30*time.Second, time.Second<<min(max(job.Attempt-1, 0), 5))
	return time.Now().UTC().Add(wait)
}
