package record

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"riverwatch/db"
	"riverwatch/uptime"
)

// Standing is a monitor and where it stands.
type Standing struct {
	Monitor db.Monitor
	State   uptime.State
}

// LockStandings gives those of monitors that are not deleted, in the order of their ids, and keeps others from changing where
// they stand until the transaction ends. An edit after which an older scan tells nothing holds the state until it is
// committed, so the monitors are read by a statement of their own, once the states are locked: the one that waited for the
// edit would give the new state with the old monitor.
func LockStandings(ctx context.Context, tx pgx.Tx, monitorIDs []int64) ([]Standing, error) {
	queries := db.New(tx)
	states, err := queries.LockMonitorStates(ctx, monitorIDs)
	if err != nil {
		return nil, fmt.Errorf("lock states: %w", err)
	}
	monitors, err := queries.ListMonitors(ctx, monitorIDs)
	if err != nil {
		return nil, fmt.Errorf("list monitors: %w", err)
	}
	byID := make(map[int64]db.Monitor, len(monitors))
	for _, monitor := range monitors {
		byID[monitor.ID] = monitor
	}
	var standings []Standing
	for _, state := range states {
		if monitor, ok := byID[state.MonitorID]; ok {
			standings = append(standings, Standing{Monitor: monitor, State: state.State()})
		}
	}
	return standings, nil
}

// Transition is a change of where a monitor stands.
type Transition struct {
	Monitor db.Monitor
	Before  uptime.State   // zero: it begins to be watched, new or revived
	After   uptime.State   // zero: it is deleted, and stands nowhere
	Outcome uptime.Outcome // of the scan that led to it; empty: somebody changed the monitor, or a blind worker's scans are taken back
}

// Apply is the one door for a status: whoever changes one, be it by a scan, a scan that is taken back, or an edit, comes
// through it in the transaction of its cause. So what follows from a change can never disagree with it. transitions are
// in the order in which they came; a monitor may have several.
func Apply(ctx context.Context, tx pgx.Tx, transitions []Transition) error {
	var put db.PutMonitorStatesParams
	var gone []int64
	for _, t := range lastOfEach(transitions) {
		if t.After == (uptime.State{}) {
			gone = append(gone, t.Monitor.ID)
			continue
		}
		put.MonitorIDs = append(put.MonitorIDs, t.Monitor.ID)
		put.Statuses = append(put.Statuses, string(t.After.Status))
		put.Sinces = append(put.Sinces, t.After.Since)
		put.JudgedSlots = append(put.JudgedSlots, t.After.JudgedSlot)
		put.Failures = append(put.Failures, t.After.Failures)
		put.Successes = append(put.Successes, t.After.Successes)
	}
	if len(put.MonitorIDs) > 0 {
		if err := db.New(tx).PutMonitorStates(ctx, put); err != nil {
			return fmt.Errorf("write states: %w", err)
		}
	}
	if len(gone) > 0 {
		if err := db.New(tx).DropMonitorStates(ctx, gone); err != nil {
			return fmt.Errorf("drop states: %w", err)
		}
	}
	return appendChanges(ctx, tx, transitions)
}

// appendChanges writes how statuses changed, of which uptime is counted. A monitor that is deleted has no status: it is promised
// nothing any more.
func appendChanges(ctx context.Context, tx pgx.Tx, transitions []Transition) error {
	var changes db.AppendStatusChangesParams
	for _, t := range transitions {
		same := t.Before.Status == t.After.Status && t.Before.Since.Equal(t.After.Since)
		if same || t.After == (uptime.State{}) {
			continue
		}
		changes.MonitorIDs = append(changes.MonitorIDs, t.Monitor.ID)
		changes.Ats = append(changes.Ats, t.After.Since)
		changes.Statuses = append(changes.Statuses, string(t.After.Status))
		changes.Outcomes = append(changes.Outcomes, string(t.Outcome))
	}
	if len(changes.MonitorIDs) == 0 {
		return nil
	}
	if err := db.New(tx).AppendStatusChanges(ctx, changes); err != nil {
		return fmt.Errorf("write changes of status: %w", err)
	}
	return nil
}

// Log tells of each status that has changed, once that is committed.
func Log(ctx context.Context, logger *slog.Logger, transitions []Transition) {
	for _, t := range transitions {
		if t.Before.Status == t.After.Status {
			continue
		}
		attrs := []slog.Attr{
			slog.Int64("monitor_id", t.Monitor.ID), slog.String("from", string(t.Before.Status)),
			slog.String("to", string(t.After.Status)), slog.Time("slot", t.After.Since),
		}
		if t.Outcome != "" {
			attrs = append(attrs, slog.String("outcome", string(t.Outcome)))
		}
		logger.LogAttrs(ctx, slog.LevelInfo, "status changed", attrs...)
	}
}

// lastOfEach gives the last transition of each monitor, in the order of their ids, so that two transactions do not
// deadlock.
func lastOfEach(transitions []Transition) []Transition {
	byMonitor := map[int64]Transition{}
	for _, t := range transitions {
		byMonitor[t.Monitor.ID] = t
	}
	return slices.SortedFunc(maps.Values(byMonitor), func(a, b Transition) int {
		return cmp.Compare(a.Monitor.ID, b.Monitor.ID)
	})
}
