package sight

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"riverwatch/db"
	"riverwatch/queue"
	"riverwatch/wait"
)

const (
	roundsTick    = 20 * time.Second
	roundsTimeout = 3 * time.Second
	// Rounds that nobody has taken for so long are not taken: a worker that starts anew is back within seconds.
	roundsWithin = 2 * time.Minute
)

// Rounds tells operators that nobody scans: a queue is paused, as River UI lets people do, or no worker takes rounds. Each
// process looks, as the workers may be what is missing.
type Rounds struct {
	conn            db.Conn
	logger          *slog.Logger
	paused, waiting warning
}

// NewRounds makes the watch of a process.
func NewRounds(conn db.Conn, process string, logger *slog.Logger) *Rounds {
	return &Rounds{
		conn: conn, logger: logger,
		paused: warning{conn: conn, process: process, kind: "queue_paused", message: "A queue of jobs is paused: while it is " +
			"rounds, no monitor is scanned. It goes on when somebody resumes it, in River UI."},
		waiting: warning{conn: conn, process: process, kind: "rounds_waiting", message: "Rounds have been waiting for two " +
			"minutes, and no worker takes them: none runs, none sees the network, or all have too much to do."},
	}
}

// Run looks every few seconds, until ctx is done.
func (r *Rounds) Run(ctx context.Context) {
	wait.Repeat(ctx, roundsTick, r.Look, func(err error) {
		r.logger.WarnContext(ctx, "cannot see whether rounds are taken", slog.Any("error", err))
	})
	ctx = context.WithoutCancel(ctx) // nobody's matter any more, since it was last seen
	_ = r.paused.tell(ctx, false, time.Time{})
	_ = r.waiting.tell(ctx, false, time.Time{})
}

// Look looks once, and raises the warnings, renews or withdraws them.
func (r *Rounds) Look(ctx context.Context) error {
	askCtx, cancel := context.WithTimeout(ctx, roundsTimeout)
	defer cancel()
	queries := db.New(r.conn)
	paused, pausedErr := queries.ListPausedQueues(askCtx, []string{queue.Rounds, queue.Scans, queue.Upkeep})
	oldest, oldestErr := queries.OldestUnscannedSeconds(askCtx, queue.Rounds)
	now, nowErr := queries.DatabaseNow(askCtx)
	if err := errors.Join(pausedErr, oldestErr, nowErr); err != nil {
		return fmt.Errorf("look at the queues: %w", err)
	}
	isPaused, isWaiting := len(paused) > 0, oldest > roundsWithin.Seconds()
	if isPaused && !r.paused.raised {
		r.logger.ErrorContext(ctx, "a queue is paused", slog.String("queues", strings.Join(paused, ", ")))
	}
	if isWaiting && !r.waiting.raised {
		r.logger.ErrorContext(ctx, "no worker takes rounds")
	}
	return errors.Join(r.paused.tell(ctx, isPaused, now), r.waiting.tell(ctx, isWaiting, now))
}
