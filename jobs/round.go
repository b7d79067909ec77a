package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"riverwatch/db"
	"riverwatch/monitors"
	"riverwatch/queue"
	"riverwatch/record"
	"riverwatch/uptime"
	"riverwatch/wait"
)

const (
	// So long before its slot a round asks for its monitors: at the slot itself, all rounds of the fleet and the scans of
	// those that have their answer already keep the machine busy. A later change counts from the next slot on.
	loadLead = 100 * time.Millisecond
	// River leaves a job available that snoozes for less than 5 s. Others it wakes every 5 s, all at once.
	snoozeStep = 4 * time.Second
)

// databaseAway begins the text of an attempt's error, which River keeps, if it was for want of the database.
const databaseAway = "the database was away"

// roundWorker works rounds.
type roundWorker struct {
	river.WorkerDefaults[queue.RoundArgs]
	*scanner

	queue queue.Queue
}

// Work scans the round's monitors at its slot, after it has made sure of the next rounds. A round that comes when its slot
// is no longer the present one scans nothing, and declares what was missed.
func (w *roundWorker) Work(ctx context.Context, job *river.Job[queue.RoundArgs]) (err error) {
	defer func() {
		if db.TroubleOf(err) == db.TroubleAway {
			err = fmt.Errorf("%s: %w", databaseAway, err)
		}
	}()
	round := roundOf(job)
	now, err := w.nowFor(ctx, round)
	if err != nil {
		return err
	}
	switch step, until := round.Step(now); step {
	case uptime.DeclareGaps:
		return w.declareMissed(ctx, job, round.Missed(now, w.limiter.wasFullSince(round.Slot), whyAgain(job)))
	case uptime.LetWait:
		err := river.RecordOutput(ctx, putOff{until})
		return errors.Join(err, river.JobSnooze(min(until.Sub(now), snoozeStep)))
	case uptime.GiveBack:
		return river.JobSnooze(until.Sub(now))
	case uptime.ScanSlot:
	}

	slot := time.Now().Add(round.Slot.Sub(now)) // by the clock that only goes forward
	share, err := w.begin(ctx, job)
	if db.TroubleOf(err) == db.TroubleRetry {
		w.logger.WarnContext(ctx, "round waits for others", slog.Any("error", err))
		return river.JobSnooze(0) // it has asked nothing of anybody: this was no attempt, and nothing need be declared
	}
	if err != nil {
		return fmt.Errorf("begin the round: %w", err)
	}
	if !wait.For(ctx, time.Until(slot.Add(-loadLead))) {
		return fmt.Errorf("wait for the slot: %w", ctx.Err())
	}
	watched, err := w.load(ctx, job, share)
	if err != nil {
		return err
	}
	if !wait.For(ctx, time.Until(slot)) {
		return fmt.Errorf("wait for the slot: %w", ctx.Err())
	}
	nextSlot := round.Schedule.Next(slot)
	if !time.Now().Before(nextSlot) { // whoever was edited meanwhile is not among those that were loaded
		return w.declareMissed(ctx, job, round.StoodStill())
	}
	output, err := w.scanAll(ctx, job.Args, watched, nextSlot)
	return errors.Join(err, river.RecordOutput(ctx, output))
}

// putOff is what River keeps with a round that waits, and River UI shows.
type putOff struct {
	Until time.Time `json:"deferred_until"`
}

// roundOf gives what the rules ask of a round's job.
func roundOf(job *river.Job[queue.RoundArgs]) uptime.Round {
	var noted putOff
	_ = json.Unmarshal(job.Output(), &noted) // it may have none, or another one
	return uptime.Round{
		Schedule: job.Args.Schedule(), Slot: job.Args.Slot, Attempt: job.Attempt, Sibling: job.Args.Part != 0,
		Due: job.ScheduledAt, PutOff: noted.Until,
	}
}

// nowFor gives the time at which a round is judged: that of this process, unless there is reason to doubt it.
func (w *roundWorker) nowFor(ctx context.Context, round uptime.Round) (time.Time, error) {
	ours := w.now()
	if !round.Doubts(ours) {
		return ours, nil
	}
	theirs, err := db.New(w.conn).DatabaseNow(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask the database for the time: %w", err)
	}
	return round.Believe(ours, theirs), nil
}

