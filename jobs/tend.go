package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"riverwatch/db"
	"riverwatch/uptime"
)

const (
	// A slot may be at work for so long: a round's job, its worker's death, the rescue, and the second attempt.
	accountedWithin = 5 * time.Minute
	// How much of the past one step compares: 100,000 monitors of a minute have 1.5 million slots in it.
	tendStep = 15 * time.Minute
)

// TendArgs ask for a look at everything that should hold by itself.
type TendArgs struct{}

// Kind implements river.JobArgs.
func (TendArgs) Kind() string { return "tend" }

// InsertOpts implements river.JobArgsWithInsertOpts. One at a time, and none after another: the next comes in a minute.
func (TendArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		Queue:       queueUpkeep,
		MaxAttempts: 1,
		UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
			rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
			rivertype.JobStateRunning, rivertype.JobStateScheduled,
		}},
	}
}

// TendWorker finds what was forgotten: a chain of rounds that has ended though it has monitors, and promised slots that
// neither ran nor were declared. It must never find anything, and says so loudly if it does.
type TendWorker struct {
	river.WorkerDefaults[TendArgs]

	Conn    db.Conn
	Queue   Queue
	Logger  *slog.Logger
	Now     func() time.Time
	Metrics *Metrics
}

// tendOutput is what tend found, and what River UI shows.
type tendOutput struct {
	RoundsRevived int `json:"rounds_revived"`
	SlotsDeclared int `json:"slots_declared"`
}

// Work revives chains, declares slots, and makes the log's next chunks: each whatever becomes of the others.
func (w *TendWorker) Work(ctx context.Context, _ *river.Job[TendArgs]) error {
	now := w.Now()
	var output tendOutput
	err := errors.Join(
		w.reviveChains(ctx, now, &output),
		w.declareUnaccounted(ctx, now.Add(-accountedWithin), &output),
		w.makeChunks(ctx, now),
		w.closeStaleWarnings(ctx, now),
		w.forgetWorkers(ctx),
	)
	w.Metrics.repairs.Add(float64(output.RoundsRevived + output.SlotsDeclared))
	w.Metrics.missed.WithLabelValues(gapUnaccounted).Add(float64(output.SlotsDeclared))
	if output != (tendOutput{}) {
		w.Logger.ErrorContext(ctx, "tend found something forgotten", slog.Int("rounds_revived", output.RoundsRevived),
			slog.Int("slots_declared", output.SlotsDeclared))
	}
	return errors.Join(err, river.RecordOutput(ctx, output))
}

func (w *TendWorker) makeChunks(ctx context.Context, now time.Time) error {
	if err := db.New(w.Conn).MakeLogChunks(ctx, now); err != nil {
		return fmt.Errorf("make the log's next chunks: %w", err)
	}
	return nil
}

// closeStaleWarnings closes warnings whose processes are gone.
func (w *TendWorker) closeStaleWarnings(ctx context.Context, now time.Time) error {
	if err := db.New(w.Conn).CloseStaleWarnings(ctx, now); err != nil {
		return fmt.Errorf("close stale warnings: %w", err)
	}
	return nil
}

func (w *TendWorker) forgetWorkers(ctx context.Context) error {
	if err := db.New(w.Conn).ForgetWorkers(ctx); err != nil {
		return fmt.Errorf("forget workers: %w", err)
	}
	return nil
}

func (w *TendWorker) reviveChains(ctx context.Context, now time.Time, output *tendOutput) error {
	chains, err := db.New(w.Conn).ListDeadChains(ctx, now)
	if err != nil {
		return fmt.Errorf("list chains without a live round: %w", err)
	}
	if len(chains) == 0 {
		return nil
	}
	rounds := make([]river.InsertManyParams, len(chains))
	for i, chain := range chains {
		schedule := uptime.Schedule{Interval: chain.IntervalSeconds, PhaseMS: chain.PhaseMS}
		rounds[i] = roundJob(schedule, schedule.SlotAfter(now))
	}
	results, err := w.Queue.InsertMany(ctx, rounds)
	if err != nil {
		return fmt.Errorf("revive rounds: %w", err)
	}
	for _, result := range results {
		if !result.UniqueSkippedAsDuplicate {
			output.RoundsRevived++
		}
	}
	return nil
}

// declareUnaccounted compares promises with what came of them, from where the last tend stopped until an instant, and
// declares what is missing. Where a live round may still account for a slot, it stops before it.
func (w *TendWorker) declareUnaccounted(ctx context.Context, until time.Time, output *tendOutput) error {
	if err := db.New(w.Conn).StartTendProgress(ctx, until); err != nil {
		return fmt.Errorf("note where to begin: %w", err)
	}
	for more := true; more; {
		var declared int
		err := inTx(ctx, w.Conn, func(tx pgx.Tx) (err error) {
			declared, more, err = w.compareStep(ctx, db.New(tx), until)
			return err
		})
		if err != nil {
			return fmt.Errorf("compare promises with the log: %w", err)
		}
		output.SlotsDeclared += declared
	}
	return nil
}

// compareStep compares one step of the past, and reports how many slots it declared, and whether there is more of it.
func (w *TendWorker) compareStep(
	ctx context.Context, queries *db.Queries, until time.Time,
) (declared int, more bool, err error) {
	since, err := queries.GetTendProgressForUpdate(ctx)
	if err != nil {
		return 0, false, fmt.Errorf("get the progress: %w", err)
	}
	if !since.Before(until) {
		return 0, false, nil
	}
	step := since.Add(tendStep)
	if step.After(until) {
		step = until
	}

	if err := queries.PlanForManyPromises(ctx); err != nil {
		return 0, false, fmt.Errorf("set how to plan: %w", err)
	}
	slots, err := queries.ListUnaccountedSlots(ctx, db.ListUnaccountedSlotsParams{Since: since, Until: step})
	if err != nil {
		return 0, false, fmt.Errorf("list unaccounted slots: %w", err)
	}
	blocked := false
	for _, slot := range slots {
		if slot.Live { // not before its round has had its turn
			step, blocked = slot.Slot, true
			break
		}
		schedule := uptime.Schedule{Interval: slot.IntervalSeconds, PhaseMS: slot.PhaseMS}
		gap, err := declareGap(ctx, queries, schedule, slot.Slot, slot.Slot, gapUnaccounted, w.Now())
		if err != nil {
			return 0, false, err
		}
		if gap != nil {
			declared++
		}
	}
	if err := queries.SetTendProgress(ctx, step); err != nil {
		return 0, false, fmt.Errorf("note the progress: %w", err)
	}
	return declared, !blocked && step.Before(until), nil
}
