package sight

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"riverwatch/db"
	"riverwatch/record"
	"riverwatch/uptime"
)

const (
	takeBackSize = 1000            // scans a transaction
	longestScan  = 3 * time.Minute // from a slot to the end of its scan, at most
)

// takeBack makes the failures inconclusive that this worker wrote since it last saw the network, with the states that
// they led to, and asks for scans in their place: a transaction for some of them at a time, each of which leaves states
// and log in agreement.
func (s *Sight) takeBack(ctx context.Context) error {
	suspects, ok := s.view.takeSuspects()
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, takeBackIn)
	defer cancel()
	// inTx takes a part of it back, and tells of what that changed.
	inTx := func(part func(tx pgx.Tx) ([]record.Transition, error)) error {
		var transitions []record.Transition
		err := db.InTx(ctx, s.Conn, func(tx pgx.Tx) (err error) {
			transitions, err = part(tx)
			return err
		})
		if err == nil {
			record.Log(ctx, s.Logger, transitions)
		}
		return err
	}
	total, err := 0, error(nil)
	for count := takeBackSize; count == takeBackSize && err == nil; total += count {
		err = inTx(func(tx pgx.Tx) (transitions []record.Transition, err error) {
			count, transitions, err = s.takeBackSome(ctx, tx, suspects)
			return transitions, err
		})
	}
	// A scan may have been taken back just before the recorder could tell what it had done.
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(suspects.byMonitor)), takeBackSize) {
		if err == nil {
			err = inTx(func(tx pgx.Tx) ([]record.Transition, error) { return judgeAgain(ctx, tx, ids, suspects.byMonitor) })
		}
	}
	if err != nil {
		s.view.giveBackSuspects()
		return fmt.Errorf("take back scans: %w", err)
	}
	if total > 0 {
		s.Logger.InfoContext(ctx, "failures of a blind worker were taken back", slog.Int("scans", total))
	}
	return nil
}

// takeBackSome takes back a transaction's worth of scans, and gives how many that were, and what it changed.
func (s *Sight) takeBackSome(
	ctx context.Context, tx pgx.Tx, suspects takeback,
) (count int, transitions []record.Transition, err error) {
	queries := db.New(tx)
	taken, err := queries.TakeBackScans(ctx, db.TakeBackScansParams{
		Error: cannotSee, Worker: s.Worker, Outcomes: words(unheardOutcomes),
		Since: suspects.since.Add(-longestScan), EndedSince: suspects.since, EndedUntil: suspects.until, PageSize: takeBackSize,
	})
	if err != nil {
		return 0, nil, fmt.Errorf("make scans inconclusive: %w", err)
	}
	count = len(taken)
	slices.Sort(taken)
	if taken = slices.Compact(taken); count == 0 {
		return 0, nil, nil
	}
	if transitions, err = judgeAgain(ctx, tx, taken, suspects.byMonitor); err != nil {
		return 0, nil, err
	}
	if _, err := s.Queue.InsertManyTx(ctx, tx, scansInPlaceOfBlind(taken, s.Now())); err != nil {
		return 0, nil, fmt.Errorf("insert scans: %w", err)
	}
	return count, transitions, nil
}

func words(outcomes []uptime.Outcome) []string {
	words := make([]string, len(outcomes))
	for i, outcome := range outcomes {
		words[i] = string(outcome)
	}
	return words
}

// judgeAgain gives monitors the states that they would have if the suspects had never been: it starts from the state
// before the first of them, and applies what the log says now.
func judgeAgain(
	ctx context.Context, tx pgx.Tx, monitorIDs []int64, suspects map[int64][]suspect,
) ([]record.Transition, error) {
	queries := db.New(tx)
	standings, err := record.LockStandings(ctx, tx, monitorIDs)
	if err != nil {
		return nil, fmt.Errorf("take back of %d monitors: %w", len(monitorIDs), err)
	}
	firsts := map[int64]suspect{}
	var ids []int64
	var since time.Time
	for _, standing := range standings {
		id := standing.Monitor.ID
		first, ok := firstSuspect(suspects[id], standing.State)
		if !ok {
			continue
		}
		firsts[id] = first
		ids = append(ids, id)
		if since.IsZero() || first.After.JudgedSlot.Before(since) {
			since = first.After.JudgedSlot
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	scans, err := queries.ListOutcomes(ctx, db.ListOutcomesParams{MonitorIDs: ids, Since: since.Add(-longestScan)})
	if err != nil {
		return nil, fmt.Errorf("list scans: %w", err)
	}
	transitions := replay(standings, firsts, scans)
	return transitions, record.Apply(ctx, tx, transitions)
}

// firstSuspect gives the first of a monitor's suspects since its status last began anew, as it does when it is paused,
// resumed or changed, if its present state rests on it.
func firstSuspect(suspects []suspect, present uptime.State) (first suspect, ok bool) {
	later := present
	for _, s := range slices.Backward(suspects) {
		// No scan leads to pending or paused.
		anew := (later.Status == uptime.Pending || later.Status == uptime.Paused) && !later.Since.Equal(s.After.Since)
		if anew {
			break
		}
		first, ok, later = s, true, s.Before
	}
	return first, ok
}

// replay gives what changes when scans are judged again, each monitor's from before its first suspect, to which it goes back first.
func replay(standings []record.Standing, firsts map[int64]suspect, scans []db.ListOutcomesRow) []record.Transition {
	byMonitor := map[int64][]db.ListOutcomesRow{}
	for _, scan := range scans {
		byMonitor[scan.MonitorID] = append(byMonitor[scan.MonitorID], scan)
	}
	var transitions []record.Transition
	for _, standing := range standings {
		first, ok := firsts[standing.Monitor.ID]
		if !ok {
			continue
		}
		state, present := first.Before, standing.State
		steps := []record.Transition{{Monitor: standing.Monitor, Before: present, After: state}}
		for _, scan := range byMonitor[standing.Monitor.ID] {
			// What came to the log came there when the scan had ended, or a moment later.
			heard := db.EndedAt(scan.Slot, scan.LateMS, scan.TotalUS)
			if standing.Monitor.Configuration().Counted(scan.MonitorVersion, scan.Slot, heard) {
				before := state
				if state = uptime.Decide(before, scan.Slot, scan.Outcome, standing.Monitor.Thresholds()); state != before {
					steps = append(steps, record.Transition{Monitor: standing.Monitor, Before: before, After: state})
				}
			}
		}
		if !state.Equal(present) {
			transitions = append(transitions, steps...)
		}
	}
	return transitions
}

// takeback is what a blind worker takes back: failures that ended since an instant until before another, and what they
// did to each monitor, oldest first.
type takeback struct {
	since, until time.Time
	byMonitor    map[int64][]suspect
}

// takeSuspects gives what is to be taken back, if anything is.
func (v *view) takeSuspects() (d takeback, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.written || v.suspectSince.IsZero() {
		return takeback{}, false
	}
	v.written = false
	d = takeback{since: v.suspectSince, until: v.sawAgainAt, byMonitor: map[int64][]suspect{}}
	if !v.blindSince.IsZero() {
		d.until = v.now().Add(time.Hour) // until we see again
	}
	for _, one := range v.suspects {
		if !one.at.Before(d.since) {
			d.byMonitor[one.Monitor.ID] = append(d.byMonitor[one.Monitor.ID], one)
		}
	}
	return d, true
}

// giveBackSuspects is for who could not write what came of them.
func (v *view) giveBackSuspects() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.written = true
}
