package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

const (
	// A round with more monitors than this hands the others to sibling jobs, so that other workers share them.
	roundSize = 500
	// So many rounds of its chain a round makes sure of: were it only the next one, a worker that dies when River has given
	// it that round, and it has not begun, would stop the chain until its rescue.
	roundsAhead = 2
	// So long before its slot a round begins: River finds jobs of the future by asking, and the siblings of a round are
	// found as late again.
	roundLead = 500 * time.Millisecond
	// So long before its slot a round asks for its monitors: at the slot itself, all rounds of the fleet and the scans of
	// those that have their answer already keep the machine busy. A later change counts from the next slot on.
	loadLead = 100 * time.Millisecond
	// A round that is found later than this is taken for one of many, which all waited for the same.
	crowdedAfter = 2 * time.Second
	// River leaves a job available that snoozes for less than 5 s. Others it wakes every 5 s, all at once.
	snoozeStep = 4 * time.Second
)

// RoundArgs name the round of one interval and phase at one slot. They are unique for ever: a slot has at most one job.
type RoundArgs struct {
	Interval int       `json:"interval" river:"unique"` // seconds
	PhaseMS  int       `json:"phase_ms" river:"unique"`
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
	return uptime.Schedule{Interval: a.Interval, PhaseMS: a.PhaseMS}
}

// partWidth is how many ids a part covers. It follows from the interval alone, so that a monitor belongs to the same
// part for ever, whoever asks: of so many consecutive ids with one interval, some roundSize have one phase.
func (a RoundArgs) partWidth() int64 { return int64(roundSize) * int64(a.schedule().Phases()) }

// roundJob inserts the round of a slot, to be on time.
func roundJob(schedule uptime.Schedule, slot time.Time) river.InsertManyParams {
	return roundJobAt(schedule, slot, slot.Add(-roundLead))
}

// roundJobAt inserts the round of a slot, to begin at an instant.
func roundJobAt(schedule uptime.Schedule, slot, begin time.Time) river.InsertManyParams {
	return river.InsertManyParams{
		Args:       RoundArgs{Interval: schedule.Interval, PhaseMS: schedule.PhaseMS, Slot: slot},
		InsertOpts: &river.InsertOpts{ScheduledAt: begin},
	}
}

// RoundWorker works rounds.
type RoundWorker struct {
	river.WorkerDefaults[RoundArgs]

	Scanner *Scanner
}

// databaseAway begins the text of an attempt's error, which River keeps, if it was for want of the database.
const databaseAway = "the database was away"

// Work scans the round's monitors at its slot, after it has made sure of the next rounds. A round that comes when its slot
// is no longer the present one scans nothing, and declares what was missed.
func (w *RoundWorker) Work(ctx context.Context, job *river.Job[RoundArgs]) error {
	err := w.work(ctx, job)
	if db.TroubleOf(err) == db.TroubleAway {
		return fmt.Errorf("%s: %w", databaseAway, err)
	}
	return err
}

func (w *RoundWorker) work(ctx context.Context, job *river.Job[RoundArgs]) error {
	s, schedule := w.Scanner, job.Args.schedule()
	now, err := s.nowFor(ctx, job.Args)
	if err != nil {
		return err
	}
	if schedule.SlotAt(now).After(job.Args.Slot) {
		return s.declareMissed(ctx, job, now)
	}
	if until := deferredUntil(job, now); until.After(now) {
		err := river.RecordOutput(ctx, deferredOutput{until})
		return errors.Join(err, river.JobSnooze(min(until.Sub(now), snoozeStep)))
	}
	early := job.Args.Slot.Sub(now)
	if early > roundLead { // the database's clock was ahead for a moment
		return river.JobSnooze(early - roundLead)
	}

	slot := time.Now().Add(early) // by the clock that only goes forward
	part, err := s.beginRound(ctx, job)
	if err != nil {
		return err
	}
	if err := sleepUntil(ctx, slot.Add(-loadLead)); err != nil {
		return err
	}
	monitors, err := s.load(ctx, job, part)
	if err != nil {
		return err
	}
	if err := sleepUntil(ctx, slot); err != nil {
		return err
	}
	output, err := s.scanAll(ctx, job.Args, monitors)
	return errors.Join(err, river.RecordOutput(ctx, output))
}

// sleepUntil waits for an instant, or gives the error of ctx.
func sleepUntil(ctx context.Context, at time.Time) error {
	select {
	case <-time.After(time.Until(at)):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the slot: %w", ctx.Err())
	}
}

