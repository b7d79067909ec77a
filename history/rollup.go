package history

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"riverwatch/db"
	"riverwatch/wait"
)

const (
	// One transaction rolls up the monitors of so many ids.
	partIDs = 100_000
	// One transaction mends so many hours that are stale.
	stalePage = 500
	// For so long one call waits for transactions that may not know of an hour's end, and looks so often.
	closeWithin = 5 * time.Second
	closeLook   = 100 * time.Millisecond
)

// Rolled is what a call of RollUp did, and what River UI shows.
type Rolled struct {
	Hours int `json:"hours"` // that are complete now
	Days  int `json:"days"`
	Stale int `json:"stale"` // hours of a monitor that were computed again
}

// RollUp computes the hours and days of the log that are over and not rolled up yet, and those of which the log has changed since,
// until ctx is done or nothing is left. An hour is due when all its promises are accounted for (tend). It is computed whole from the
// log, in parts, each in a transaction with the note of how far it has come: killed at any point, it neither loses nor doubles.
//
// Who writes a row of an hour that is closed marks the hour stale in the same transaction (record). An hour is computed only when
// every transaction has ended that may not know that it is closed. So each row is seen by the roll-up, or has left a mark.
func RollUp(ctx context.Context, conn db.Conn) (done Rolled, err error) {
	if err := db.New(conn).StartHistory(ctx); err != nil {
		return done, fmt.Errorf("note where to begin: %w", err)
	}
	patience := time.Now().Add(closeWithin)
	for step := stepDone; step != stepNone; {
		err := db.InTx(ctx, conn, func(tx pgx.Tx) (err error) {
			step, err = rollUpStep(ctx, db.New(tx), &done)
			return err
		})
		if err != nil {
			return done, fmt.Errorf("roll up: %w", err)
		}
		if step == stepWaits && (time.Now().After(patience) || !wait.For(ctx, closeLook)) {
			break // somebody's transaction is long: the next call goes on
		}
	}
	for more := true; more; {
		err := db.InTx(ctx, conn, func(tx pgx.Tx) (err error) {
			var mended int
			mended, err = mendStale(ctx, db.New(tx))
			done.Stale += mended
			more = mended == stalePage
			return err
		})
		if err != nil {
			return done, fmt.Errorf("roll up again what is stale: %w", err)
		}
	}
	return done, nil
}

// What a step of RollUp came to.
type step int

const (
	stepNone  step = iota // there is nothing to do
	stepDone              // there may be more
	stepWaits             // for other transactions
)

// rollUpStep does what comes next: it closes an hour, computes a part of one, or a part of a day.
func rollUpStep(ctx context.Context, queries *db.Queries, done *Rolled) (step, error) {
	row, err := queries.LockHistoryProgress(ctx)
	if errors.Is(err, pgx.ErrNoRows) { // nobody has been promised anything yet
		return stepNone, nil
	}
	if err != nil {
		return stepNone, fmt.Errorf("get the progress: %w", err)
	}
	if err := queries.LetRun(ctx); err != nil {
		return stepNone, fmt.Errorf("set how long it may take: %w", err)
	}
	p := row.HistoryProgress
	hour, end := p.RolledUntil, p.RolledUntil.Add(time.Hour)
	switch {
	case !p.DaysUntil.Add(day).After(p.RolledUntil):
		return stepDone, rollUpDayPart(ctx, queries, p, row.LastID, done)
	case p.ClosedUntil.Before(end) && row.CheckedUntil.Before(end):
		return stepNone, nil
	case p.ClosedUntil.Before(end):
		return stepDone, queries.CloseHour(ctx, end)
	case p.ClosedFor == nil:
		return stepDone, queries.NoteHourClosed(ctx)
	case !row.Known:
		return stepWaits, nil
	}
	since, until := p.NextID, p.NextID+partIDs
	if _, err := queries.RollUpHour(ctx, db.RollUpHourParams{Hour: hour, SinceID: since, UntilID: until}); err != nil {
		return stepNone, fmt.Errorf("hour %s: %w", hour, err)
	}
	to := db.SetHoursRolledParams{RolledUntil: hour, NextID: until}
	if until > row.LastID {
		to = db.SetHoursRolledParams{RolledUntil: end, NextID: 0}
		done.Hours++
	}
	return stepDone, queries.SetHoursRolled(ctx, to)
}

