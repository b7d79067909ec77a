package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"riverwatch/db"
)

const (
	// By more than this the clocks of a worker and of the database may not differ (HOSTILE F33).
	clockTolerance = 2 * time.Second

	alertClock        = "clock_skew" // the kind of alert
	alertClockMessage = "The clocks of a worker and of the database differ by more than 2 s. Lateness is measured wrongly, " +
		"and if the worker leads River's upkeep, it may hand out jobs again that are under way."
)

// skewOf gives by how much our clock is at least ahead of the database's, or, below 0, behind it: theirs was read between
// the two instants of ours.
func skewOf(asked, theirs, answered time.Time) time.Duration {
	return max(asked.Sub(theirs), 0) + min(answered.Sub(theirs), 0)
}

// compareClocks raises the alert of clocks that differ, or renews it, or withdraws it. Its times are the database's.
func (s *Scanner) compareClocks(ctx context.Context, logger *slog.Logger, skew time.Duration, theirs time.Time) error {
	s.Recorder.metrics.clockSkew.Set(skew.Seconds())
	queries, differ := db.New(s.Conn), skew.Abs() > clockTolerance
	switch {
	case differ:
		if !s.skewed {
			logger.ErrorContext(ctx, "the clocks of this worker and of the database differ", slog.Duration("by", skew))
		}
		err := queries.RaiseAlert(ctx, db.RaiseAlertParams{
			Kind: alertClock, Message: alertClockMessage, Worker: s.Worker, At: theirs,
		})
		if err != nil {
			return fmt.Errorf("raise the alert: %w", err)
		}
	case s.skewed:
		err := queries.WithdrawAlert(ctx, db.WithdrawAlertParams{Kind: alertClock, Worker: s.Worker, At: theirs})
		if err != nil {
			return fmt.Errorf("withdraw the alert: %w", err)
		}
	}
	s.skewed = differ
	return nil
}
