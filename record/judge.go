package record

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"riverwatch/db"
	"riverwatch/uptime"
)

// settle writes what follows from scans that were just inserted: it takes the gaps away that were declared of them meanwhile,
// and applies the rules of status. Monitors that are up and stay up are not even read.
func (r *Recorder) settle(ctx context.Context, tx pgx.Tx, scans []db.Scan) ([]Transition, error) {
	if len(scans) == 0 {
		return nil, nil
	}
	queries := db.New(tx)
	told := []int64{}
	for _, scan := range scans {
		if scan.Outcome.Tells() {
			told = append(told, scan.MonitorID)
		}
	}
	beside, err := queries.LookBesideScans(ctx, db.LookBesideScansParams{
		MonitorIDs: told, Oldest: scans[0].Slot, Newest: scans[len(scans)-1].Slot,
	})
	if err != nil {
		return nil, fmt.Errorf("look at states and gaps: %w", err)
	}
	if beside.Stale {
		if err := markStale(ctx, queries, scans); err != nil {
			return nil, err
		}
	}
	if beside.Gaps {
		if err := dropGaps(ctx, queries, scans); err != nil {
			return nil, err
		}
	}
	return r.judge(ctx, tx, scans, beside.NotPlainlyUp)
}

// markStale has the hours of scans rolled up again that come late.
func markStale(ctx context.Context, queries *db.Queries, scans []db.Scan) error {
	var mark db.MarkStaleHoursParams
	for _, scan := range scans {
		mark.Slots, mark.MonitorIDs = append(mark.Slots, scan.Slot), append(mark.MonitorIDs, scan.MonitorID)
	}
	if err := queries.MarkStaleHours(ctx, mark); err != nil {
		return fmt.Errorf("mark hours stale: %w", err)
	}
	return nil
}

// dropGaps takes the gaps of single monitors away that have a row now: another attempt at a round had given up on a scan that
// was still at work, or waited for the database.
func dropGaps(ctx context.Context, queries *db.Queries, scans []db.Scan) error {
	var drop db.DropMonitorGapsParams
	for _, scan := range scans {
		drop.Slots, drop.MonitorIDs = append(drop.Slots, scan.Slot), append(drop.MonitorIDs, scan.MonitorID)
	}
	if err := queries.DropMonitorGaps(ctx, drop); err != nil {
		return fmt.Errorf("drop the gaps of what is in the log: %w", err)
	}
	return nil
}

// judge applies the rules of status to scans, with unwell the monitors among theirs of which a good scan may change the state,
// and writes what follows from them.
func (r *Recorder) judge(ctx context.Context, tx pgx.Tx, scans []db.Scan, unwell []int64) ([]Transition, error) {
	for _, scan := range scans {
		if scan.Outcome.Tells() && !scan.Outcome.Confirms() {
			unwell = append(unwell, scan.MonitorID)
		}
	}
	if len(unwell) == 0 {
		return nil, nil
	}
	standings, err := LockStandings(ctx, tx, unwell)
	if err != nil {
		return nil, err
	}

	transitions := decideAll(standings, scans, r.Now())
	if err := Apply(ctx, tx, transitions); err != nil {
		return nil, err
	}
	return transitions, r.insertRetries(ctx, tx, lastOfEach(transitions), scans[0].Worker)
}

// decideAll gives the transitions in the order of slots; a monitor may have more than one.
func decideAll(standings []Standing, scans []db.Scan, now time.Time) []Transition {
	byMonitor := make(map[int64]db.Monitor, len(standings))
	states := make(map[int64]uptime.State, len(standings))
	for _, standing := range standings {
		byMonitor[standing.Monitor.ID], states[standing.Monitor.ID] = standing.Monitor, standing.State
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
