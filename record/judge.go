package record

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"riverwatch/db"
	"riverwatch/queue"
	"riverwatch/uptime"
)

// judge applies the rules of status to scans that were just inserted, and writes what follows from them. Monitors that
// are up and stay up are not even read.
func (r *Recorder) judge(ctx context.Context, tx pgx.Tx, scans []db.Scan) ([]Transition, error) {
	var told []int64
	for _, scan := range scans {
		if scan.Outcome.Tells() {
			told = append(told, scan.MonitorID)
		}
	}
	if len(told) == 0 {
		return nil, nil
	}
	queries := db.New(tx)
	unwell, err := queries.ListNotPlainlyUp(ctx, told)
	if err != nil {
		return nil, fmt.Errorf("list states: %w", err)
	}
	for _, scan := range scans {
		if scan.Outcome.Tells() && !scan.Outcome.Confirms() {
			unwell = append(unwell, scan.MonitorID)
		}
	}
	if len(unwell) == 0 {
		return nil, nil
	}
	rows, err := queries.LockStatesToJudge(ctx, unwell)
	if err != nil {
		return nil, fmt.Errorf("lock states: %w", err)
	}

	transitions := decideAll(rows, scans, r.Now())
	if err := Apply(ctx, tx, transitions); err != nil {
		return nil, err
	}
	return transitions, r.insertRetries(ctx, tx, lastOfEach(transitions))
}

// decideAll gives the transitions in the order of slots; a monitor may have more than one.
func decideAll(rows []db.LockStatesToJudgeRow, scans []db.Scan, now time.Time) []Transition {
	byMonitor := make(map[int64]db.Monitor, len(rows))
	states := make(map[int64]uptime.State, len(rows))
	for _, row := range rows {
		byMonitor[row.Monitor.ID], states[row.Monitor.ID] = row.Monitor, row.MonitorState.State()
	}
	scans = slices.Clone(scans)
	slices.SortFunc(scans, func(a, b db.Scan) int {
		return cmp.Or(a.Slot.Compare(b.Slot), cmp.Compare(a.MonitorID, b.MonitorID))
	})

	var transitions []Transition
	for _, scan := range scans {
		monitor, ok := byMonitor[scan.MonitorID]
		if !ok || !monitor.Configuration().Counts(scan.MonitorVersion, scan.Slot, now) {
			continue
		}
		before := states[scan.MonitorID]
		after := uptime.Decide(before, scan.Slot, scan.Outcome, monitor.Thresholds())
		if after != before {
			states[scan.MonitorID] = after
			transitions = append(transitions, Transition{
				Monitor: monitor, Before: before, After: after, Outcome: scan.Outcome,
			})
		}
	}
	return transitions
}

// insertRetries asks for a quick second look at each monitor that has failed and is not down yet, where that comes
// before its next slot.
func (r *Recorder) insertRetries(ctx context.Context, tx pgx.Tx, transitions []Transition) error {
	var scans []river.InsertManyParams
	now := r.Now()
	for _, t := range transitions {
		at := now.Add(time.Duration(t.Monitor.RetryIntervalSeconds) * time.Second)
		if t.After.Failures > t.Before.Failures && at.Before(t.Monitor.Schedule().SlotAfter(now)) {
			scan, _ := queue.Scan(queue.ScanArgs{MonitorID: t.Monitor.ID, At: at, Reason: queue.ReasonRetry})
			scans = append(scans, scan)
		}
	}
	if len(scans) == 0 {
		return nil
	}
	if _, err := r.Queue.InsertManyTx(ctx, tx, scans); err != nil {
		return fmt.Errorf("insert retries: %w", err)
	}
	return nil
}
