package history

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"riverwatch/db"
	"riverwatch/uptime"
)

// UptimeRule is how time counts, for people.
const UptimeRule = "Down is the time between the scan that confirmed that the target is down (failure_threshold) and the one that " +
	"confirmed that it is up again, also where scans were missed meanwhile. Unknown is time of which we cannot tell: slots that were " +
	"missed, by reason, and time before the first verdict. Paused is time for which no scan was promised. The ratio is up (degraded " +
	"included) by up and down; unknown, paused and maintenance count in neither."

// Uptime gives how a monitor's time counts from an instant until before another: until now at most.
//
// A gap that was declared of all monitors of a schedule does not hold for one that has a row for the slot. Where the log is no
// longer kept that is not known, and the time counts as unknown.
func Uptime(ctx context.Context, conn db.DBTX, monitorID int64, from, until time.Time) ([]uptime.Stretch, error) {
	queries := db.New(db.PlanEach(conn))
	progress, err := queries.GetHistoryProgress(ctx)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("get what is kept: %w", err)
	}
	schedules, err := queries.ListSchedules(ctx, monitorID)
	if err != nil {
		return nil, fmt.Errorf("list schedules: %w", err)
	}
	var past uptime.Past
	for _, s := range schedules {
		span := uptime.Span{From: s.FromAt, Until: until}
		if s.UntilAt != nil {
			span.Until = *s.UntilAt
		}
		if span.From.Before(span.Until) {
			past.Promised = append(past.Promised, span)
		}
	}
	changes, err := queries.ListStatusChanges(ctx, db.ListStatusChangesParams{MonitorID: monitorID, Until: until})
	if err != nil {
		return nil, fmt.Errorf("list changes of status: %w", err)
	}
	for _, c := range changes {
		past.Changes = append(past.Changes, uptime.Change{At: c.At, Status: uptime.Status(c.Status)})
	}
	if past.Gaps, err = gapsOf(ctx, queries, monitorID, span{from.Add(-day), until}, progress.ScansFrom); err != nil {
		return nil, err
	}
	return past.Stretches(from, until), nil
}

// gapsOf gives the time that a monitor was not scanned in, of slots in a span.
func gapsOf(
	ctx context.Context, queries *db.Queries, monitorID int64, within span, scansFrom time.Time,
) (missed []uptime.GapSpan, err error) {
	own, err := queries.ListGapsOf(ctx, db.ListGapsOfParams{MonitorID: monitorID, Since: within.from, Until: within.until})
	if err != nil {
		return nil, fmt.Errorf("list gaps: %w", err)
	}
	for _, gap := range own {
		until := gap.FromSlot.Add(time.Duration(gap.IntervalSeconds) * time.Second)
		if gap.UntilAt != nil {
			until = earliest(until, *gap.UntilAt)
		}
		missed = append(missed, uptime.GapSpan{
			Span: uptime.Span{From: gap.FromSlot, Until: until}, Reason: uptime.GapReason(gap.Reason),
		})
	}
	shared, err := queries.ListSharedGaps(ctx, db.ListSharedGapsParams{MonitorID: monitorID, Since: within.from, Until: within.until})
	if err != nil {
		return nil, fmt.Errorf("list the gaps of its schedules: %w", err)
	}
	for _, gap := range shared {
		spans, err := missedIn(ctx, queries, monitorID, gap, within, scansFrom)
		if err != nil {
			return nil, err
		}
		missed = append(missed, spans...)
	}
	return missed, nil
}

// missedIn gives the time of a gap of all monitors of a schedule in which one of them was not scanned: without that from a slot for
// which it has a row until the next one.
func missedIn(
	ctx context.Context, queries *db.Queries, monitorID int64, gap db.ListSharedGapsRow, within span, scansFrom time.Time,
) (missed []uptime.GapSpan, err error) {
	schedule := uptime.Schedule{Interval: gap.IntervalSeconds, PhaseMS: gap.PhaseMS}
	from := gap.FromSlot // the first slot of the gap that was promised to the monitor
	for _, bound := range []time.Time{gap.FromAt, within.from} {
		if from.Before(bound) {
			from = schedule.SlotAfter(bound.Add(-1))
		}
	}
	until := earliest(schedule.Next(gap.ToSlot), within.until)
	if gap.UntilAt != nil {
		until = earliest(until, *gap.UntilAt)
	}
	if !from.Before(until) {
		return nil, nil
	}
	var scanned []time.Time
	if since := latest(from, scansFrom); since.Before(until) {
		scanned, err = queries.ListScannedSlots(ctx, db.ListScannedSlotsParams{
			IntervalSeconds: gap.IntervalSeconds, PhaseMS: gap.PhaseMS, MonitorID: monitorID, Since: since, Until: until,
		})
		if err != nil {
			return nil, fmt.Errorf("list the scans in a gap: %w", err)
		}
	}
	add := func(span uptime.Span) {
		if span.From.Before(span.Until) {
			missed = append(missed, uptime.GapSpan{Span: span, Reason: uptime.GapReason(gap.Reason)})
		}
	}
	for _, slot := range scanned {
		add(uptime.Span{From: from, Until: slot})
		from = schedule.Next(slot)
	}
	add(uptime.Span{From: from, Until: until})
	return missed, nil
}
