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
)

// Clock compares the clock of this process with the database's, and tells operators if they differ. Nothing is set right:
// what must be exact holds without it.
type Clock struct {
	conn    db.Conn
	now     func() time.Time
	skew    prometheus.Gauge
	logger  *slog.Logger
	differs warning
}

// NewClock makes the clock of a process, and registers its metric.
func NewClock(
	registry prometheus.Registerer, conn db.Conn, process string, now func() time.Time, logger *slog.Logger,
) *Clock {
	return &Clock{
		conn: conn, now: now, logger: logger,
		differs: warning{conn: conn, process: process, kind: "clock_skew", message: "The clocks of a process and of the " +
			"database differ by more than 2 s. A worker records lateness wrongly then, and if it leads River's upkeep, it may " +
			"hand out jobs again that are under way; an API may promise slots that have passed."},
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
	_ = c.differs.tell(context.WithoutCancel(ctx), false, time.Time{}) // nobody's matter any more, since it was last seen
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
	differs := skew.Abs() > clockTolerance
	if differs && !c.differs.raised {
		c.logger.ErrorContext(ctx, "the clocks of this process and of the database differ", slog.Duration("by", skew))
	}
	return c.differs.tell(ctx, differs, theirs)
}

// skewOf gives by how much our clock is at least ahead of the database's, or, below 0, behind it: theirs was read between
// the two instants of ours.
func skewOf(asked, theirs, answered time.Time) time.Duration {
	return max(asked.Sub(theirs), 0) + min(answered.Sub(theirs), 0)
}
