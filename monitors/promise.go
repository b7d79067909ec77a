package monitors

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"riverwatch/db"
	"riverwatch/queue"
	"riverwatch/uptime"
)

// longestChange is longer than it takes from the instant of a change until others see it: a round that begins meanwhile reads
// the monitors as they were.
const longestChange = 30 * time.Second

// promise opens the schedules of monitors that are to be scanned otherwise than before, and inserts the rounds that begin to
// keep them.
func (c *change) promise(ctx context.Context, edits []*edit) error {
	var promised []*edit
	var monitors []db.Monitor
	for _, e := range edits {
		if e.to.Active() && !e.promised() {
			promised, monitors = append(promised, e), append(monitors, e.to.Monitor)
		}
	}
	if len(monitors) == 0 {
		return nil
	}
	schedules := distinctSchedules(monitors)
	var rounds db.LockRoundsParams
	for _, schedule := range schedules {
		rounds.IntervalsSeconds = append(rounds.IntervalsSeconds, schedule.Interval)
		rounds.PhasesMS = append(rounds.PhasesMS, schedule.PhaseMS)
	}
	if err := c.queries.LockRounds(ctx, rounds); err != nil {
		return fmt.Errorf("lock rounds: %w", err)
	}
	// It begins now: a change of many monitors may have begun seconds ago, and slots that have passed since would be late.
	now, err := c.time(ctx)
	if err != nil {
		return err
	}
	firstSlots, err := c.insertFirstRounds(ctx, schedules, now)
	if err != nil {
		return err
	}

	var open db.OpenSchedulesParams
	for _, e := range promised {
		monitor, from := e.to.Monitor, firstSlots[e.to.Schedule()]
		if e.from.Active() && e.from.Schedule().SlotAt(from).Equal(from) && from.Sub(c.at) < longestChange {
			from = monitor.Schedule().Next(from) // the round of the schedule before may be at work on this slot
		}
		open.MonitorIDs = append(open.MonitorIDs, monitor.ID)
		open.FromAts = append(open.FromAts, from)
		open.IntervalsSeconds = append(open.IntervalsSeconds, monitor.IntervalSeconds)
		open.PhasesMS = append(open.PhasesMS, monitor.PhaseMS)
	}
	if err := c.queries.OpenSchedules(ctx, open); err != nil {
		return fmt.Errorf("open schedules: %w", err)
	}
	return nil
}

// distinctSchedules gives the schedules of monitors once each, in order, lest two transactions deadlock.
func distinctSchedules(monitors []db.Monitor) []uptime.Schedule {
	schedules := make([]uptime.Schedule, len(monitors))
	for i, monitor := range monitors {
		schedules[i] = monitor.Schedule()
	}
	slices.SortFunc(schedules, func(a, b uptime.Schedule) int {
		return cmp.Or(cmp.Compare(a.Interval, b.Interval), cmp.Compare(a.PhaseMS, b.PhaseMS))
	})
	return slices.Compact(schedules)
}

// insertFirstRounds inserts the rounds of each schedule after now, as many as a round makes sure of, and gives the slot from which
// on a monitor of the schedule is certain to be scanned. That is the next one, unless its round is there and has begun: it may
// have read its monitors already, so that the promise holds from the slot after it. All are inserted at once, in order: a
// change that inserted the second rounds after the first ones could wait for another one that waits for it.
func (c *change) insertFirstRounds(
	ctx context.Context, schedules []uptime.Schedule, now time.Time,
) (map[uptime.Schedule]time.Time, error) {
	var rounds []river.InsertManyParams
	for _, schedule := range schedules {
		slot := schedule.SlotAfter(now)
		for range uptime.RoundsAhead {
			rounds = append(rounds, queue.Round(schedule, slot))
			slot = schedule.Next(slot)
		}
	}
	results, err := c.queue.InsertManyTx(ctx, c.tx, rounds)
	if err != nil {
		return nil, fmt.Errorf("insert rounds: %w", err)
	}
	first := make(map[uptime.Schedule]time.Time, len(schedules))
	for i, schedule := range schedules {
		first[schedule] = schedule.SlotAfter(now)
		result := results[i*uptime.RoundsAhead]
		if result.UniqueSkippedAsDuplicate && result.Job.State != rivertype.JobStateAvailable {
			first[schedule] = schedule.Next(first[schedule])
		}
	}
	return first, nil
}

// withdraw closes the open schedules of monitors that are not to be scanned any more, or otherwise. A slot that has not been
// scanned is no longer promised.
func (c *change) withdraw(ctx context.Context, edits []*edit) error {
	var ids []int64
	for _, e := range edits {
		if e.from.Active() && !e.promised() {
			ids = append(ids, e.from.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	open, err := c.queries.ListOpenSchedules(ctx, ids)
	if err != nil {
		return fmt.Errorf("list schedules: %w", err)
	}
	present := db.ListScannedParams{Slots: nil, MonitorIDs: nil, Since: c.at, Until: c.at}
	for _, one := range open {
		slot := one.Schedule().SlotAt(c.at)
		present.MonitorIDs, present.Slots = append(present.MonitorIDs, one.MonitorID), append(present.Slots, slot)
		if slot.Before(present.Since) {
			present.Since = slot
		}
	}
	scanned, err := c.queries.ListScanned(ctx, present)
	if err != nil {
		return fmt.Errorf("list present scans: %w", err)
	}

	var drop []int64
	var end db.CloseSchedulesParams
	for _, one := range open {
		until := one.Schedule().Close(c.at, slices.Contains(scanned, one.MonitorID))
		if until.Before(one.FromAt) {
			drop = append(drop, one.MonitorID)
			continue
		}
		end.MonitorIDs, end.UntilAts = append(end.MonitorIDs, one.MonitorID), append(end.UntilAts, until)
	}
	if err := c.queries.DropSchedules(ctx, drop); err != nil {
		return fmt.Errorf("drop schedules: %w", err)
	}
	if err := c.queries.CloseSchedules(ctx, end); err != nil {
		return fmt.Errorf("close schedules: %w", err)
	}
	return nil
}

const (
	// Of monitors that are created together, those are scanned ahead of their first slot that would wait for longer.
	patience = time.Minute
	// So many scans ahead of rounds are asked for in a second.
	firstScansPerSecond = 50
)

// askForFirstScans asks for scans ahead of the first rounds of monitors whose status starts anew: of a single one at once, of
// several for those that would wait long, a few each second.
func (c *change) askForFirstScans(ctx context.Context, edits []*edit) error {
	var monitors []db.Monitor
	for _, e := range edits {
		if e.anew && e.to.Active() {
			monitors = append(monitors, e.to.Monitor)
		}
	}
	var scans []river.InsertManyParams
	for _, monitor := range monitors {
		if len(monitors) == 1 || monitor.Schedule().SlotAfter(c.at).Sub(c.at) > patience {
			// A microsecond, because only a scan after the instant at which a status starts tells anything of it.
			wait := time.Microsecond + time.Duration(len(scans))*time.Second/firstScansPerSecond
			scan, _ := queue.Scan(queue.ScanArgs{MonitorID: monitor.ID, At: c.at.Add(wait), Reason: queue.ReasonAsked})
			scans = append(scans, scan)
		}
	}
	if len(scans) == 0 {
		return nil
	}
	if _, err := c.queue.InsertManyTx(ctx, c.tx, scans); err != nil {
		return fmt.Errorf("insert first scans: %w", err)
	}
	return nil
}
