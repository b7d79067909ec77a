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

// Uptimes gives how the time of each of some monitors counts from an instant until before another: until now at most. One that was
// not promised anything until then has no time.
//
// A gap that was declared of all monitors of a schedule does not hold for one that has a row for the slot. Where the log is no
// longer kept that is not known, and the time counts as unknown.
func Uptimes(
	ctx context.Context, conn db.DBTX, from, until time.Time, monitorIDs ...int64,
) (map[int64][]uptime.Stretch, error) {
	pasts, err := pastsOf(ctx, conn, from, until, monitorIDs...)
	if err != nil {
		return nil, err
	}
	stretches := make(map[int64][]uptime.Stretch, len(pasts))
	for id, past := range pasts {
		stretches[id] = past.Stretches(from, until)
	}
	return stretches, nil
}

// pastsOf gives what is known of the past of monitors in a range.
func pastsOf(
	ctx context.Context, conn db.DBTX, from, until time.Time, monitorIDs ...int64,
) (map[int64]*uptime.Past, error) {
	queries := db.New(db.PlanEach(conn))
	pasts := make(map[int64]*uptime.Past, len(monitorIDs))
	for _, id := range monitorIDs {
		pasts[id] = &uptime.Past{}
	}
	schedules, err := queries.ListSchedules(ctx, monitorIDs)
	if err != nil {
		return nil, fmt.Errorf("list schedules: %w", err)
	}
	for _, s := range schedules {
		span := uptime.Span{From: s.FromAt, Until: until}
		if s.UntilAt != nil {
			span.Until = *s.UntilAt
		}
		if span.From.Before(span.Until) {
			pasts[s.MonitorID].Promised = append(pasts[s.MonitorID].Promised, span)
		}
	}
	changes, err := queries.ListStatusChanges(ctx, db.ListStatusChangesParams{MonitorIDs: monitorIDs, Until: until})
	if err != nil {
		return nil, fmt.Errorf("list changes of status: %w", err)
	}
	for _, c := range changes {
		change := uptime.Change{At: c.At, Status: uptime.Status(c.Status)}
		pasts[c.MonitorID].Changes = append(pasts[c.MonitorID].Changes, change)
	}
	within := span{from.Add(-day), until} // a slot of a day before may be missed until now
	if err := addOwnGaps(ctx, queries, pasts, within, monitorIDs); err != nil {
		return nil, err
	}
	return pasts, addSharedGaps(ctx, queries, pasts, within, monitorIDs)
}

func addOwnGaps(ctx context.Context, queries *db.Queries, pasts map[int64]*uptime.Past, within span, monitorIDs []int64) error {
	gaps, err := queries.ListGapsOf(ctx, db.ListGapsOfParams{MonitorIDs: monitorIDs, Since: within.from, Until: within.until})
	if err != nil {
		return fmt.Errorf("list gaps: %w", err)
	}
	for _, gap := range gaps {
		until := gap.FromSlot.Add(time.Duration(gap.IntervalSeconds) * time.Second)
		if gap.UntilAt != nil {
			until = earliest(until, *gap.UntilAt)
		}
		addGap(pasts[gap.MonitorID], gap.FromSlot, until, gap.Reason)
	}
	return nil
}

func addGap(past *uptime.Past, from, until time.Time, reason string) {
	if from.Before(until) {
		past.Gaps = append(past.Gaps, uptime.GapSpan{
			Span: uptime.Span{From: from, Until: until}, Reason: uptime.GapReason(reason),
		})
	}
}

// addSharedGaps adds the time of gaps of all monitors of a schedule: without that from a slot for which a monitor has a row until the
// next one.
func addSharedGaps(
	ctx context.Context, queries *db.Queries, pasts map[int64]*uptime.Past, within span, monitorIDs []int64,
) error {
	gaps, err := queries.ListSharedGaps(ctx, db.ListSharedGapsParams{
		MonitorIDs: monitorIDs, Since: within.from, Until: within.until,
	})
	if err != nil {
		return fmt.Errorf("list the gaps of schedules: %w", err)
	}
	spans := make([]span, len(gaps))
	for i, gap := range gaps {
		spans[i] = promisedOf(gap, within)
	}
	scanned, err := scannedIn(ctx, queries, gaps, spans)
	if err != nil {
		return err
	}
	for i, gap := range gaps {
		from, schedule := spans[i].from, uptime.Schedule{Interval: gap.IntervalSeconds, PhaseMS: gap.PhaseMS}
		for _, slot := range scanned[i] {
			addGap(pasts[gap.MonitorID], from, slot, gap.Reason)
			from = schedule.Next(slot)
		}
		addGap(pasts[gap.MonitorID], from, spans[i].until, gap.Reason)
	}
	return nil
}

// promisedOf gives the part of a gap that was promised to the monitor, from a slot on.
func promisedOf(gap db.ListSharedGapsRow, within span) span {
	schedule := uptime.Schedule{Interval: gap.IntervalSeconds, PhaseMS: gap.PhaseMS}
	of := span{gap.FromSlot, earliest(schedule.Next(gap.ToSlot), within.until)}
	for _, bound := range []time.Time{gap.FromAt, within.from} {
		if of.from.Before(bound) {
			of.from = schedule.SlotAfter(bound.Add(-1))
		}
	}
	if gap.UntilAt != nil {
		of.until = earliest(of.until, *gap.UntilAt)
	}
	return of
}

// scannedIn gives the slots in each of some gaps for which its monitor has a row, as far as the log is kept.
func scannedIn(ctx context.Context, queries *db.Queries, gaps []db.ListSharedGapsRow, spans []span) (map[int][]time.Time, error) {
	progress, err := queries.GetHistoryProgress(ctx)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("get what is kept: %w", err)
	}
	var ask db.ListScannedSlotsParams
	for i, gap := range gaps {
		from := latest(spans[i].from, progress.ScansFrom)
		if !from.Before(spans[i].until) {
			continue
		}
		if ask.Since.IsZero() || from.Before(ask.Since) {
			ask.Since = from
		}
		ask.Until = latest(ask.Until, spans[i].until)
		ask.Numbers, ask.MonitorIDs = append(ask.Numbers, i), append(ask.MonitorIDs, gap.MonitorID)
		ask.IntervalsSeconds, ask.PhasesMS = append(ask.IntervalsSeconds, gap.IntervalSeconds), append(ask.PhasesMS, gap.PhaseMS)
		ask.Sinces, ask.Untils = append(ask.Sinces, from), append(ask.Untils, spans[i].until)
	}
	if len(ask.Numbers) == 0 {
		return nil, nil
	}
	rows, err := queries.ListScannedSlots(ctx, ask)
	if err != nil {
		return nil, fmt.Errorf("list the scans in gaps: %w", err)
	}
	scanned := map[int][]time.Time{}
	for _, row := range rows {
		scanned[row.Number] = append(scanned[row.Number], row.Slot)
	}
	return scanned, nil
}
