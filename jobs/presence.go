package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"riverwatch/db"
)

const (
	attendTick    = 10 * time.Second // a third of the time after which the others no longer count a worker
	attendTimeout = 3 * time.Second
)

// Attend tells the other workers every few seconds that this one is there, and the scanner how many there are, until stop
// is called: they share what is limited for the fleet. While the database is away, the last count holds.
func (s *Scanner) Attend(ctx context.Context, logger *slog.Logger) (stop func()) {
	stopAttending := repeatUntilStopped(ctx, attendTick, s.attend, func(err error) {
		logger.WarnContext(ctx, "cannot count the workers", slog.Any("error", err))
	})
	return func() {
		stopAttending()
		leaveCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attendTimeout)
		defer cancel()
		_ = db.New(s.Conn).LeaveWorker(leaveCtx, s.Worker) // else it is counted for half a minute more
	}
}

func (s *Scanner) attend(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attendTimeout)
	defer cancel()
	workers, err := db.New(s.Conn).AttendWorker(ctx, s.Worker)
	if err != nil {
		return fmt.Errorf("attend: %w", err)
	}
	s.limiter.workers.Store(int64(workers))
	s.Recorder.metrics.workers.Set(float64(workers))
	return nil
}
