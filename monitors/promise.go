package monitors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"riverwatch/db"
	"riverwatch/queue"
	"riverwatch/uptime"
)

// promise opens the schedules of active monitors and inserts the rounds that begin to keep them.
func (c *change) promise(ctx context.Context, monitors ...db.Monitor) error {
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
	firstSlots, err := c.insertFirstRounds(ctx, schedules)
	if err != nil {
		return err
	}

	var open db.OpenSchedulesParams
	for _, monitor := range monitors {
		open.MonitorIDs = append(open.MonitorIDs, monitor.ID)
		open.FromAts = append(open.FromAts, firstSlots[monitor.Schedule()])
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

// insertFirstRounds inserts the round of the next slot of each schedule, and gives the slot from which on a monitor of
// the schedule is certain to be scanned. That is the next one, unless its round is there and has begun: it may have
// read its monitors already, so that the promise holds from the slot after it.
func (c *change) insertFirstRounds(
	ctx context.Context, schedules []uptime.Schedule,
) (map[uptime.Schedule]time.Time, error) {
	first := make(map[uptime.Schedule]time.Time, len(schedules))
	for _, schedule := range schedules {
		first[schedule] = schedule.SlotAfter(c.at)
	}
	results, err := c.insertRounds(ctx, schedules, first)
	if err != nil {
		return nil, err
	}
	var begun []uptime.Schedule
	for i, result := range results {
		if result.UniqueSkippedAsDuplicate && result.Job.State != rivertype.JobStateAvailable {
			begun = append(begun, schedules[i])
			first[schedules[i]] = schedules[i].Next(first[schedules[i]])
		}
	}
	_, err = c.insertRounds(ctx, begun, first)
	return first, err
}

func (c *change) insertRounds(
	ctx context.Context, schedules []uptime.Schedule, slots map[uptime.Schedule]time.Time,
) ([]*rivertype.JobInsertResult, error) {
	if len(schedules) == 0 {
		return nil, nil
	}
	rounds := make([]river.InsertManyParams, len(schedules))
	for i, schedule := range schedules {
		rounds[i] = queue.Round(schedule, slots[schedule])
	}
	results, err := c.queue.InsertManyTx(ctx, c.tx, rounds)
	if err != nil {
		return nil, fmt.Errorf("insert rounds: %w", err)
	}
	return results, nil
}

// withdraw closes a monitor's open schedule. A slot that has not been scanned is no longer promised.
func (c *change) withdraw(ctx context.Context, monitorID int64) error {
	open, err := c.queries.GetOpenSchedule(ctx, monitorID)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get the schedule of monitor %d: %w", monitorID, err)
	}

	schedule := open.Schedule()
	_, err = c.queries.GetScan(ctx, db.GetScanParams{Slot: schedule.SlotAt(c.at), MonitorID: monitorID})
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("get the present scan of monitor %d: %w", monitorID, err)
	}
	until := schedule.Close(c.at, err == nil)
	if until.Before(open.FromAt) {
		err = c.queries.DropSchedule(ctx, monitorID)
	} else {
		err = c.queries.CloseSchedule(ctx, db.CloseScheduleParams{MonitorID: monitorID, UntilAt: until})
	}
	if err != nil {
		return fmt.Errorf("close the schedule of monitor %d: %w", monitorID, err)
	}
	return nil
}

const (
	// Of monitors that are created together, those are scanned ahead of their first slot that would wait for longer.
	patience = time.Minute
	// So many scans ahead of rounds are asked for in a second.
	firstScansPerSecond = 50
)

// askForFirstScans asks for scans ahead of the first rounds: of all monitors at once, or of those that would wait long,
// a few each second.
func (c *change) askForFirstScans(ctx context.Context, monitors []db.Monitor, all bool) error {
	var scans []river.InsertManyParams
	for _, monitor := range monitors {
		if all || monitor.Schedule().SlotAfter(c.at).Sub(c.at) > patience {
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
