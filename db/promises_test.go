package db_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/uptime"
)

// A promise is a row of monitor_schedules.
type promise struct {
	schedule    uptime.Schedule
	from, until time.Time // until is zero while it holds
}

// slots gives what is promised from since until before until, by the rules of uptime.
func (p promise) slots(since, until time.Time) (slots []time.Time) {
	if !p.until.IsZero() && p.until.Before(until) {
		until = p.until
	}
	if p.from.After(since) {
		since = p.from
	}
	for slot := p.schedule.SlotAfter(since.Add(-time.Nanosecond)); slot.Before(until); slot = p.schedule.Next(slot) {
		slots = append(slots, slot)
	}
	return slots
}

var day = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// instants are within three hours across the boundary of a chunk, of the database's precision, half of them quarters
// of a second.
var instants = rapid.Custom(func(t *rapid.T) time.Time {
	at := day.Add(4*time.Hour + time.Duration(rapid.IntRange(0, 3*3600).Draw(t, "second"))*time.Second)
	return at.Add(time.Duration(rapid.SampledFrom([]int{0, 250_000, 500_000, 1, 750_001, 999_999}).Draw(t, "µs")) * time.Microsecond)
})

// history draws the promises of one monitor, one after the other, the last of them open or not. The last slot of one
// that was closed may have been at work then: it ends in inFlight.
func history(t *rapid.T) (promises []promise, inFlight []time.Time) {
	at := instants.Draw(t, "created")
	for range rapid.IntRange(1, 3).Draw(t, "promises") {
		interval := rapid.SampledFrom([]int{10, 60, 61, 3600, 86400}).Draw(t, "interval")
		schedule := uptime.Schedule{Interval: interval, PhaseMS: 250 * rapid.IntRange(0, 4*interval-1).Draw(t, "quarter")}
		p := promise{schedule: schedule, from: schedule.SlotAfter(at)}
		at = at.Add(time.Duration(rapid.IntRange(1, 3600).Draw(t, "until")) * time.Second)
		if at.Before(p.from) {
			continue // dropped before its first slot
		}
		present := schedule.SlotAt(at)
		p.until = schedule.Close(at, rapid.Bool().Draw(t, "recorded"))
		if p.until.Equal(present) {
			inFlight = append(inFlight, present)
		}
		promises = append(promises, p)
	}
	if len(promises) > 0 && rapid.Bool().Draw(t, "open") {
		promises[len(promises)-1].until = time.Time{}
		inFlight = nil
	}
	return promises, inFlight
}

func write(t *rapid.T, tx pgx.Tx, monitorID int64, promises []promise) {
	for _, p := range promises {
		require.NoError(t, db.New(tx).OpenSchedules(context.Background(), db.OpenSchedulesParams{
			MonitorIDs: []int64{monitorID}, FromAts: []time.Time{p.from},
			IntervalsSeconds: []int{p.schedule.Interval}, PhasesMS: []int{p.schedule.PhaseMS},
		}))
		if !p.until.IsZero() {
			require.NoError(t, db.New(tx).CloseSchedules(context.Background(),
				db.CloseSchedulesParams{MonitorIDs: []int64{monitorID}, UntilAts: []time.Time{p.until}}))
		}
	}
}

// times asks for a column of instants, in order.
func times(t *rapid.T, tx pgx.Tx, sql string, args ...any) []time.Time {
	rows, err := tx.Query(context.Background(), sql, args...)
	require.NoError(t, err)
	got, err := pgx.CollectRows(rows, pgx.RowTo[time.Time])
	require.NoError(t, err)
	slices.SortFunc(got, time.Time.Compare)
	var utc []time.Time // nil if there is none
	for _, at := range got {
		utc = append(utc, at.UTC())
	}
	return utc
}

