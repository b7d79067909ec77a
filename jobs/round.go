package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"riverwatch/db"
	"riverwatch/probe"
	"riverwatch/uptime"
)

// A round with more monitors than this hands the others to sibling jobs, so that other workers share them.
const roundSize = 500

// RoundArgs name the round of one interval and phase at one slot. They are unique for ever: a slot has at most one job.
type RoundArgs struct {
	Interval int       `json:"interval" river:"unique"` // seconds
	Phase    int       `json:"phase" river:"unique"`    // seconds
	Slot     time.Time `json:"slot" river:"unique"`

	// Part is 0 for the round itself, or else says which block of ids this sibling scans.
	Part int64 `json:"part,omitempty" river:"unique"`
	// Again says of a sibling why the round that handed it out ran again, if it did.
	Again string `json:"again,omitempty"`
}

// Kind implements river.JobArgs.
func (RoundArgs) Kind() string { return "round" }

// InsertOpts implements river.JobArgsWithInsertOpts. The slot is in the unique key, so that a round can insert its
// successor before it completes itself.
func (RoundArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		Queue:       queueRounds,
		MaxAttempts: 20,
		UniqueOpts:  river.UniqueOpts{ByArgs: true, ByState: rivertype.JobStates()},
	}
}

func (a RoundArgs) schedule() uptime.Schedule {
	return uptime.Schedule{Interval: a.Interval, Phase: a.Phase}
}

// partWidth is how many ids a part covers. It follows from the interval alone, so that a monitor belongs to the same
// part for ever, whoever asks: of so many consecutive ids with one interval, some roundSize have one phase.
func (a RoundArgs) partWidth() int64 { return int64(roundSize) * int64(a.Interval) }

// roundJob inserts the round of a slot, to start at an instant.
func roundJob(schedule uptime.Schedule, slot, start time.Time) river.InsertManyParams {
	return river.InsertManyParams{
		Args:       RoundArgs{Interval: schedule.Interval, Phase: schedule.Phase, Slot: slot},
		InsertOpts: &river.InsertOpts{ScheduledAt: start},
	}
}

// RoundWorker works rounds.
type RoundWorker struct {
	river.WorkerDefaults[RoundArgs]

	Scanner *Scanner
}

// Work scans the round's monitors, after it has made sure of the next round. A round that comes when its slot is no
// longer the present one scans nothing, and declares what was missed.
func (w *RoundWorker) Work(ctx context.Context, job *river.Job[RoundArgs]) error {
	s := w.Scanner
	now, err := s.nowFor(ctx, job.Args)
	if err != nil {
		return err
	}
	if job.Args.schedule().SlotAt(now).After(job.Args.Slot) {
		return s.declareMissed(ctx, job, now)
	}

	monitors, err := s.beginRound(ctx, job)
	if err != nil {
		return err
	}
	if again(job) {
		if monitors, err = s.withoutUnsafe(ctx, job, monitors); err != nil {
			return err
		}
	}
	withSecrets, err := s.withSecrets(ctx, monitors...)
	if err != nil {
		return err
	}
	output, err := s.scanAll(ctx, job.Args, withSecrets)
	return errors.Join(err, river.RecordOutput(ctx, output))
}

// nowFor gives the time at which a round is judged. That is the time of this process, unless by it the slot is not the
// present one. Then one of two clocks may be wrong, ours or that of the database, which found the round due: believed is
// the earlier one at which the slot has come. So a process whose clock is an hour ahead declares no hour as missed that
// is still to come; and if it is the database's clock that has jumped, its slots are left out, instead of scanned in a
// burst.
func (s *Scanner) nowFor(ctx context.Context, args RoundArgs) (time.Time, error) {
	now := s.Now()
	if args.schedule().SlotAt(now).Equal(args.Slot) {
		return now, nil
	}
	theirs, err := db.New(s.Conn).DatabaseNow(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask the database for the time: %w", err)
	}
	if now.Before(args.Slot) || !theirs.Before(args.Slot) && theirs.Before(now) {
		return theirs, nil
	}
	return now, nil
}

// again reports whether an attempt before this one may have made requests already: of the job, or of the round that
// handed a part to it.
func again(job *river.Job[RoundArgs]) bool { return job.Attempt > 1 || job.Args.Again != "" }

// beginRound gives the monitors to scan. In the same transaction it inserts the successor, so that from here on this
// worker may die: only this slot is at stake. Without an active monitor the chain of rounds ends.
func (s *Scanner) beginRound(ctx context.Context, job *river.Job[RoundArgs]) (monitors []db.Monitor, err error) {
	args := job.Args
	err = inTx(ctx, s.Conn, func(tx pgx.Tx) error {
		queries := db.New(tx)
		if args.Part != 0 {
			monitors, err = unscanned(ctx, queries, args)
			return err
		}

		// Whoever promises this slot now is waited for, and his monitor is seen.
		if err := queries.LockRound(ctx, db.LockRoundParams{IntervalSeconds: args.Interval, Phase: args.Phase}); err != nil {
			return fmt.Errorf("lock the round: %w", err)
		}
		var parts []int64
		if monitors, parts, err = shareOut(ctx, queries, job); err != nil || len(monitors)+len(parts) == 0 {
			return err
		}
		return s.insertFollowers(ctx, tx, job, parts)
	})
	if err != nil {
		return nil, fmt.Errorf("begin the round: %w", err)
	}
	return monitors, nil
}

