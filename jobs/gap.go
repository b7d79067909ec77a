package jobs

import (
	"context"
	"fmt"
	"time"

	"riverwatch/db"
	"riverwatch/uptime"
)

// Why a promised slot was not scanned.
const (
	gapServiceDown   = "service_down"   // no worker ran, or none reached the database
	gapWorkerLost    = "worker_lost"    // the worker died with the scan open
	gapOverloaded    = "overloaded"     // no probe was free in time, or no room for its result
	gapInternalError = "internal_error" // a fault of ours
	gapUnaccounted   = "unaccounted"    // found missing by tend
)

var gapReasons = []string{gapServiceDown, gapWorkerLost, gapOverloaded, gapInternalError, gapUnaccounted}

// declareGap declares the slots of a schedule from one to another, both included, or until before a gap that is there
// already, if any of them was promised and has neither a row nor a gap, and reports whether that was so.
func declareGap(
	ctx context.Context, queries *db.Queries, schedule uptime.Schedule, from, to time.Time, reason string, at time.Time,
) (declared bool, err error) {
	rows, err := queries.DeclareGap(ctx, db.DeclareGapParams{
		IntervalSeconds: schedule.Interval, Phase: schedule.Phase, FromSlot: from, ToSlot: to, Reason: reason, At: at,
	})
	if err != nil {
		return false, fmt.Errorf("declare gap %s from %s to %s: %w", reason, from, to, err)
	}
	return rows > 0, nil
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
		IntervalSeconds: schedule.Interval, Phase: schedule.Phase, MonitorIDs: monitorIDs, Slot: slot, Reason: reason, At: at,
	})
	if err != nil {
		return fmt.Errorf("declare gap %s at %s: %w", reason, slot, err)
	}
	return nil
}
