package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
// which is over when their next slot comes, or whose scan or result was lost through a fault of ours, are declared as gaps.
func (w *roundWorker) scanAll(
	ctx context.Context, args queue.RoundArgs, watched []monitors.Monitor, nextSlot time.Time,
) (roundOutput, error) {
	t := tally{gaps: map[uptime.GapReason][]int64{}, output: roundOutput{FailedIDs: []int64{}}}
	began := time.Now()
	over := began.Add(w.startWithin)
	if over.After(nextSlot) {
		over = nextSlot
	}
	startCtx, cancel := context.WithDeadline(ctx, over)
	defer cancel()

	// Lest a worker that is overloaded leave out the same ones each time.
	rand.Shuffle(len(watched), func(i, j int) { //nolint:gosec // for fairness
		watched[i], watched[j] = watched[j], watched[i]
	})
	var open sync.WaitGroup
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
	defer func() {
		if p := recover(); p != nil {
			w.logger.ErrorContext(ctx, "panic in a scan", slog.Int64("monitor_id", monitor.ID),
				slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			t.note(monitor.ID, "", uptime.InternalError)
		}
	}()

	gap := uptime.InternalError // until it is known better
	outcome, err := w.scan(ctx, startCtx, monitor, slot, queue.ReasonRound)
	switch {
	case err == nil:
		gap = ""
	case errors.Is(err, record.ErrClosed), errors.Is(err, errNotBegun) && wait.Over(ctx): // the process stops, or stood still for long
		gap = uptime.WorkerLost
	case errors.Is(err, errNotBegun), errors.Is(err, record.ErrNoRoom):
		gap = uptime.Overloaded
	}
	t.note(monitor.ID, outcome, gap)
}
