package jobs

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"riverwatch/db"
	"riverwatch/uptime"
)

// A result that comes to the log later than this after its slot's interval says nothing of how the monitor stands now:
// the database was away, or the worker frozen.
const judgedWithin = time.Minute

// change is what a scan did to a monitor's state.
type change struct {
	monitor       db.Monitor
	before, after uptime.State
	outcome       uptime.Outcome
}

// judge applies the rules of status to scans that were just inserted, and writes what follows from them. Monitors that
// are up and stay up are not even read.
func (r *Recorder) judge(ctx context.Context, tx pgx.Tx, scans []db.Scan) ([]change, error) {
	told, bad := outcomesOf(scans)
	if len(told) == 0 {
		return nil, nil
	}
	queries := db.New(tx)
	unwell, err := queries.ListNotPlainlyUp(ctx, told)
	if err != nil {
		return nil, fmt.Errorf("list states: %w", err)
	}
	unwell = append(unwell, bad...)
	if len(unwell) == 0 {
		return nil, nil
	}
	rows, err := queries.LockStatesToJudge(ctx, unwell)
	if err != nil {
		return nil, fmt.Errorf("lock states: %w", err)
	}

	changes := decideAll(rows, scans, r.now())
	last := lastChanges(changes)
	if err := writeStates(ctx, queries, last); err != nil {
		return nil, err
	}
	if err := r.insertRetries(ctx, tx, last); err != nil {
		return nil, err
	}
	return changes, nil
}

// decideAll gives the changes in the order of slots; a monitor may change more than once.
func decideAll(rows []db.LockStatesToJudgeRow, scans []db.Scan, now time.Time) []change {
	byMonitor := make(map[int64]*db.LockStatesToJudgeRow, len(rows))
	for i := range rows {
		byMonitor[rows[i].Monitor.ID] = &rows[i]
	}
	scans = slices.Clone(scans)
	slices.SortFunc(scans, func(a, b db.Scan) int {
		return cmp.Or(a.Slot.Compare(b.Slot), cmp.Compare(a.MonitorID, b.MonitorID))
	})

	var changes []change
	for _, scan := range scans {
		row := byMonitor[scan.MonitorID]
		if row == nil || !judged(scan, row.Monitor, now) {
			continue
		}
		before := stateOf(row.MonitorState)
		after := uptime.Decide(before, scan.Slot, scan.Outcome, uptime.Thresholds{
			Failure: row.Monitor.FailureThreshold, Success: row.Monitor.SuccessThreshold,
		})
		if after == before {
			continue
		}
		row.MonitorState = db.MonitorState{
			MonitorID: scan.MonitorID, Status: after.Status, Since: after.Since, JudgedSlot: after.JudgedSlot,
			Failures: after.Failures, Successes: after.Successes,
		}
		changes = append(changes, change{monitor: row.Monitor, before: before, after: after, outcome: scan.Outcome})
	}
	return changes
}

// judged reports whether a scan tells how a monitor stands now: it ran with the present configuration, and not long
// ago.
func judged(scan db.Scan, monitor db.Monitor, now time.Time) bool {
	interval := time.Duration(monitor.IntervalSeconds) * time.Second
	return scan.MonitorVersion == monitor.Version && now.Sub(scan.Slot) < interval+judgedWithin
}

func stateOf(row db.MonitorState) uptime.State {
	return uptime.State{
		Status: row.Status, Since: row.Since, JudgedSlot: row.JudgedSlot, Failures: row.Failures, Successes: row.Successes,
	}
}

// lastChanges gives the last change of each monitor, in the order of their ids.
func lastChanges(changes []change) []change {
	byMonitor := map[int64]change{}
	for _, c := range changes {
		byMonitor[c.monitor.ID] = c
	}
	return slices.SortedFunc(maps.Values(byMonitor), func(a, b change) int {
		return cmp.Compare(a.monitor.ID, b.monitor.ID)
	})
}

func writeStates(ctx context.Context, queries *db.Queries, changes []change) error {
	if len(changes) == 0 {
		return nil
	}
	var params db.UpdateMonitorStatesParams
	for _, c := range changes {
		params.MonitorIDs = append(params.MonitorIDs, c.monitor.ID)
		params.Statuses = append(params.Statuses, string(c.after.Status))
		params.Sinces = append(params.Sinces, c.after.Since)
		params.JudgedSlots = append(params.JudgedSlots, c.after.JudgedSlot)
		params.Failures = append(params.Failures, c.after.Failures)
		params.Successes = append(params.Successes, c.after.Successes)
	}
	if err := queries.UpdateMonitorStates(ctx, params); err != nil {
		return fmt.Errorf("update states: %w", err)
	}
	return nil
}

// insertRetries asks for a quick second look at each monitor that has failed and is not down yet, where that comes
// before its next slot.
func (r *Recorder) insertRetries(ctx context.Context, tx pgx.Tx, changes []change) error {
	var scans []river.InsertManyParams
	now := r.now()
	for _, c := range changes {
		at := now.Add(time.Duration(c.monitor.RetryIntervalSeconds) * time.Second)
		if c.after.Failures > c.before.Failures && at.Before(scheduleOf(c.monitor).SlotAfter(now)) {
			scans = append(scans, scanJob(ScanArgs{MonitorID: c.monitor.ID, At: at, Reason: ReasonRetry}))
		}
	}
	if len(scans) == 0 {
		return nil
	}
	if _, err := r.queue.InsertManyTx(ctx, tx, scans); err != nil {
		return fmt.Errorf("insert retries: %w", err)
	}
	return nil
}