func TestPromises(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	// Chunks are made once, and not anew in each transaction.
	for hour := range 5 {
		dbtest.Insert(t, pool, dbtest.Scan(1, day.Add(time.Duration(6*hour)*time.Hour)))
	}

	// What SQL says of promises is what the rules in Go say: each promised slot, and no other, has its row, its gap, or
	// is found missing; and each row is found by its monitor.
	t.Run("EachSlotIsAccountedForAndEachRowFound", rapid.MakeCheck(func(t *rapid.T) {
		tx, err := pool.Begin(context.Background())
		require.NoError(t, err)
		defer tx.Rollback(context.Background()) //nolint:errcheck // nothing is kept
		id := dbtest.Monitor(t, tx, 60, 0).ID
		promises, inFlight := history(t)
		write(t, tx, id, promises)
		since, until := instants.Draw(t, "since"), instants.Draw(t, "range's end")
		if until.Before(since) {
			since, until = until, since
		}

		var promised, missing, rows []time.Time
		scan := func(slot time.Time, reason string) {
			row := dbtest.Scan(id, slot)
			row.Reason = reason
			dbtest.Insert(t, tx, row)
			if !slot.Before(since) && slot.Before(until) {
				rows = append(rows, slot)
			}
		}
		for _, p := range promises {
			for _, slot := range p.slots(since, until) {
				promised = append(promised, slot)
				switch {
				case len(promised) > 40: // of 10 s are many; those missing are enough
					missing = append(missing, slot)
				default:
					switch rapid.SampledFrom([]string{"row", "gap", "gap of all", "missing"}).Draw(t, "became") {
					case "row":
						scan(slot, "round")
					case "gap":
						require.NoError(t, db.New(tx).DeclareMonitorGaps(context.Background(), db.DeclareMonitorGapsParams{
							IntervalSeconds: p.schedule.Interval, PhaseMS: p.schedule.PhaseMS, Slot: slot, Reason: "overloaded",
							At: until, MonitorIDs: []int64{id},
						}))
					case "gap of all":
						_, err := db.New(tx).DeclareGap(context.Background(), db.DeclareGapParams{
							IntervalSeconds: p.schedule.Interval, PhaseMS: p.schedule.PhaseMS, FromSlot: slot, ToSlot: slot,
							Reason: "service_down", At: until,
						})
						require.NoError(t, err)
					default:
						missing = append(missing, slot)
					}
				}
			}
		}
		for _, slot := range inFlight { // recorded though no longer promised
			if !slices.ContainsFunc(promises, func(p promise) bool { return len(p.slots(slot, slot.Add(1))) > 0 }) {
				scan(slot, "round")
			}
		}
		var asked []time.Time
		for range rapid.IntRange(0, 3).Draw(t, "asked for") {
			at := day.Add(5*time.Hour + time.Duration(rapid.IntRange(0, 7200e6).Draw(t, "asked at µs"))*time.Microsecond)
			if !uptime.IsSlotTime(at) && !slices.Contains(asked, at) {
				asked = append(asked, at)
				scan(at, "asked")
			}
		}
		slices.SortFunc(rows, time.Time.Compare)

		require.Equal(t, promised, times(t, tx,
			"SELECT slot FROM promised_slots($1, $2) WHERE monitor_id = $3", since, until, id))
		require.Equal(t, missing, times(t, tx,
			"SELECT slot FROM unaccounted_slots($1, $2) WHERE monitor_id = $3", since, until, id))
		require.Equal(t, rows, times(t, tx, "SELECT slot FROM monitor_scans($1, $2, $3)", id, since, until))

		limit := rapid.IntRange(1, 10).Draw(t, "limit")
		newest, _, err := db.NewestScans(context.Background(), tx, id, since, until, limit)
		require.NoError(t, err)
		want := rows[max(0, len(rows)-limit):]
		require.Len(t, newest, len(want))
		for i, scan := range newest {
			require.True(t, want[len(want)-1-i].Equal(scan.Slot))
		}
	}))
}

