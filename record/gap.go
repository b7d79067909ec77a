package record

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"riverwatch/db"
	"riverwatch/uptime"
)

// Gap is promised slots of a schedule that were not scanned, both ends included.
type Gap struct {
	Schedule uptime.Schedule
	From, To time.Time
	Reason   uptime.GapReason
}

// Declare declares the gap, if any of its slots was promised and has neither a row nor a gap, and gives what it declared:
// nil, if none was. That may be shorter, where there are others already.
func (g Gap) Declare(ctx context.Context, queries *db.Queries, at time.Time) (*db.DeclareGapRow, error) {
	declared, err := queries.DeclareGap(ctx, db.DeclareGapParams{
		IntervalSeconds: g.Schedule.Interval, PhaseMS: g.Schedule.PhaseMS, FromSlot: g.From, ToSlot: g.To,
		Reason: string(g.Reason), At: at,
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // none was to be declared
	}
	if err != nil {
		return nil, fmt.Errorf("declare gap %s from %s to %s: %w", g.Reason, g.From, g.To, err)
	}
	return &declared, nil
}

// DeclareAll declares gaps, at least one, all of the reason of the first and each of another schedule, as [Gap.Declare] does,
// and gives how many there were to declare.
func DeclareAll(ctx context.Context, queries *db.Queries, at time.Time, gaps ...Gap) (declared int, err error) {
	var all db.DeclareGapsParams
	all.Reason, all.At = string(gaps[0].Reason), at
	for _, gap := range gaps {
		all.IntervalsSeconds = append(all.IntervalsSeconds, gap.Schedule.Interval)
		all.PhasesMS = append(all.PhasesMS, gap.Schedule.PhaseMS)
		all.FromSlots, all.ToSlots = append(all.FromSlots, gap.From), append(all.ToSlots, gap.To)
	}
	declared, err = queries.DeclareGaps(ctx, all)
	if err != nil {
		return 0, fmt.Errorf("declare %d gaps %s: %w", len(gaps), all.Reason, err)
	}
	return declared, nil
}

// DeclareFor declares the first slot of the gap for single monitors of its schedule.
func (g Gap) DeclareFor(ctx context.Context, queries *db.Queries, at time.Time, monitorIDs ...int64) error {
	if len(monitorIDs) == 0 {
		return nil
	}
	err := queries.DeclareMonitorGaps(ctx, db.DeclareMonitorGapsParams{
		IntervalSeconds: g.Schedule.Interval, PhaseMS: g.Schedule.PhaseMS, MonitorIDs: monitorIDs, Slot: g.From,
		Reason: string(g.Reason), At: at,
	})
	if err != nil {
		return fmt.Errorf("declare gap %s at %s: %w", g.Reason, g.From, err)
	}
	return nil
}
