package sight

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"riverwatch/db"
	"riverwatch/wait"
)

const (
	// By more than this the clocks of a process and of the database may not differ.
	clockTolerance = 2 * time.Second
	clockTick      = 10 * time.Second
	clockTimeout   = 3 * time.Second

	warningClock        = "clock_skew" // the kind of warning
	warningClockMessage = "The clocks of a process and of the database differ by more than 2 s. A worker records lateness " +
		"wrongly then, and if it leads River's upkeep, it may hand out jobs again that are under way; an API may promise " +
		"slots that have passed."
)

// Clock compares the clock of this process with the database's, and tells operators if they differ. Nothing is set right:
// what must be exact holds without it.
type Clock struct {
	conn    db.Conn
	process string
	now     func() time.Time
	skew    prometheus.Gauge
	logger  *slog.Logger
	differs bool // and operators were told
}

// NewClock makes the clock of a process, and registers its metric.
func NewClock(
	registry prometheus.Registerer, conn db.Conn, process string, now func() time.Time, logger *slog.Logger,
) *Clock {
	return &Clock{
		conn: conn, process: process, now: now, logger: logger,
		skew: promauto.With(registry).NewGauge(prometheus.GaugeOpts{
			Name: "riverwatch_clock_skew_seconds",
			Help: "By how much the clock of this process is at least ahead of the database's, or, below 0, behind it.",
		}),
	}
}

// Run compares every few seconds, until ctx is done.
func (c *Clock) Run(ctx context.Context) {
	wait.Repeat(ctx, clockTick, c.Compare, func(err error) {
		c.logger.WarnContext(ctx, "cannot compare the clock with the database's", slog.Any("error", err))
	})
	_ = c.tell(context.WithoutCancel(ctx), 0, time.Time{}) // nobody's matter any more, since it was last seen
}

// Compare compares once, and raises the warning, renews or withdraws it.
func (c *Clock) Compare(ctx context.Context) error {
	askCtx, cancel := context.WithTimeout(ctx, clockTimeout)
	defer cancel()
	asked := c.now()
	theirs, err := db.New(c.conn).DatabaseNow(askCtx)
	if err != nil {
		return fmt.Errorf("ask the database for the time: %w", err)
	}
	skew := skewOf(asked, theirs, c.now())
	c.skew.Set(skew.Seconds())
	return c.tell(ctx, skew, theirs)
}

// skewOf gives by how much our clock is at least ahead of the database's, or, below 0, behind it: theirs was read between
// the two instants of ours.
func skewOf(asked, theirs, answered time.Time) time.Duration {
	return max(asked.Sub(theirs), 0) + min(answered.Sub(theirs), 0)
}

// tell raises the warning of clocks that differ, or renews it, or withdraws it, at a time of the database.
func (c *Clock) tell(ctx context.Context, skew time.Duration, at time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, clockTimeout)
	defer cancel()
	queries := db.New(c.conn)
	switch {
	case skew.Abs() > clockTolerance:
		if !c.differs {
			c.logger.ErrorContext(ctx, "the clocks of this process and of the database differ", slog.Duration("by", skew))
		}
		c.differs = true // also if the answer is lost: the warning may be there
		err := queries.RaiseWarning(ctx, db.RaiseWarningParams{
			Kind: warningClock, Message: warningClockMessage, Process: c.process, At: at,
		})
		if err != nil {
			return fmt.Errorf("raise the warning: %w", err)
		}
	case c.differs:
		err := queries.WithdrawWarning(ctx, db.WithdrawWarningParams{Kind: warningClock, Process: c.process, At: at})
		if err != nil {
			return fmt.Errorf("withdraw the warning: %w", err)
		}
		c.differs = false
	}
	return nil
}