// share says which monitors of a round a job scans; the zero share, none.
type share struct {
	whole bool   // all of them
	part  *int64 // those of a block of ids that have no row for the slot
}

// begin makes sure of what follows, and gives the share of the round that this job scans. From here on this worker may
// die: only this slot is at stake. Nobody is promised this slot any more; whose promise is withdrawn before it comes is
// not scanned. Without an active monitor the chain of rounds ends.
//
// A round with many monitors is shared: a sibling for each block of ids. A second attempt always is, and asks for those
// without a row: whether the first one scanned all monitors itself or handed parts out, no monitor is then scanned by two.
func (w *roundWorker) begin(ctx context.Context, job *river.Job[queue.RoundArgs]) (mine share, err error) {
	args := job.Args
	if args.Part != 0 {
		return share{part: &args.Part}, nil
	}
	err = db.InTx(ctx, w.conn, func(tx pgx.Tx) error {
		queries := db.New(tx)
		// Whoever promises this slot now is waited for, and his monitor is seen.
		if err := queries.LockRound(ctx, db.LockRoundParams{IntervalSeconds: args.Interval, PhaseMS: args.PhaseMS}); err != nil {
			return fmt.Errorf("lock the round: %w", err)
		}
		count, err := queries.CountRoundMonitors(ctx, db.CountRoundMonitorsParams{
			IntervalSeconds: args.Interval, PhaseMS: args.PhaseMS, AtMost: queue.RoundSize + 1,
		})
		if err != nil {
			return fmt.Errorf("count monitors: %w", err)
		}
		if count == 0 {
			return nil
		}
		if job.Attempt == 1 && count <= queue.RoundSize {
			mine = share{whole: true}
			return w.insertFollowers(ctx, tx, job, nil)
		}
		parts, err := queries.ListRoundParts(ctx, db.ListRoundPartsParams{
			IntervalSeconds: args.Interval, PhaseMS: args.PhaseMS, PartWidth: args.PartWidth(),
		})
		if err != nil {
			return fmt.Errorf("list parts: %w", err)
		}
		mine = share{part: &args.Part}
		return w.insertFollowers(ctx, tx, job, parts)
	})
	return mine, err
}

// insertFollowers inserts the rounds of the next slots, and the siblings that scan the other parts of this one.
func (w *roundWorker) insertFollowers(
	ctx context.Context, tx pgx.Tx, job *river.Job[queue.RoundArgs], parts []int64,
) error {
	args, schedule := job.Args, job.Args.Schedule()
	var followers []river.InsertManyParams
	slot := args.Slot
	for range uptime.RoundsAhead {
		slot = schedule.Next(slot)
		followers = append(followers, queue.Round(schedule, slot))
	}
	for _, part := range parts {
		if part != 0 {
			sibling := args
			sibling.Part = part
			if again(job) {
				sibling.Again = whyAgain(job)
			}
			followers = append(followers, river.InsertManyParams{Args: sibling})
		}
	}
	if _, err := w.queue.InsertManyTx(ctx, tx, followers); err != nil {
		return fmt.Errorf("insert the next rounds: %w", err)
	}
	return nil
}

