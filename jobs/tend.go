package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"riverwatch/db"
	"riverwatch/queue"
	"riverwatch/record"
	"riverwatch/uptime"
)

const (
	// A slot may be at work for so long: a round's job, its worker's death, the rescue, and the second attempt.
	accountedWithin = 5 * time.Minute
	// How much of the past one step compares: 100,000 monitors of a minute have 1.5 million slots in it.
	tendStep = 15 * time.Minute
	// So many slots are declared in one statement.
	tendPage = 1000
)

// Tend finds what was forgotten: a chain of rounds that has ended though it has monitors, and promised slots that
// neither ran nor were declared. It must never find anything.
type Tend struct {
	Conn  db.Conn
	Queue queue.Queue
	Now   func() time.Time
}

// Tended is what tend found, and what River UI shows.
type Tended struct {
	RoundsRevived int `json:"rounds_revived"`
	SlotsDeclared int `json:"slots_declared"`
}

// tendWorker works tend, and says loudly if it finds something.
type tendWorker struct {
	river.WorkerDefaults[queue.TendArgs]

	tend    Tend
	logger  *slog.Logger
	metrics *metrics
}

// Work tends.
func (w *tendWorker) Work(ctx context.Context, _ *river.Job[queue.TendArgs]) error {
	found, err := w.tend.Once(ctx)
	w.metrics.repairs.Add(float64(found.RoundsRevived + found.SlotsDeclared))
	w.metrics.missed.WithLabelValues(string(uptime.Unaccounted)).Add(float64(found.SlotsDeclared))
	if found != (Tended{}) {
		w.logger.ErrorContext(ctx, "tend found something forgotten", slog.Int("rounds_revived", found.RoundsRevived),
			slog.Int("slots_declared", found.SlotsDeclared))
	}
	return errors.Join(err, river.RecordOutput(ctx, found))
}

// Once revives chains, declares slots, makes the log's next chunks, and forgets who is gone: each whatever becomes of the
// others.
func (t *Tend) Once(ctx context.Context) (found Tended, err error) {
	now, queries := t.Now(), db.New(t.Conn)
	upkeep := func(what string, do error) error {
		if do != nil {
			return fmt.Errorf("%s: %w", what, do)
		}
		return nil
	}
	err = errors.Join(
		t.reviveChains(ctx, now, &found),
		t.declareUnaccounted(ctx, now.Add(-accountedWithin), &found),
		upkeep("make the log's next chunks", queries.MakeLogChunks(ctx, now)),
		upkeep("close stale warnings", queries.CloseStaleWarnings(ctx, now)), // of processes that are gone
		upkeep("forget workers", queries.ForgetWorkers(ctx)),
	)
	return found, err
}

func (t *Tend) reviveChains(ctx context.Context, now time.Time, found *Tended) error {
	chains, err := db.New(t.Conn).ListDeadChains(ctx, now)
	if err != nil {
		return fmt.Errorf("list chains without a live round: %w", err)
	}
	if len(chains) == 0 {
		return nil
	}
	rounds := make([]river.InsertManyParams, len(chains))
	for i, chain := range chains {
		schedule := uptime.Schedule{Interval: chain.IntervalSeconds, PhaseMS: chain.PhaseMS}
		rounds[i] = queue.Round(schedule, schedule.SlotAfter(now))
	}
	results, err := t.Queue.InsertMany(ctx, rounds)
	if err != nil {
		return fmt.Errorf("revive rounds: %w", err)
	}
	for _, result := range results {
		if !result.UniqueSkippedAsDuplicate {
			found.RoundsRevived++
		}
	}
	return nil
}

// declareUnaccounted compares promises with what came of them, from where the last tend stopped until an instant, and
// declares what is missing. Where a live round may still account for a slot, it stops before it.
func (t *Tend) declareUnaccounted(ctx context.Context, until time.Time, found *Tended) error {
	if err := db.New(t.Conn).StartTendProgress(ctx, until); err != nil {
		return fmt.Errorf("note where to begin: %w", err)
	}
	for more := true; more; {
		var declared int
		err := db.InTx(ctx, t.Conn, func(tx pgx.Tx) (err error) {
			declared, more, err = t.compareStep(ctx, db.New(tx), until)
			return err
		})
		if err != nil {
			return fmt.Errorf("compare promises with the log: %w", err)
		}
		found.SlotsDeclared += declared
	}
	return nil
}

// declareSlots declares slots, each of as many schedules at once as come before one comes again, and gives how many it declared.
func (t *Tend) declareSlots(
	ctx context.Context, queries *db.Queries, slots []db.ListUnaccountedSlotsRow,
) (declared int, err error) {
	for len(slots) > 0 {
		known := map[uptime.Schedule]bool{}
		var gaps []record.Gap
		for _, slot := range slots[:min(len(slots), tendPage)] {
			schedule := uptime.Schedule{Interval: slot.IntervalSeconds, PhaseMS: slot.PhaseMS}
			if known[schedule] {
				break
			}
			known[schedule] = true
			gaps = append(gaps, record.Gap{Schedule: schedule, From: slot.Slot, To: slot.Slot, Reason: uptime.Unaccounted})
		}
		some, err := record.DeclareAll(ctx, queries, t.Now(), gaps...)
		if err != nil {
			return declared, err
		}
		declared += some
		slots = slots[len(gaps):]
	}
	return declared, nil
}

// compareStep compares one step of the past, and reports how many slots it declared, and whether there is more of it.
func (t *Tend) compareStep(
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
	if at := slices.IndexFunc(slots, func(slot db.ListUnaccountedSlotsRow) bool { return slot.Live }); at >= 0 {
		step, blocked = slots[at].Slot, true // not before its round has had its turn
		slots = slots[:at]
	}
	if declared, err = t.declareSlots(ctx, queries, slots); err != nil {
		return 0, false, err
	}
	if err := queries.SetTendProgress(ctx, step); err != nil {
		return 0, false, fmt.Errorf("note the progress: %w", err)
	}
	return declared, !blocked && step.Before(until), nil
}
