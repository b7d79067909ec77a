package uptime_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"riverwatch/uptime"
)

var (
	intervals = rapid.IntRange(10, 86400)
	ids       = rapid.Int64Min(1)
	// From 1970 to 2255: no duration between two of them overflows.
	instants = rapid.Custom(func(t *rapid.T) time.Time {
		return time.Unix(rapid.Int64Range(0, 9e9).Draw(t, "second"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC()
	})
)

func isSlot(s uptime.Schedule, t time.Time) bool {
	return t.UnixMilli()%int64(1000*s.Interval) == int64(s.PhaseMS) && uptime.IsSlotTime(t)
}

func TestScheduleOf(t *testing.T) {
	t.Parallel()

	t.Run("PhaseIsWithinTheInterval", rapid.MakeCheck(func(t *rapid.T) {
		interval := intervals.Draw(t, "interval")
		s := uptime.ScheduleOf(ids.Draw(t, "id"), interval)
		require.Equal(t, interval, s.Interval)
		require.GreaterOrEqual(t, s.PhaseMS, 0)
		require.Less(t, s.PhaseMS, 1000*interval)
		require.Zero(t, s.PhaseMS%250)
	}))

	t.Run("PhasesAreStoredAndSoNeverChange", func(t *testing.T) {
		t.Parallel()
		for id, want := range map[int64]int{1: 79, 2: 29, 3: 231, 1000: 149, 1 << 40: 120} {
			require.Equal(t, want, uptime.ScheduleOf(id, 60).PhaseMS/250, "quarters of monitor %d", id)
		}
	})

	t.Run("ConsecutiveIdsSpreadEvenly", func(t *testing.T) {
		t.Parallel()
		const monitors, interval = 60_000, 15
		counts := make([]int, 4*interval)
		for id := range int64(monitors) {
			counts[uptime.ScheduleOf(id, interval).PhaseMS/250]++
		}
		for quarter, count := range counts {
			require.InDelta(t, monitors/len(counts), count, 150, "phase %d/4", quarter) // five standard deviations
		}
	})
}

func TestSchedule(t *testing.T) {
	t.Parallel()

	t.Run("EverySlotIsHitByExactlyOneRound", rapid.MakeCheck(func(t *rapid.T) {
		s := uptime.ScheduleOf(ids.Draw(t, "id"), intervals.Draw(t, "interval"))
		start := instants.Draw(t, "start")

		// A chain of rounds, each the successor of the one before, from any instant on…
		round := s.SlotAfter(start)
		require.True(t, isSlot(s, round))
		require.True(t, round.After(start))
		require.False(t, s.Previous(round).After(start), "a slot between start and the first round is left out")
		for range 10 {
			next := s.Next(round)
			// …finds each instant's present slot, and leaves no slot out.
			at := round.Add(time.Duration(rapid.Int64Range(0, int64(next.Sub(round))-1).Draw(t, "into the slot")))
			require.Equal(t, round, s.SlotAt(at))
			require.Equal(t, next, s.SlotAfter(at))
			require.Equal(t, round, s.Previous(next))
			require.True(t, isSlot(s, next))
			round = next
		}
	}))

	t.Run("ASlotIsPresentAtItself", rapid.MakeCheck(func(t *rapid.T) {
		s := uptime.ScheduleOf(ids.Draw(t, "id"), intervals.Draw(t, "interval"))
		slot := s.SlotAt(instants.Draw(t, "at"))
		require.Equal(t, slot, s.SlotAt(slot))
		require.Equal(t, s.Next(slot), s.SlotAfter(slot))
	}))

	t.Run("AChangedIntervalNeitherSkipsNorRepeatsThePresentSlot", rapid.MakeCheck(func(t *rapid.T) {
		id := ids.Draw(t, "id")
		before := uptime.ScheduleOf(id, intervals.Draw(t, "before"))
		after := uptime.ScheduleOf(id, intervals.Draw(t, "after"))
		at := instants.Draw(t, "at")
		if rapid.Bool().Draw(t, "at the very instant of a slot") {
			at = before.SlotAt(at)
		}
		recorded := rapid.Bool().Draw(t, "the present slot is recorded")

		until, from := before.Close(at, recorded), after.SlotAfter(at)
		present := before.SlotAt(at)
		promised := func(slot time.Time) bool { return slot.Before(until) }

		// What was promised before the present slot stays so; the present one if and only if it was scanned.
		require.True(t, promised(before.Previous(present)))
		require.Equal(t, recorded, promised(present))
		// Nothing after the change is promised twice, and the new rhythm begins within one of its intervals.
		require.False(t, promised(before.Next(present)))
		require.True(t, from.After(at))
		require.False(t, from.Before(until))
		require.LessOrEqual(t, from.Sub(at), time.Duration(after.Interval)*time.Second)
	}))
}

func TestBetweenSlots(t *testing.T) {
	t.Parallel()

	t.Run("IsNoSlotOfAnySchedule", rapid.MakeCheck(func(t *rapid.T) {
		at := instants.Draw(t, "at")
		if rapid.Bool().Draw(t, "a slot") {
			at = uptime.ScheduleOf(ids.Draw(t, "id"), intervals.Draw(t, "interval")).SlotAt(at)
		}
		between := uptime.BetweenSlots(at)
		require.False(t, uptime.IsSlotTime(between))
		require.Equal(t, between.Truncate(time.Microsecond), between, "the database keeps it as it is")
		require.LessOrEqual(t, between.Sub(at).Abs(), time.Microsecond)
		require.Equal(t, between, uptime.BetweenSlots(between), "it stays")
	}))

	t.Run("GivesUTC", func(t *testing.T) {
		t.Parallel()
		at := time.Date(2026, 6, 1, 14, 0, 0, 250_000_400, time.FixedZone("", 2*3600))
		require.Equal(t, time.Date(2026, 6, 1, 12, 0, 0, 250_001_000, time.UTC), uptime.BetweenSlots(at))
	})
}