// load gives the monitors to scan, with their secrets. It declares the slot of those that cannot be scanned: whose row
// makes no sense, or, when the round is tried again, whose request must not be made twice, as the worker that died may
// have made it.
func (w *roundWorker) load(
	ctx context.Context, job *river.Job[queue.RoundArgs], mine share,
) (watched []monitors.Monitor, err error) {
	args, queries := job.Args, db.New(w.conn)
	var rows []db.Monitor
	switch {
	case mine.whole:
		rows, err = queries.ListRoundMonitors(ctx, db.ListRoundMonitorsParams{
			IntervalSeconds: args.Interval, PhaseMS: args.PhaseMS, Slot: args.Slot,
		})
	case mine.part != nil:
		rows, err = queries.ListUnscannedRoundMonitors(ctx, db.ListUnscannedRoundMonitorsParams{
			IntervalSeconds: args.Interval, PhaseMS: args.PhaseMS, Slot: args.Slot,
			SinceID: *mine.part * args.PartWidth(), UntilID: (*mine.part + 1) * args.PartWidth(),
		})
	}
	if err != nil {
		return nil, fmt.Errorf("list monitors: %w", err)
	}
	secrets, err := monitors.Secrets(ctx, queries, rows...)
	if err != nil {
		return nil, err
	}

	missed := map[uptime.GapReason][]int64{}
	for _, row := range rows {
		monitor, err := monitors.Of(row, secrets[row.ID])
		switch {
		case err != nil:
			w.logger.ErrorContext(ctx, "monitor cannot be read", slog.Int64("monitor_id", row.ID), slog.Any("error", err))
			missed[uptime.InternalError] = append(missed[uptime.InternalError], row.ID)
		case again(job) && !monitor.Target().MayRepeat():
			missed[whyAgain(job)] = append(missed[whyAgain(job)], row.ID)
		default:
			watched = append(watched, monitor)
		}
	}
	return watched, w.declareFor(ctx, args, missed)
}

// declareFor declares the slot of a round for some of its monitors, and counts them.
func (w *roundWorker) declareFor(ctx context.Context, args queue.RoundArgs, missed map[uptime.GapReason][]int64) (err error) {
	for reason, ids := range missed {
		w.metrics.missed.WithLabelValues(string(reason)).Add(float64(len(ids)))
		gap := record.Gap{Schedule: args.Schedule(), From: args.Slot, To: args.Slot, Reason: reason}
		err = errors.Join(err, gap.DeclareFor(ctx, db.New(w.conn), w.now(), ids...))
	}
	return err
}

// declareMissed declares the slots that this round should have scanned, and sees to it that the chain goes on.
func (w *roundWorker) declareMissed(ctx context.Context, job *river.Job[queue.RoundArgs], missed uptime.Missed) error {
	args := job.Args
	gap := record.Gap{Schedule: args.Schedule(), From: args.Slot, To: missed.To, Reason: missed.Reason}
	var declared *db.DeclareGapRow
	err := db.InTx(ctx, w.conn, func(tx pgx.Tx) (err error) {
		queries := db.New(tx)
		// Another late round of the chain is waited for, lest both declare the same slots.
		if err := queries.LockRound(ctx, db.LockRoundParams{IntervalSeconds: args.Interval, PhaseMS: args.PhaseMS}); err != nil {
			return fmt.Errorf("lock the round: %w", err)
		}
		if declared, err = gap.Declare(ctx, queries, w.now()); err != nil {
			return err
		}
		next := queue.RoundAt(args.Schedule(), missed.Next, missed.Begins)
		if _, err := w.queue.InsertManyTx(ctx, tx, []river.InsertManyParams{next}); err != nil {
			return fmt.Errorf("insert the next round: %w", err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("declare missed slots: %w", err)
	}
	if declared == nil {
		return river.RecordOutput(ctx, map[string]any{"gap": ""}) // all is accounted for
	}
	w.metrics.missed.WithLabelValues(string(missed.Reason)).Inc()
	return river.RecordOutput(ctx, map[string]any{
		"gap": missed.Reason, "from_slot": declared.FromSlot, "to_slot": declared.ToSlot,
	})
}

// again reports whether an attempt before this one may have made requests already: of the job, or of the round that
// handed a part to it.
func again(job *river.Job[queue.RoundArgs]) bool { return job.Attempt > 1 || job.Args.Again != "" }

// whyAgain says why a job runs again: River notes it when it takes a job from a worker that has not been heard of.
func whyAgain(job *river.Job[queue.RoundArgs]) uptime.GapReason {
	if len(job.Errors) == 0 {
		return cmp.Or(job.Args.Again, uptime.ServiceDown)
	}
	last := job.Errors[len(job.Errors)-1].Error
	switch {
	case strings.Contains(last, "rescued"):
		return uptime.WorkerLost
	case strings.HasPrefix(last, databaseAway):
		return uptime.ServiceDown
	default:
		return uptime.InternalError
	}
}
