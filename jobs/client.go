package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"riverwatch/queue"
)

const (
	// A round ends within the longest timeout of a probe (30 s), the moments over which it spreads its starts, and the
	// time that a probe may have to wait for its turn (startWithin).
	jobTimeout = 45 * time.Second
	// River's default of an hour would leave the monitors of a dead worker unwatched for as long.
	rescueAfter = 60 * time.Second
	// So that River UI has a past to show, and the table stays small.
	completedFor = time.Hour
	// How late a job of the future may be found: one whose time has come is told of. To ask is most of what a worker with few
	// monitors costs, and so nobody asks oftener than he must. A round has half a second until its slot (uptime.RoundLead),
	// and a second look waits for seconds.
	pollRounds    = 200 * time.Millisecond
	pollScans     = 400 * time.Millisecond
	pollUpkeep    = 5 * time.Second
	fetchCooldown = 50 * time.Millisecond
	// A round mostly waits for its targets, so that many may be open at once: probes in flight are limited elsewhere.
	maxRounds = 1000
	maxScans  = 200
)

// newClient makes River's client of a worker, of which config says what differs between workers.
func newClient(
	pool *pgxpool.Pool, workers *river.Workers, mayTake func(queueName string) bool, late *backlog, config *river.Config,
) (queue.Queue, error) {
	config.Workers = workers
	config.Hooks = queue.Hooks()
	config.JobTimeout = jobTimeout
	config.RescueStuckJobsAfter = rescueAfter
	config.CompletedJobRetentionPeriod = completedFor
	config.RetryPolicy = retrySoon{}
	config.FetchOnlyKnownKinds = true // in a rolling deploy: what only a newer program knows waits for one
	config.FetchCooldown = fetchCooldown
	config.Queues = map[string]river.QueueConfig{
		queue.Rounds: {MaxWorkers: maxRounds, FetchPollInterval: pollRounds},
		queue.Scans:  {MaxWorkers: maxScans, FetchPollInterval: pollScans},
		queue.Upkeep: {MaxWorkers: 3, FetchPollInterval: pollUpkeep}, // one for each kind
	}
	periodic := func(args river.JobArgs, tick time.Duration) *river.PeriodicJob {
		return river.NewPeriodicJob(river.PeriodicInterval(tick), func() (river.JobArgs, *river.InsertOpts) { return args, nil },
			&river.PeriodicJobOpts{ID: args.Kind(), RunOnStart: true})
	}
	config.PeriodicJobs = []*river.PeriodicJob{
		periodic(queue.TendArgs{}, time.Minute), periodic(queue.HistoryArgs{}, time.Minute), periodic(queue.SealArgs{}, sealTick),
	}
	client, err := river.NewClient(gatedDriver{riverpgxv5.New(pool), mayTake, late}, config)
	if err != nil {
		return nil, fmt.Errorf("make the River client: %w", err)
	}
	return client, nil
}

// gatedDriver is River's driver, except that a worker is handed no jobs of a queue unless it may take them: they stay for
// others; and rounds of now are put before those that have waited ([backlog]). Nothing else of the queue knows, so that jobs
// under way go on, and the worker is back at once.
// River's own ways are to pause a queue, for all workers, or to remove it, which waits until its last job has ended.
//
// River calls its driver's interfaces unstable, and they are not meant to be implemented: a way to fetch that is new would
// pass the gate in silence. Two tests notice, WhoHasTooMuchToDoTakesNothing and ABlindWorkerTakesNothingAndTakesBackWhatItWrote.
type gatedDriver struct {
	*riverpgxv5.Driver

	mayTake func(queueName string) bool
	late    *backlog
}

// GetExecutor implements riverdriver.Driver.
func (d gatedDriver) GetExecutor() riverdriver.Executor {
	return gatedExecutor{d.Driver.GetExecutor(), d.mayTake, d.late}
}

type gatedExecutor struct {
	riverdriver.Executor

	mayTake func(queueName string) bool
	late    *backlog
}

// JobGetAvailable implements riverdriver.Executor.
func (e gatedExecutor) JobGetAvailable(
	ctx context.Context, params *riverdriver.JobGetAvailableParams,
) (*riverdriver.JobGetAvailableResult, error) {
	if !e.mayTake(params.Queue) {
		return &riverdriver.JobGetAvailableResult{}, nil
	}
	if params.Queue != queue.Rounds {
		return e.Executor.JobGetAvailable(ctx, params) //nolint:wrapcheck // River's own
	}
	atMost, err := e.late.freshFirst(ctx, params.MaxToLock)
	if err != nil {
		return nil, err
	}
	rounds := *params
	rounds.MaxToLock = atMost
	result, err := e.Executor.JobGetAvailable(ctx, &rounds)
	if err == nil {
		e.late.note(result.Jobs, len(result.Jobs) < atMost)
	}
	return result, err //nolint:wrapcheck // River's own
}

// retrySoon tries a job again after 1 s, 2 s, 4 s… and at most 30 s: a round is soon too late to be of use.
type retrySoon struct{}

// NextRetry implements river.ClientRetryPolicy.
func (retrySoon) NextRetry(job *rivertype.JobRow) time.Time {
	wait := min(30*time.Second, time.Second<<min(max(job.Attempt-1, 0), 5))
	return time.Now().UTC().Add(wait)
}
