package jobs

import (
	"context"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"riverwatch/db"
	"riverwatch/queue"
	"riverwatch/record"
	"riverwatch/sight"
)

// Queue is what the worker inserts jobs with.
func (w *Worker) Queue() queue.Queue { return w.queue }

// Recorder is the worker's.
func (w *Worker) Recorder() *record.Recorder { return w.recorder }

// Sight is the worker's.
func (w *Worker) Sight() *sight.Sight { return w.sight }

// RoundWorker works rounds.
func (w *Worker) RoundWorker() river.Worker[queue.RoundArgs] { return w.rounds }

// ScanWorker works scans outside rounds.
func (w *Worker) ScanWorker() river.Worker[queue.ScanArgs] { return w.scans }

// TendWorker works tend.
func (w *Worker) TendWorker() river.Worker[queue.TendArgs] { return w.tend }

// HistoryWorker works the upkeep of the log.
func (w *Worker) HistoryWorker() river.Worker[queue.HistoryArgs] { return w.history }

// Start starts River's client, until ctx is done.
func (w *Worker) Start(ctx context.Context) (queue.Queue, error) { return w.start(ctx) }

// Announce announces the worker until ctx is done.
func (w *Worker) Announce(ctx context.Context) { w.scanner.announce(ctx) }

// Workers is how many workers share the places at a host.
func (w *Worker) Workers() int { return int(w.scanner.limiter.workers.Load()) }

// SetHandOverWithin sets for how long the worker takes no scans when it has given one back for others.
func (w *Worker) SetHandOverWithin(d time.Duration) { w.scans.handOverWithin = d }

// DeclareBacklog declares the rounds that have waited longest, as far as they are stale, and gives how many there were.
func (w *Worker) DeclareBacklog(ctx context.Context) (int, error) { return w.late.declarePage(ctx) }

// Fetch takes rounds as River does, so many at most.
func (w *Worker) Fetch(ctx context.Context, atMost int) ([]*rivertype.JobRow, error) {
	driver := gatedDriver{riverpgxv5.New(w.Pool), w.mayTake, w.late}
	result, err := driver.GetExecutor().JobGetAvailable(ctx, &riverdriver.JobGetAvailableParams{
		ClientID: w.Name, MaxAttemptedBy: 10, MaxToLock: atMost, Queue: queue.Rounds,
	})
	if err != nil {
		return nil, err
	}
	return result.Jobs, nil
}

// SetProber makes others do the probing.
func (w *Worker) SetProber(prober Prober) { w.scanner.prober = prober }

// SetStartWithin sets how long a probe may wait for its turn.
func (w *Worker) SetStartWithin(d time.Duration) { w.scanner.startWithin = d }

// SetMaxWaiting sets how many scans may wait before the worker takes no other rounds.
func (w *Worker) SetMaxWaiting(n int) { w.scanner.limiter.maxWaiting = n }

// WasFull says that too many scans waited at an instant.
func (w *Worker) WasFull(at time.Time) { w.scanner.limiter.fullAt.Store(at.UnixNano()) }

// WaitForPlace is how many scans wait for a place in the process.
func (w *Worker) WaitForPlace() int { return w.scanner.limiter.waiting() }

// RetryAfter is when a job is tried again whose attempt failed now.
func RetryAfter(attempt int) time.Time {
	return retrySoon{}.NextRetry(&rivertype.JobRow{Attempt: attempt})
}

// SetConn makes all that the worker does use another connection.
func (w *Worker) SetConn(conn db.Conn) { w.scanner.conn, w.tend.tend.Conn = conn, conn }
