package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"riverwatch/monitors"
	"riverwatch/queue"
	"riverwatch/record"
	"riverwatch/uptime"
	"riverwatch/wait"
)

const (
	listedFailures = 100 // ids in the output that River keeps with the job

	// The scans of a round start in groups, one each tick. A timer for each costs three times the CPU of the request. All
	// at once are late by less, but then each waits for the others, which is recorded as its target's latency.
	startGroup = 50
	startTick  = 10 * time.Millisecond
)

// roundOutput is what River records of a round, and River UI shows.
type roundOutput struct {
	Scanned      int     `json:"scanned"`
	Good         int     `json:"good"`
	Failed       int     `json:"failed"`
	Inconclusive int     `json:"inconclusive"` // told nothing of the target
	Gaps         int     `json:"gaps"`         // not scanned, or not recorded, and so declared
	FailedIDs    []int64 `json:"failed_ids"`   // the first 100
}

// tally gathers what came of the scans of a round.
type tally struct {
	mu     sync.Mutex
	output roundOutput
	gaps   map[uptime.GapReason][]int64
}

// note takes in what came of a scan, or why there was none.
func (t *tally) note(monitorID int64, outcome uptime.Outcome, gap uptime.GapReason) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if gap != "" {
		t.gaps[gap] = append(t.gaps[gap], monitorID)
		t.output.Gaps++
		return
	}
	t.output.Scanned++
	switch {
	case outcome.Good():
		t.output.Good++
	case outcome.Failed():
		t.output.Failed++
		if len(t.output.FailedIDs) < listedFailures {
			t.output.FailedIDs = append(t.output.FailedIDs, monitorID)
		}
	default:
		t.output.Inconclusive++
	}
}

// scanAll scans monitors at a slot, and returns when every result is recorded. Monitors that could not be started in time,
// or whose scan or result was lost through a fault of ours, are declared as gaps.
func (w *roundWorker) scanAll(ctx context.Context, args queue.RoundArgs, watched []monitors.Monitor) (roundOutput, error) {
	t := tally{gaps: map[uptime.GapReason][]int64{}, output: roundOutput{FailedIDs: []int64{}}}
	startCtx, cancel := context.WithTimeout(ctx, w.startWithin)
	defer cancel()

	var open sync.WaitGroup
	began := time.Now()
	for i, monitor := range watched {
		if i > 0 && i%startGroup == 0 {
			time.Sleep(time.Until(began.Add(time.Duration(i/startGroup) * startTick)))
		}
		open.Go(func() { w.scanOne(ctx, startCtx, monitor, args.Slot, &t) })
	}
	open.Wait()

	// Gaps are declared also when the round was cancelled.
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), writeWithin)
	defer stop()
	if err := w.declareFor(ctx, args, t.gaps); err != nil {
		return t.output, fmt.Errorf("declare what the round left out: %w", err)
	}
	return t.output, nil
}

// scanOne waits for the monitor's turn until startCtx ends, scans it, and notes what came of it: its outcome once that is
// recorded, or else why there is none.
func (w *roundWorker) scanOne(ctx, startCtx context.Context, monitor monitors.Monitor, slot time.Time, t *tally) {
	var outcome uptime.Outcome
	gap := uptime.InternalError // until it is known better, and if the probe panics
	defer func() {
		if p := recover(); p != nil {
			w.logger.ErrorContext(ctx, "panic in a scan", slog.Int64("monitor_id", monitor.ID),
				slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
		}
		t.note(monitor.ID, outcome, gap)
	}()

	release, err := w.await(startCtx, monitor)
	switch {
	case err == nil:
	case wait.Over(ctx): // the process stops, or stood still for long
		gap = uptime.WorkerLost
		return
	case wait.Over(startCtx):
		gap = uptime.Overloaded
		return
	default:
		return
	}
	defer release()
	outcome, err = w.scan(ctx, monitor, slot, queue.ReasonRound)
	switch {
	case err == nil:
		gap = ""
	case errors.Is(err, record.ErrNoRoom):
		gap = uptime.Overloaded
	case errors.Is(err, record.ErrClosed):
		gap = uptime.WorkerLost
	}
}