func rollUpDayPart(ctx context.Context, queries *db.Queries, p db.HistoryProgress, lastID int64, done *Rolled) error {
	since, until := p.DayNextID, p.DayNextID+partIDs
	if _, err := queries.RollUpDay(ctx, db.RollUpDayParams{Day: p.DaysUntil, SinceID: since, UntilID: until}); err != nil {
		return fmt.Errorf("day %s: %w", p.DaysUntil, err)
	}
	to := db.SetDaysRolledParams{DaysUntil: p.DaysUntil, DayNextID: until}
	if until > lastID {
		to = db.SetDaysRolledParams{DaysUntil: p.DaysUntil.Add(day), DayNextID: 0}
		done.Days++
	}
	return queries.SetDaysRolled(ctx, to)
}

// mendStale takes some marks, and computes their hours again, with the days that they are in. It gives how many marks it took. The
// marks go first: a row that is not visible to the computing has its mark after that.
func mendStale(ctx context.Context, queries *db.Queries) (int, error) {
	row, err := queries.LockHistoryProgress(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("get the progress: %w", err)
	}
	p := row.HistoryProgress
	marks, err := queries.TakeStaleHours(ctx, db.TakeStaleHoursParams{RolledUntil: p.RolledUntil, PageSize: stalePage})
	if err != nil {
		return 0, fmt.Errorf("take marks: %w", err)
	}
	hours, days := map[time.Time][]int64{}, map[time.Time][]int64{}
	for _, mark := range marks {
		if mark.Hour.Before(p.ScansFrom) || mark.Hour.Before(p.HoursFrom) {
			continue // what it was computed from is gone
		}
		hours[mark.Hour] = append(hours[mark.Hour], mark.MonitorID)
		if of := DayOf(mark.Hour); of.Before(p.DaysUntil) && !of.Before(p.HoursFrom) {
			days[of] = append(days[of], mark.MonitorID)
		}
	}
	for _, hour := range slices.SortedFunc(maps.Keys(hours), time.Time.Compare) {
		if err := queries.RollUpHourOf(ctx, db.RollUpHourOfParams{Hour: hour, MonitorIDs: hours[hour]}); err != nil {
			return 0, fmt.Errorf("hour %s: %w", hour, err)
		}
	}
	for _, of := range slices.SortedFunc(maps.Keys(days), time.Time.Compare) {
		ids := slices.Compact(slices.Sorted(slices.Values(days[of])))
		if err := queries.RollUpDayOf(ctx, db.RollUpDayOfParams{Day: of, MonitorIDs: ids}); err != nil {
			return 0, fmt.Errorf("day %s: %w", of, err)
		}
	}
	return len(marks), nil
}

// Recompute rolls up again, by hand, the hours from since until before until as far as they are rolled up and the log of them is
// kept, and the days that they are in. It tells progress of each hour: how many are done, of how many.
func Recompute(ctx context.Context, conn db.Conn, since, until time.Time, progress func(done, all int)) error {
	p, err := db.New(conn).GetHistoryProgress(ctx)
	if errors.Is(err, pgx.ErrNoRows) { // nothing is rolled up
		return nil
	}
	if err != nil {
		return fmt.Errorf("get how far roll-ups have come: %w", err)
	}
	since, until = latest(HourOf(since), p.ScansFrom, p.HoursFrom), earliest(until, p.RolledUntil)
	var hours []time.Time
	for hour := HourOf(since); hour.Before(until); hour = hour.Add(time.Hour) {
		if !hour.Before(since) {
			hours = append(hours, hour)
		}
	}
	progress(0, len(hours))
	for i, hour := range hours {
		err := db.InTx(ctx, conn, func(tx pgx.Tx) error {
			queries := db.New(tx)
			row, err := queries.LockHistoryProgress(ctx)
			if err = errors.Join(err, queries.LetRun(ctx)); err != nil {
				return fmt.Errorf("get the progress: %w", err)
			}
			all := db.RollUpHourParams{Hour: hour, SinceID: 0, UntilID: math.MaxInt64}
			if _, err := queries.RollUpHour(ctx, all); err != nil {
				return fmt.Errorf("hour %s: %w", hour, err)
			}
			last := i+1 == len(hours) || DayOf(hours[i+1]).After(hour)
			of := DayOf(hour)
			if !last || !of.Before(row.HistoryProgress.DaysUntil) || of.Before(row.HistoryProgress.HoursFrom) {
				return nil
			}
			if _, err := queries.RollUpDay(ctx, db.RollUpDayParams{Day: of, SinceID: 0, UntilID: math.MaxInt64}); err != nil {
				return fmt.Errorf("day %s: %w", of, err)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("roll up: %w", err)
		}
		progress(i+1, len(hours))
	}
	return nil
}

func latest(instants ...time.Time) time.Time { return slices.MaxFunc(instants, time.Time.Compare) }

func earliest(instants ...time.Time) time.Time { return slices.MinFunc(instants, time.Time.Compare) }