// shareOut gives the monitors that the round scans itself, and the parts in which it has monitors, if it hands any out.
//
// A second attempt always goes by parts, and asks for those without a row: whether the first one scanned all monitors
// itself or handed parts out, no monitor is then scanned by two.
func shareOut(
	ctx context.Context, queries *db.Queries, job *river.Job[RoundArgs],
) (monitors []db.Monitor, parts []int64, err error) {
	args := job.Args
	round := db.ListRoundMonitorsParams{
		IntervalSeconds: args.Interval, Phase: args.Phase, Slot: args.Slot, SinceID: 0, UntilID: math.MaxInt64,
		PageSize: roundSize + 1,
	}
	if job.Attempt == 1 {
		if monitors, err = queries.ListRoundMonitors(ctx, round); err != nil {
			return nil, nil, fmt.Errorf("list monitors: %w", err)
		}
		if len(monitors) <= roundSize {
			return monitors, nil, nil
		}
	}

	parts, err = queries.ListRoundParts(ctx, db.ListRoundPartsParams{
		IntervalSeconds: args.Interval, Phase: args.Phase, PartWidth: args.partWidth(),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list parts: %w", err)
	}
	monitors, err = unscanned(ctx, queries, args)
	return monitors, parts, err
}

// unscanned gives the monitors of the part that have no row for the slot.
func unscanned(ctx context.Context, queries *db.Queries, args RoundArgs) ([]db.Monitor, error) {
	monitors, err := queries.ListUnscannedRoundMonitors(ctx, db.ListUnscannedRoundMonitorsParams{
		IntervalSeconds: args.Interval, Phase: args.Phase, Slot: args.Slot,
		SinceID: args.Part * args.partWidth(), UntilID: (args.Part + 1) * args.partWidth(),
	})
	if err != nil {
		return nil, fmt.Errorf("list monitors without a row: %w", err)
	}
	return monitors, nil
}

// insertFollowers inserts the round of the next slot, and the siblings that scan the other parts of this one.
func (s *Scanner) insertFollowers(ctx context.Context, tx pgx.Tx, job *river.Job[RoundArgs], parts []int64) error {
	args := job.Args
	next := args.schedule().Next(args.Slot)
	followers := []river.InsertManyParams{roundJob(args.schedule(), next, next)}
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
	if _, err := s.Queue.InsertManyTx(ctx, tx, followers); err != nil {
		return fmt.Errorf("insert the next round: %w", err)
	}
	return nil
}

// withoutUnsafe leaves out the monitors whose request must not be made twice, and declares their slot: the worker that
// died may have made it.
func (s *Scanner) withoutUnsafe(
	ctx context.Context, job *river.Job[RoundArgs], monitors []db.Monitor,
) (safe []db.Monitor, err error) {
	var unsafe []int64
	for _, monitor := range monitors {
		if isSafe(monitor) {
			safe = append(safe, monitor)
		} else {
			unsafe = append(unsafe, monitor.ID)
		}
	}
	args := job.Args
	err = declareMonitorGaps(ctx, db.New(s.Conn), args.schedule(), args.Slot, whyAgain(job), s.Now(), unsafe...)
	return safe, err
}

// isSafe reports whether a request may be made twice: by its method (RFC 9110, section 9.2.1), or, over TCP, because it
// sends nothing.
func isSafe(monitor db.Monitor) bool {
	if strings.HasPrefix(monitor.URL, "tcp:") {
		return ConfigOf(monitor, probe.Secrets{}).Request.Body == ""
	}
	return slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, monitor.Method)
}

// declareMissed declares the slots that this round should have scanned, and sees to it that the chain goes on: at the
// present slot, in a moment. Many chains wake together when the service was down, hence the moment.
func (s *Scanner) declareMissed(ctx context.Context, job *river.Job[RoundArgs], now time.Time) error {
	args, schedule := job.Args, job.Args.schedule()
	present := schedule.SlotAt(now)
	to, reason := schedule.Previous(present), gapServiceDown
	successor := roundJob(schedule, present, now.Add(moment(schedule, now)))
	if job.Attempt > 1 || args.Part != 0 { // the chain has most likely gone on without this one
		to, reason = args.Slot, whyAgain(job)
		next := schedule.Next(args.Slot)
		successor = roundJob(schedule, next, next)
	}

	declared := false
	err := inTx(ctx, s.Conn, func(tx pgx.Tx) (err error) {
		if declared, err = declareGap(ctx, db.New(tx), schedule, args.Slot, to, reason, now); err != nil {
			return err
		}
		if _, err := s.Queue.InsertManyTx(ctx, tx, []river.InsertManyParams{successor}); err != nil {
			return fmt.Errorf("insert the next round: %w", err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("declare missed slots: %w", err)
	}
	if declared {
		s.Recorder.metrics.missed.WithLabelValues(reason).Inc()
	}
	return river.RecordOutput(ctx, map[string]any{"gap": reason, "from_slot": args.Slot, "to_slot": to})
}

// moment spreads chains that wake together over 10 s, but not past the middle of what is left of the slot.
func moment(schedule uptime.Schedule, now time.Time) time.Duration {
	left := schedule.SlotAfter(now).Sub(now)
	return min(time.Duration(schedule.Phase%10)*time.Second, left/2)
}

// whyAgain says why a job runs again: River notes it when it takes a job from a worker that has not been heard of.
func whyAgain(job *river.Job[RoundArgs]) string {
	if len(job.Errors) == 0 {
		return cmp.Or(job.Args.Again, gapServiceDown)
	}
	if strings.Contains(job.Errors[len(job.Errors)-1].Error, "rescued") {
		return gapWorkerLost
	}
	return gapInternalError
}