// nowFor gives the time at which a round is judged. That is the time of this process, unless by it the slot is neither
// the present one nor about to come. Then one of two clocks may be wrong, ours or that of the database, which found the
// round due: believed is the earlier one at which the round is due. So a process whose clock is an hour ahead declares
// no hour as missed that is still to come; and if it is the database's clock that has jumped, its slots are left out,
// instead of scanned in a burst.
func (s *Scanner) nowFor(ctx context.Context, args RoundArgs) (time.Time, error) {
	now, due := s.Now(), args.Slot.Add(-roundLead)
	if !now.Before(due) && now.Before(args.schedule().Next(args.Slot)) {
		return now, nil
	}
	theirs, err := db.New(s.Conn).DatabaseNow(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask the database for the time: %w", err)
	}
	if now.Before(due) || !theirs.Before(due) && theirs.Before(now) {
		return theirs, nil
	}
	return now, nil
}

// again reports whether an attempt before this one may have made requests already: of the job, or of the round that
// handed a part to it.
func again(job *river.Job[RoundArgs]) bool { return job.Attempt > 1 || job.Args.Again != "" }

// whole says that a round scans all of its monitors itself, in place of the number of a part.
const whole = -1

// beginRound makes sure of what follows, and gives the part of the round that this job scans. From here on this worker
// may die: only this slot is at stake. Nobody is promised this slot any more; whose promise is withdrawn before it comes
// is not scanned. Without an active monitor the chain of rounds ends.
func (s *Scanner) beginRound(ctx context.Context, job *river.Job[RoundArgs]) (part int64, err error) {
	args := job.Args
	if args.Part != 0 {
		return args.Part, nil
	}
	err = inTx(ctx, s.Conn, func(tx pgx.Tx) error {
		queries := db.New(tx)
		// Whoever promises this slot now is waited for, and his monitor is seen.
		if err := queries.LockRound(ctx, db.LockRoundParams{IntervalSeconds: args.Interval, PhaseMS: args.PhaseMS}); err != nil {
			return fmt.Errorf("lock the round: %w", err)
		}
		monitors, parts, err := shareOut(ctx, queries, job)
		if err != nil || monitors == 0 {
			return err
		}
		if parts == nil {
			part = whole
		}
		return s.insertFollowers(ctx, tx, job, parts)
	})
	if err != nil {
		return 0, fmt.Errorf("begin the round: %w", err)
	}
	return part, nil
}

// shareOut counts the monitors of a round as far as that matters, and gives the parts that they are in, if it is shared.
//
// A second attempt always goes by parts, and asks for those without a row: whether the first one scanned all monitors
// itself or handed parts out, no monitor is then scanned by two.
func shareOut(ctx context.Context, queries *db.Queries, job *river.Job[RoundArgs]) (monitors int, parts []int64, err error) {
	args := job.Args
	monitors, err = queries.CountRoundMonitors(ctx, db.CountRoundMonitorsParams{
		IntervalSeconds: args.Interval, PhaseMS: args.PhaseMS, Slot: args.Slot, AtMost: roundSize + 1,
	})
	if err != nil {
		return 0, nil, fmt.Errorf("count monitors: %w", err)
	}
	if job.Attempt == 1 && monitors <= roundSize {
		return monitors, nil, nil
	}
	parts, err = queries.ListRoundParts(ctx, db.ListRoundPartsParams{
		IntervalSeconds: args.Interval, PhaseMS: args.PhaseMS, PartWidth: args.partWidth(),
	})
	if err != nil {
		return 0, nil, fmt.Errorf("list parts: %w", err)
	}
	return monitors, parts, nil
}

// load gives the monitors to scan, with their secrets.
func (s *Scanner) load(ctx context.Context, job *river.Job[RoundArgs], part int64) ([]watched, error) {
	monitors, err := s.listMonitors(ctx, job.Args, part)
	if err != nil {
		return nil, fmt.Errorf("list monitors: %w", err)
	}
	if again(job) {
		if monitors, err = s.withoutUnsafe(ctx, job, monitors); err != nil {
			return nil, err
		}
	}
	return s.withSecrets(ctx, monitors...)
}

