package sight

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"riverwatch/db"
	"riverwatch/queue"
	"riverwatch/wait"
)

const (
	watchTick    = 20 * time.Second
	watchTimeout = 3 * time.Second
	// Rounds that nobody has taken for so long are not taken: a worker that starts anew is back within seconds.
	roundsWithin = 2 * time.Minute
	// An hour is rolled up some minutes after its end. While roll-ups are late by so much, nothing of the log is dropped.
	rolledWithin = 6 * time.Hour
)

// Watch tells operators what stands in the database and nobody may be there to say: that a queue is paused, as River UI lets people
// do, that no worker takes rounds, that the log is cut by its size, or not rolled up. Each process looks, as the workers may be what
// is missing.
type Watch struct {
	conn                                  db.Conn
	logger                                *slog.Logger
	paused, waiting, cutBySize, notRolled warning
}

// NewWatch makes the watch of a process.
func NewWatch(conn db.Conn, process string, logger *slog.Logger) *Watch {
	raised := func(kind, message string) warning {
		return warning{conn: conn, process: process, kind: kind, message: message}
	}
	return &Watch{
		conn: conn, logger: logger,
		paused: raised("queue_paused", "A queue of jobs is paused: while it is rounds, no monitor is scanned. It goes on when "+
			"somebody resumes it, in River UI."),
		waiting: raised("rounds_waiting", "Rounds have been waiting for two minutes, and no worker takes them: none runs, none sees "+
			"the network, or all have too much to do."),
		cutBySize: raised("scans_cut_by_size", "The log is as large as RIVERWATCH_KEEP_SCANS_BYTES lets it be, so that scans are "+
			"dropped before they are as old as RIVERWATCH_KEEP_SCANS, or, where these are fewer than RIVERWATCH_KEEP_SCANS_LEAST, "+
			"are kept beyond that size. Hours and days are kept all the same."),
		notRolled: raised("rollups_late", "Scans have not been rolled up for hours, so that none are dropped, whatever their age and "+
			"size: no worker runs, or its upkeep jobs fail (River UI shows them)."),
	}
}

// Run looks every few seconds, until ctx is done.
func (w *Watch) Run(ctx context.Context) {
	wait.Repeat(ctx, watchTick, w.Look, func(err error) {
		w.logger.WarnContext(ctx, "cannot see whether rounds are taken", slog.Any("error", err))
	})
	ctx = context.WithoutCancel(ctx) // nobody's matter any more, since it was last seen
	for _, raised := range []*warning{&w.paused, &w.waiting, &w.cutBySize, &w.notRolled} {
		_ = raised.tell(ctx, false, time.Time{})
	}
}

// Look looks once, and raises the warnings, renews or withdraws them.
func (w *Watch) Look(ctx context.Context) error {
	askCtx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	queries := db.New(w.conn)
	paused, pausedErr := queries.ListPausedQueues(askCtx, []string{queue.Rounds, queue.Scans, queue.Upkeep})
	oldest, oldestErr := queries.OldestUnscannedSeconds(askCtx, queue.Rounds)
	now, nowErr := queries.DatabaseNow(askCtx)
	progress, progressErr := queries.GetHistoryProgress(askCtx)
	if errors.Is(progressErr, pgx.ErrNoRows) { // nothing was promised yet
		progress.RolledUntil, progressErr = now, nil
	}
	if err := errors.Join(pausedErr, oldestErr, nowErr, progressErr); err != nil {
		return fmt.Errorf("look at the queues and the history: %w", err)
	}
	return errors.Join(
		w.tell(ctx, &w.paused, len(paused) > 0, now, slog.Any("queues", paused)),
		w.tell(ctx, &w.waiting, oldest > roundsWithin.Seconds(), now, slog.Float64("seconds", oldest)),
		w.tell(ctx, &w.cutBySize, progress.CutBySize, now, slog.Time("kept_from", progress.ScansFrom)),
		w.tell(ctx, &w.notRolled, now.Sub(progress.RolledUntil) > rolledWithin, now, slog.Time("rolled_until", progress.RolledUntil)),
	)
}

// tell raises a warning if it is so, and logs it then, renews or withdraws it.
func (w *Watch) tell(ctx context.Context, raised *warning, isSo bool, now time.Time, attr slog.Attr) error {
	if isSo && !raised.raised {
		w.logger.ErrorContext(ctx, "warning raised", slog.String("kind", raised.kind), slog.String("message", raised.message), attr)
	}
	return raised.tell(ctx, isSo, now)
}
