package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"riverwatch/db"
	"riverwatch/uptime"
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

func (o *roundOutput) count(monitorID int64, outcome uptime.Outcome) {
	o.Scanned++
	switch {
	case outcome.Good():
		o.Good++
	case outcome.Failed():
		o.Failed++
		if len(o.FailedIDs) < listedFailures {
			o.FailedIDs = append(o.FailedIDs, monitorID)
		}
	default:
		o.Inconclusive++
	}
}

// tally gathers what came of the scans of a round.
type tally struct {
	mu     sync.Mutex
	output roundOutput
	gaps   map[string][]int64 // by reason
}

// scanAll scans monitors at a slot, and returns when every result is recorded. Monitors that could not be started in time,
// or whose scan or result was lost through a fault of ours, are declared as gaps.
func (s *Scanner) scanAll(ctx context.Context, args RoundArgs, monitors []watched) (roundOutput, error) {
	t := tally{gaps: map[string][]int64{}, output: roundOutput{FailedIDs: []int64{}}}
	startCtx, cancel := context.WithTimeout(ctx, s.startWithin)
	defer cancel()

	var open sync.WaitGroup
	began := time.Now()
	for i, monitor := range monitors {
		if i > 0 && i%startGroup == 0 {
			time.Sleep(time.Until(began.Add(time.Duration(i/startGroup) * startTick)))
		}
		open.Go(func() { s.scanOne(ctx, startCtx, monitor, args.Slot, &t) })
	}
	open.Wait()

	return t.output, s.declareAll(ctx, args, &t)
}

// scanOne waits for the monitor's turn until startCtx ends, scans it, and notes what came of it.
func (s *Scanner) scanOne(ctx, startCtx context.Context, monitor watched, slot time.Time, t *tally) {
	outcome, gap := s.tryScan(ctx, startCtx, monitor, slot)

	t.mu.Lock()
	defer t.mu.Unlock()
	if gap != "" {
		t.gaps[gap] = append(t.gaps[gap], monitor.ID)
		t.output.Gaps++
		return
	}
	t.output.count(monitor.ID, outcome)
}

// tryScan gives the outcome of a scan that is recorded, or else the reason why there is none.
func (s *Scanner) tryScan(
	ctx, startCtx context.Context, monitor watched, slot time.Time,
) (outcome uptime.Outcome, gap string) {
	defer func() {
		if p := recover(); p != nil {
			s.Recorder.logger.ErrorContext(ctx, "panic in a scan", slog.Int64("monitor_id", monitor.ID),
				slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			gap = gapInternalError
		}
	}()

	release, err := s.await(startCtx, monitor.Monitor)
	switch {
	case err == nil:
	case over(ctx): // the process stops, or stood still for long
		return "", gapWorkerLost
	case over(startCtx):
		return "", gapOverloaded
	default:
		return "", gapInternalError
	}
	defer release()
	outcome, err = s.scan(ctx, monitor, slot, ReasonRound)
	switch {
	case errors.Is(err, errNoRoom):
		return "", gapOverloaded
	case errors.Is(err, errClosed):
		return "", gapWorkerLost
	case err != nil:
		return "", gapInternalError
	}
	return outcome, ""
}

// declareAll declares the gaps of a round, also when it was cancelled.
func (s *Scanner) declareAll(ctx context.Context, args RoundArgs, t *tally) error {
	if len(t.gaps) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	var errs error
	for reason, ids := range t.gaps {
		s.Recorder.metrics.missed.WithLabelValues(reason).Add(float64(len(ids)))
		err := declareMonitorGaps(ctx, db.New(s.Conn), args.schedule(), args.Slot, reason, s.Now(), ids...)
		errs = errors.Join(errs, err)
	}
	if errs != nil {
		return fmt.Errorf("declare what the round left out: %w", errs)
	}
	return nil
}