func TestGaps(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	queries := db.New(pool)
	ctx := t.Context()

	// Two monitors of one interval and phase, promised from 00:00:10 on.
	schedule := uptime.Schedule{Interval: 10, PhaseMS: 0}
	slot := func(n int) time.Time { return day.Add(time.Duration(10*n) * time.Second) }
	a, b := dbtest.Monitor(t, pool, 10, 0).ID, dbtest.Monitor(t, pool, 10, 0).ID
	require.NoError(t, queries.OpenSchedules(ctx, db.OpenSchedulesParams{
		MonitorIDs: []int64{a, b}, FromAts: []time.Time{slot(1), slot(1)}, IntervalsSeconds: []int{10, 10}, PhasesMS: []int{0, 0},
	}))
	// declare gives the slots that the new gap is from and to; none: there is none.
	declare := func(from, to int) (slots []int) {
		gap, err := queries.DeclareGap(ctx, db.DeclareGapParams{
			IntervalSeconds: schedule.Interval, PhaseMS: schedule.PhaseMS, FromSlot: slot(from), ToSlot: slot(to),
			Reason: "service_down", At: slot(100),
		})
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		require.NoError(t, err)
		number := func(at time.Time) int { return int(at.Sub(day) / (10 * time.Second)) }
		return []int{number(gap.FromSlot), number(gap.ToSlot)}
	}
	for _, scanned := range [][]int64{{1, a}, {1, b}, {2, a}, {4, a}, {4, b}} {
		dbtest.Insert(t, pool, dbtest.Scan(scanned[1], slot(int(scanned[0]))))
	}

	require.Empty(t, declare(-5, 0), "nothing was promised yet")
	require.Empty(t, declare(1, 1), "both have a row")
	require.Equal(t, []int{1, 2}, declare(1, 2), "one lacks a row")
	require.Empty(t, declare(1, 2), "declared already")
	require.Empty(t, declare(2, 2), "declared already, as a part of a longer gap")
	require.Equal(t, []int{3, 4}, declare(3, 4), "a slot before the last lacks rows")

	require.Equal(t, []int{10, 12}, declare(10, 12))
	require.Equal(t, []int{13, 13}, declare(11, 13), "begins in another gap")
	require.Equal(t, []int{8, 9}, declare(8, 15), "goes on behind others: whose rounds see to that")
	require.Equal(t, []int{14, 15}, declare(8, 15))
	require.Empty(t, declare(8, 15))
	dbtest.Insert(t, pool, dbtest.Scan(a, slot(17)), dbtest.Scan(b, slot(17)))
	require.Equal(t, []int{19, 19}, declare(19, 19))
	require.Equal(t, []int{16, 18}, declare(16, 25))
	require.Empty(t, declare(17, 19))

	require.NoError(t, queries.DeclareMonitorGaps(ctx, db.DeclareMonitorGapsParams{
		IntervalSeconds: 10, PhaseMS: 0, Slot: slot(4), Reason: "overloaded", At: slot(100), MonitorIDs: []int64{a, b},
	}))
	require.Zero(t, count(t, pool, "scan_gaps WHERE monitor_id IS NOT NULL"), "who has a row has no gap")
}

func TestPhases(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	id := dbtest.Monitor(t, pool, 10, 0).ID
	for phaseMS, fits := range map[int]bool{0: true, 250: true, 9750: true, 10_000: false, -250: false, 251: false} {
		_, err := pool.Exec(t.Context(), "UPDATE monitors SET phase_ms = $1 WHERE id = $2", phaseMS, id)
		_, scheduleErr := pool.Exec(t.Context(), "INSERT INTO monitor_schedules VALUES ($1, $2, $2, 10, $3)",
			id, day.Add(time.Duration(phaseMS)*time.Second), phaseMS)
		if fits {
			require.NoError(t, errors.Join(err, scheduleErr), phaseMS)
			continue
		}
		require.True(t, db.IsCode(err, "23514"), phaseMS)
		require.True(t, db.IsCode(scheduleErr, "23514"), phaseMS)
	}
}
