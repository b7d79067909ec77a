package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"riverwatch/db"
	"riverwatch/uptime"
)

// GlanceSlots is how many of a monitor's last slots a glance has.
const GlanceSlots = 60

// A Glance is what a list of monitors shows of the past of one.
type Glance struct {
	Slots []Slot // the last GlanceSlots, oldest first; empty unless they were asked for

	Day, Week, Month uptime.Count // of the 24 hours, 7 days and 30 days until now

	// Of the hours of the last day that are rolled up; of a monitor that has none yet, of the log.
	Latency Histogram
}

// Slot is what came of a slot.
type Slot struct {
	At      time.Time
	Came    Came
	TotalUS int              // of a scan
	Reason  uptime.GapReason // of a gap
}

// Came is what came of a slot.
type Came string

// What may come of a slot; the first four are what the outcome of a scan counts as, like outcome_class in db/schema.
const (
	CameGood         Came = "good"
	CameSlow         Came = "slow"
	CameFailed       Came = "failed"
	CameInconclusive Came = "inconclusive"
	CameGap          Came = "gap"
	CamePending      Came = "pending" // it was promised, and is not accounted for yet
	CameNone         Came = "none"    // nothing was promised
)

// Scanned reports whether there is a scan of the slot.
func (s Slot) Scanned() bool {
	return slices.Contains([]Came{CameGood, CameSlow, CameFailed, CameInconclusive}, s.Came)
}

// cameOf gives what an outcome counts as.
func cameOf(outcome uptime.Outcome) Came {
	switch {
	case outcome == uptime.OKSlow:
		return CameSlow
	case outcome.Good():
		return CameGood
	case !outcome.Conclusive():
		return CameInconclusive
	default:
		return CameFailed
	}
}

// Parts says what glances are to have.
type Parts struct{ Slots, Uptime, Latency bool }

// Glances gives those parts of the past of monitors, in their order.
func Glances(ctx context.Context, conn db.DBTX, now time.Time, parts Parts, monitors ...db.Monitor) ([]Glance, error) {
	glances := make([]Glance, len(monitors))
	ids := make([]int64, len(monitors))
	longest := 0
	for i, m := range monitors {
		ids[i], longest = m.ID, max(longest, m.IntervalSeconds)
	}
	var from time.Time
	switch {
	case parts.Uptime:
		from = now.Add(-30 * day)
	case parts.Slots:
		from = now
	}
	if parts.Slots {
		from = earliest(from, now.Add(-time.Duration((GlanceSlots+1)*longest)*time.Second))
	}
	var pasts map[int64]*uptime.Past
	var err error
	if !from.IsZero() {
		if pasts, err = pastsOf(ctx, conn, from, now, ids...); err != nil {
			return nil, err
		}
	}
	if parts.Uptime {
		for i, id := range ids {
			month := pasts[id].Stretches(now.Add(-30*day), now)
			of := func(length time.Duration) uptime.Count {
				return uptime.CountOf(uptime.Within(month, uptime.Span{From: now.Add(-length), Until: now}))
			}
			glances[i].Day, glances[i].Week, glances[i].Month = of(day), of(7*day), of(30*day)
		}
	}
	if parts.Slots {
		if err := addSlots(ctx, conn, now, monitors, pasts, glances); err != nil {
			return nil, err
		}
	}
	if parts.Latency {
		return glances, addLatency(ctx, conn, now, ids, glances)
	}
	return glances, nil
}

// addSlots adds what came of the last slots: by one query for each interval, as each has a range of its own.
func addSlots(
	ctx context.Context, conn db.DBTX, now time.Time, monitors []db.Monitor, pasts map[int64]*uptime.Past, glances []Glance,
) error {
	byInterval := map[int]*db.ListBarsParams{}
	for _, m := range monitors {
		ask := byInterval[m.IntervalSeconds]
		if ask == nil {
			since := now.Add(-time.Duration((GlanceSlots+1)*m.IntervalSeconds) * time.Second)
			ask = &db.ListBarsParams{IntervalSeconds: m.IntervalSeconds, Since: since, Until: now, MonitorIDs: nil, PhasesMS: nil}
			byInterval[m.IntervalSeconds] = ask
		}
		ask.MonitorIDs, ask.PhasesMS = append(ask.MonitorIDs, m.ID), append(ask.PhasesMS, m.PhaseMS)
	}
	type key struct {
		id   int64
		slot int64
	}
	scans := map[key]db.ListBarsRow{}
	for _, ask := range byInterval {
		rows, err := db.New(db.PlanEach(conn)).ListBars(ctx, *ask)
		if err != nil {
			return fmt.Errorf("list the last scans: %w", err)
		}
		for _, row := range rows {
			scans[key{row.MonitorID, row.Slot.UnixMilli()}] = row
		}
	}
	for i, m := range monitors {
		schedule := uptime.Schedule{Interval: m.IntervalSeconds, PhaseMS: m.PhaseMS}
		slot := schedule.SlotAt(now)
		for range GlanceSlots {
			came := Slot{At: slot}
			if scan, ok := scans[key{m.ID, slot.UnixMilli()}]; ok {
				came.Came, came.TotalUS = cameOf(uptime.Outcome(scan.Outcome)), scan.TotalUS
			} else {
				came.Came, came.Reason = cameOfNone(pasts[m.ID], slot)
			}
			glances[i].Slots = append(glances[i].Slots, came)
			slot = schedule.Previous(slot)
		}
		slices.Reverse(glances[i].Slots)
	}
	return nil
}

// cameOfNone says what came of a slot that has no scan.
func cameOfNone(past *uptime.Past, slot time.Time) (Came, uptime.GapReason) {
	in := func(span uptime.Span) bool { return !slot.Before(span.From) && slot.Before(span.Until) }
	if !slices.ContainsFunc(past.Promised, in) {
		return CameNone, ""
	}
	for _, gap := range past.Gaps {
		if in(gap.Span) {
			return CameGap, gap.Reason
		}
	}
	return CamePending, ""
}

func addLatency(ctx context.Context, conn db.DBTX, now time.Time, ids []int64, glances []Glance) error {
	queries := db.New(db.PlanEach(conn))
	progress, err := queries.GetHistoryProgress(ctx)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("get how far roll-ups have come: %w", err)
	}
	since := HourOf(now).Add(-day)
	byID := map[int64]Histogram{}
	add := func(id int64, histogram []int) { byID[id] = byID[id].plus(histogramOf(histogram)) }
	if since.Before(progress.RolledUntil) {
		hours, err := queries.ListHistograms(ctx, db.ListHistogramsParams{
			MonitorIDs: ids, Since: since, Until: progress.RolledUntil,
		})
		if err != nil {
			return fmt.Errorf("list histograms: %w", err)
		}
		for _, hour := range hours {
			add(hour.MonitorID, hour.Histogram)
		}
	}
	var young []int64
	for _, id := range ids {
		if byID[id] == nil {
			young = append(young, id)
		}
	}
	if from := latest(since, progress.RolledUntil); len(young) > 0 && from.Before(now) {
		rows, err := queries.SumScans(ctx, db.SumScansParams{
			MonitorIDs: young, Since: from, Until: now, StepSeconds: int(2 * day / time.Second),
		})
		if err != nil {
			return fmt.Errorf("sum up scans: %w", err)
		}
		for _, row := range rows {
			add(row.MonitorID, row.Histogram)
		}
	}
	for i, id := range ids {
		glances[i].Latency = byID[id]
	}
	return nil
}
