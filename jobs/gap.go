package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"riverwatch/db"
	"riverwatch/uptime"
)

// Why a promised slot was not scanned.
const (
	gapServiceDown   = "service_down"   // no worker ran, or none reached the database
	gapWorkerLost    = "worker_lost"    // the worker died with the scan open
	gapOverloaded    = "overloaded"     // no probe was free in time, no worker had time, or no room for its result
	gapInternalError = "internal_error" // a fault of ours
	gapUnaccounted   = "unaccounted"    // found missing by tend
)

var gapReasons = []string{gapServiceDown, gapWorkerLost, gapOverloaded, gapInternalError, gapUnaccounted}

// declareGap declares the slots of a schedule from one to another, both included, if any of them was promised and has
// neither a row nor a gap: nil, if none was. The gap that it gives may be shorter, where there are others already.
func declareGap(
	ctx context.Context, queries *db.Queries, schedule uptime.Schedule, from, to time.Time, reason string, at time.Time,
) (*db.DeclareGapRow, error) {
	gap, err := queries.DeclareGap(ctx, db.DeclareGapParams{
		IntervalSeconds: schedule.Interval, PhaseMS: schedule.PhaseMS, FromSlot: from, ToSlot: to, Reason: reason, At: at,
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // none was to be declared
	}
	if err != nil {
		return nil, fmt.Errorf("declare gap %s from %s to %s: %w", reason, from, to, err)
	}
	return &gap, nil
}

// declareMonitorGaps declares one slot of single monitors of a schedule.
func declareMonitorGaps(
	ctx context.Context, queries *db.Queries, schedule uptime.Schedule, slot time.Time, reason string, at time.Time,
	monitorIDs ...int64,
) error {
	if len(monitorIDs) == 0 {
		return nil
	}
	err := queries.DeclareMonitorGaps(ctx, db.DeclareMonitorGapsParams{
		IntervalSeconds: schedule.Interval, PhaseMS: schedule.PhaseMS, MonitorIDs: monitorIDs, Slot: slot, Reason: reason, At: at,
	})
	if err != nil {
		return fmt.Errorf("declare gap %s at %s: %w", reason, slot, err)
	}
	return nil
}
