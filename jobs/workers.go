package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"riverwatch/db"
	"riverwatch/wait"
)

const (
	announceTick   = 10 * time.Second // a third of the time after which the others no longer count a worker
	announceWithin = 3 * time.Second
)

// announce tells the other workers every few seconds that this one is there, and learns how many there are, until ctx is
// done: they share what is limited for the fleet. While the database is away, the last count holds.
func (s *scanner) announce(ctx context.Context) {
	wait.Repeat(ctx, announceTick, s.countWorkers, func(err error) {
		s.logger.WarnContext(ctx, "cannot count the workers", slog.Any("error", err))
	})
	leaveCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), announceWithin)
	defer cancel()
	_ = db.New(s.conn).LeaveWorker(leaveCtx, s.name) // else it is counted for half a minute more
}

func (s *scanner) countWorkers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, announceWithin)
	defer cancel()
	workers, err := db.New(s.conn).AttendWorker(ctx, s.name)
	if err != nil {
		return fmt.Errorf("announce this worker: %w", err)
	}
	s.limiter.workers.Store(int64(workers))
	s.metrics.workers.Set(float64(workers))
	return nil
}
