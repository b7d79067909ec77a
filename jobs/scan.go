package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"riverwatch/db"
	"riverwatch/monitors"
	"riverwatch/queue"
)

// A scan outside rounds that is not begun by then is no longer wanted: whoever asked has left, and a round has come.
const scanWithin = 2 * time.Minute

// For so long a worker takes no scans when it has given one back for others to take: they ask twice meanwhile.
const handOverWithin = 2 * pollScans

// scanWorker works scans outside rounds.
type scanWorker struct {
	river.WorkerDefaults[queue.ScanArgs]
	*scanner

	handOverWithin time.Duration
	handsOverUntil atomic.Int64 // Unix nanoseconds
}

// standsBack reports whether this worker takes no scans now, so that others do.
func (w *scanWorker) standsBack() bool { return time.Now().UnixNano() < w.handsOverUntil.Load() }

// isOthers reports whether a second look should be another worker's: this one had the first, there are others, and none of them
// was given the chance yet.
func (w *scanWorker) isOthers(job *river.Job[queue.ScanArgs]) bool {
	var metadata struct{ Snoozes int }
	_ = json.Unmarshal(job.Metadata, &metadata) // River's own
	return job.Args.LookedAtBy == w.name && w.limiter.workers.Load() > 1 && metadata.Snoozes == 0
}

// Work scans a monitor that somebody asked about, or that is in doubt since its last scan. A target that is down is a job well done:
// Work fails only if we do.
func (w *scanWorker) Work(ctx context.Context, job *river.Job[queue.ScanArgs]) error {
	if w.isOthers(job) {
		w.handsOverUntil.Store(time.Now().Add(w.handOverWithin).UnixNano())
		return river.JobSnooze(0)
	}
	args, queries := job.Args, db.New(w.conn)
	row, err := queries.GetMonitorWithState(ctx, args.MonitorID)
	if errors.Is(err, pgx.ErrNoRows) {
		return river.JobCancel(fmt.Errorf("monitor %d is gone", args.MonitorID))
	}
	if err != nil {
		return fmt.Errorf("get monitor %d: %w", args.MonitorID, err)
	}
	secrets, err := monitors.Secrets(ctx, queries, row.Monitor)
	if err != nil {
		return err
	}
	monitor, err := monitors.Of(row.Monitor, secrets[args.MonitorID])
	if err != nil {
		return river.JobCancel(err)
	}
	switch {
	case w.now().Sub(args.At) > scanWithin:
		return river.JobCancel(errors.New("too late"))
	case args.Reason == queue.ReasonRetry && !args.InPlaceOfBlind && !row.MonitorState.State().Doubtful():
		return river.JobCancel(errors.New("no longer in doubt"))
	case job.Attempt > 1 && !monitor.Target().MayRepeat():
		return river.JobCancel(errors.New("the request may have been made, and must not be made twice"))
	}

	startCtx, cancel := context.WithTimeout(ctx, w.startWithin)
	defer cancel()
	outcome, err := w.scan(ctx, startCtx, monitor, args.At, args.Reason)
	if err != nil {
		return err
	}
	return river.RecordOutput(ctx, map[string]any{"outcome": outcome})
}