func (s *Scanner) listMonitors(ctx context.Context, args RoundArgs, part int64) ([]db.Monitor, error) {
	queries := db.New(s.Conn)
	if part == whole {
		return queries.ListRoundMonitors(ctx, db.ListRoundMonitorsParams{
			IntervalSeconds: args.Interval, PhaseMS: args.PhaseMS, Slot: args.Slot,
		})
	}
	return queries.ListUnscannedRoundMonitors(ctx, db.ListUnscannedRoundMonitorsParams{
		IntervalSeconds: args.Interval, PhaseMS: args.PhaseMS, Slot: args.Slot,
		SinceID: part * args.partWidth(), UntilID: (part + 1) * args.partWidth(),
	})
}

// insertFollowers inserts the rounds of the next slots, and the siblings that scan the other parts of this one.
func (s *Scanner) insertFollowers(ctx context.Context, tx pgx.Tx, job *river.Job[RoundArgs], parts []int64) error {
	args := job.Args
	var followers []river.InsertManyParams
	slot := args.Slot
	for range roundsAhead {
		slot = args.schedule().Next(slot)
		followers = append(followers, roundJob(args.schedule(), slot))
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
	if _, err := s.Queue.InsertManyTx(ctx, tx, followers); err != nil {
		return fmt.Errorf("insert the next rounds: %w", err)
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
// present slot, in a moment, as many chains wake together when the service was down.
func (s *Scanner) declareMissed(ctx context.Context, job *river.Job[RoundArgs], now time.Time) error {
	args, schedule := job.Args, job.Args.schedule()
	present := schedule.SlotAt(now)
	to, reason := schedule.Previous(present), gapServiceDown
	if s.limiter.wasFullSince(args.Slot) {
		reason = gapOverloaded
	}
	successor := roundJobAt(schedule, present, now.Add(moment(schedule, args.Slot, now)))
	if job.Attempt > 1 || args.Part != 0 { // the chain has most likely gone on without this one
		to, reason = args.Slot, whyAgain(job)
		successor = roundJob(schedule, schedule.Next(args.Slot))
	}

	var gap *db.DeclareGapRow
	err := inTx(ctx, s.Conn, func(tx pgx.Tx) (err error) {
		// Another late round of the chain is waited for, lest both declare the same slots.
		lock := db.LockRoundParams{IntervalSeconds: args.Interval, PhaseMS: args.PhaseMS}
		if err := db.New(tx).LockRound(ctx, lock); err != nil {
			return fmt.Errorf("lock the round: %w", err)
		}
		if gap, err = declareGap(ctx, db.New(tx), schedule, args.Slot, to, reason, now); err != nil {
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
	if gap == nil {
		return river.RecordOutput(ctx, map[string]any{"gap": ""}) // all is accounted for
	}
	s.Recorder.metrics.missed.WithLabelValues(reason).Inc()
	return river.RecordOutput(ctx, map[string]any{"gap": reason, "from_slot": gap.FromSlot, "to_slot": gap.ToSlot})
}

// deferredOutput is what River keeps with a round that waits, and River UI shows.
type deferredOutput struct {
	DeferredUntil time.Time `json:"deferred_until"`
}

// deferredUntil gives the instant until which a round waits that was found late; zero: it was not.
func deferredUntil(job *river.Job[RoundArgs], now time.Time) time.Time {
	var noted deferredOutput
	if err := json.Unmarshal(job.Output(), &noted); err == nil && !noted.DeferredUntil.IsZero() {
		return noted.DeferredUntil
	}
	if job.Attempt > 1 || now.Sub(job.ScheduledAt) <= crowdedAfter {
		return time.Time{}
	}
	return now.Add(moment(job.Args.schedule(), job.Args.Slot, now))
}

// moment spreads rounds that wake together, because the database or all workers were away: one waits for as long again as
// it is late already, but is due before its next slot, and within a minute. The requests of rounds that were late by up
// to d are then spread over d, and those of a whole fleet of one interval over three quarters of it.
func moment(schedule uptime.Schedule, slot, now time.Time) time.Duration {
	left := float64(schedule.SlotAfter(now).Sub(now))
	share := min(0.75, time.Minute.Seconds()/float64(schedule.Interval))
	return min(now.Sub(slot), time.Duration(left*share))
}

// whyAgain says why a job runs again: River notes it when it takes a job from a worker that has not been heard of.
func whyAgain(job *river.Job[RoundArgs]) string {
	if len(job.Errors) == 0 {
		return cmp.Or(job.Args.Again, gapServiceDown)
	}
	last := job.Errors[len(job.Errors)-1].Error
	switch {
	case strings.Contains(last, "rescued"):
		return gapWorkerLost
	case strings.HasPrefix(last, databaseAway):
		return gapServiceDown
	default:
		return gapInternalError
	}
}
