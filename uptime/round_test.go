package uptime_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"riverwatch/uptime"
)

// everyMinute has a slot at each full minute, slot among them.
var (
	everyMinute = uptime.Schedule{Interval: 60}
	slot        = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
)

// round is the first attempt at slot, due when it should be.
func round() uptime.Round {
	return uptime.Round{Schedule: everyMinute, Slot: slot, Attempt: 1, Due: slot.Add(-uptime.RoundLead)}
}

// anyRound draws a round, and an instant at which a worker may find it: so many intervals after its slot.
func anyRound(t *rapid.T, from, until int64) (r uptime.Round, now time.Time) {
	schedule := uptime.ScheduleOf(ids.Draw(t, "id"), intervals.Draw(t, "interval"))
	slot := schedule.SlotAt(instants.Draw(t, "slot"))
	interval := int64(schedule.Next(slot).Sub(slot))
	r = uptime.Round{
		Schedule: schedule, Slot: slot, Attempt: rapid.IntRange(1, 3).Draw(t, "attempt"),
		Sibling: rapid.Bool().Draw(t, "sibling"), Due: slot.Add(-uptime.RoundLead),
	}
	return r, slot.Add(time.Duration(rapid.Int64Range(from*interval, until*interval).Draw(t, "late")))
}

func TestStep(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		late    time.Duration // after the slot
		attempt int           // 0: the first
		due     time.Duration // after the slot, if it is not the usual
		putOff  time.Duration // until so long after the slot; 0: it was not
		want    uptime.RoundStep
		until   time.Duration // after the slot
	}{
		"BeginsHalfASecondBeforeItsSlot":   {late: -500 * time.Millisecond, want: uptime.ScanSlot},
		"ScansAtItsSlot":                   {late: 0, want: uptime.ScanSlot},
		"TakenTooEarlyIsGivenBack":         {late: -501 * time.Millisecond, want: uptime.GiveBack, until: -500 * time.Millisecond},
		"AnHourTooEarlyToo":                {late: -time.Hour, want: uptime.GiveBack, until: -500 * time.Millisecond},
		"TwoSecondsLateIsInTime":           {late: 1500 * time.Millisecond, want: uptime.ScanSlot},
		"LaterItWaitsAsLongAgain":          {late: 1501 * time.Millisecond, want: uptime.LetWait, until: 3002 * time.Millisecond},
		"AtMostThreeQuartersOfWhatIsLeft":  {late: 40 * time.Second, want: uptime.LetWait, until: 55 * time.Second},
		"WhoWasDueLaterIsNotLate":          {late: 5 * time.Second, due: 4 * time.Second, want: uptime.ScanSlot},
		"ASecondAttemptNeverWaits":         {late: 20 * time.Second, attempt: 2, want: uptime.ScanSlot},
		"PutOffItWaitsOn":                  {late: 6 * time.Second, putOff: 10 * time.Second, want: uptime.LetWait, until: 10 * time.Second},
		"AndIsNotPutOffAgain":              {late: 10 * time.Second, putOff: 10 * time.Second, want: uptime.ScanSlot},
		"ASecondAttemptIsPutOffStill":      {late: 6 * time.Second, attempt: 2, putOff: 10 * time.Second, want: uptime.LetWait, until: 10 * time.Second},
		"AMomentBeforeTheNextSlotIsInTime": {late: time.Minute - 1, attempt: 2, want: uptime.ScanSlot},
		"AtTheNextSlotItIsMissed":          {late: time.Minute, want: uptime.DeclareGaps},
		"MissedThoughItWasPutOff":          {late: time.Minute, putOff: 2 * time.Minute, want: uptime.DeclareGaps},
		"MissedForLong":                    {late: time.Hour, attempt: 3, want: uptime.DeclareGaps},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := round()
			r.Attempt = max(test.attempt, 1)
			if test.due != 0 {
				r.Due = slot.Add(test.due)
			}
			if test.putOff != 0 {
				r.PutOff = slot.Add(test.putOff)
			}
			step, until := r.Step(slot.Add(test.late))
			require.Equal(t, test.want, step)
			if step == uptime.LetWait || step == uptime.GiveBack {
				require.Equal(t, slot.Add(test.until), until)
			}
		})
	}

	t.Run("WhoWaitsScansBeforeItsNextSlotAndWaitsOnce", rapid.MakeCheck(func(t *rapid.T) {
		r, now := anyRound(t, -1, 2)
		step, until := r.Step(now)
		next := r.Schedule.Next(r.Slot)
		require.Equal(t, !now.Before(next), step == uptime.DeclareGaps)
		if step != uptime.LetWait && step != uptime.GiveBack {
			return
		}
		require.True(t, until.After(now))
		require.True(t, until.Before(next))
		if step == uptime.LetWait {
			r.PutOff = until
		}
		step, _ = r.Step(until)
		require.Equal(t, uptime.ScanSlot, step)
	}))
}

func TestMissed(t *testing.T) {
	t.Parallel()
	now := slot.Add(5*time.Minute + 10*time.Second)
	first := uptime.Missed{
		To: slot.Add(4 * time.Minute), Reason: uptime.ServiceDown, Next: slot.Add(5 * time.Minute),
		Begins: now.Add(37500 * time.Millisecond), // three quarters of what is left of the present slot's minute
	}
	firstBusy := first
	firstBusy.Reason = uptime.Overloaded
	ofItsSlot := uptime.Missed{
		To: slot, Reason: uptime.WorkerLost, Next: slot.Add(time.Minute), Begins: slot.Add(time.Minute - uptime.RoundLead),
	}
	for name, test := range map[string]struct {
		attempt       int
		sibling, busy bool
		again         uptime.GapReason
		want          uptime.Missed
	}{
		"TheFirstAttemptSpeaksForItsChain": {attempt: 1, again: uptime.ServiceDown, want: first},
		"AWorkerWithoutTimeIsOverloaded":   {attempt: 1, again: uptime.ServiceDown, busy: true, want: firstBusy},
		"TheSecondSpeaksForItsSlot":        {attempt: 2, again: uptime.WorkerLost, want: ofItsSlot},
		"AndSaysWhyItIsTheSecond":          {attempt: 2, again: uptime.WorkerLost, busy: true, want: ofItsSlot},
		"ASiblingSpeaksForItsSlot":         {attempt: 1, sibling: true, again: uptime.WorkerLost, want: ofItsSlot},
		"AndSaysWhyItsRoundRanAgain":       {attempt: 1, sibling: true, again: uptime.WorkerLost, busy: true, want: ofItsSlot},
		"TheSecondAttemptOfASibling":       {attempt: 2, sibling: true, again: uptime.WorkerLost, want: ofItsSlot},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := round()
			r.Attempt, r.Sibling = test.attempt, test.sibling
			require.Equal(t, test.want, r.Missed(now, test.busy, test.again))
		})
	}

	t.Run("NoSlotIsLeftOutNorDeclaredThatIsStillToBeScanned", rapid.MakeCheck(func(t *rapid.T) {
		r, now := anyRound(t, 1, 100)
		step, _ := r.Step(now)
		require.Equal(t, uptime.DeclareGaps, step)
		missed := r.Missed(now, rapid.Bool().Draw(t, "busy"), uptime.InternalError)
		require.False(t, missed.To.Before(r.Slot))
		require.Equal(t, r.Schedule.Next(missed.To), missed.Next, "the chain goes on with the slot after those declared")
		present := r.Schedule.SlotAt(now)
		require.False(t, missed.Next.After(present), "the present slot can still be scanned")
		require.True(t, missed.Begins.Before(r.Schedule.Next(present)))
		if r.Attempt == 1 && !r.Sibling {
			require.Equal(t, present, missed.Next)
			require.False(t, missed.Begins.Before(now))
		} else {
			require.Equal(t, r.Slot, missed.To)
		}
	}))

	for _, attempt := range []int{1, 2} {
		round := uptime.Round{Schedule: everyMinute, Slot: slot, Attempt: attempt}
		require.Equal(t, ofItsSlot, round.StoodStill(), "what follows it was made sure of")
	}
}

func TestBelieve(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ours, theirs time.Duration // after the slot
		doubts       bool
		want         time.Duration
	}{
		"OurClockIsBelievedWhereItIsTheSlotsTime": {ours: -500 * time.Millisecond, theirs: 0, want: -500 * time.Millisecond},
		"AndUntilTheNextSlot":                     {ours: time.Minute - 1, theirs: 0, want: 0},
		"OursAnHourAheadIsNot":                    {ours: time.Hour, theirs: 0, doubts: true, want: 0},
		"OursAnHourBehindIsNot":                   {ours: -time.Hour, theirs: 0, doubts: true, want: 0},
		"TheirsAnHourAheadIsNot":                  {ours: 0, theirs: time.Hour, want: 0},
		"TheirsAnHourBehindIsNot":                 {ours: 0, theirs: -time.Hour, want: 0},
		"BothSayThatItIsLate":                     {ours: 2 * time.Hour, theirs: 2*time.Hour - time.Second, doubts: true, want: 2*time.Hour - time.Second},
		"TheEarlierOfTwoThatSayItIsLate":          {ours: 2 * time.Hour, theirs: 3 * time.Hour, doubts: true, want: 2 * time.Hour},
		"OursIsLateAndTheirsTooEarly":             {ours: time.Hour, theirs: -time.Hour, doubts: true, want: time.Hour},
		"TheirsJumpedAheadAndFoundItDue":          {ours: -time.Second, theirs: time.Hour, doubts: true, want: time.Hour},
		"NeitherFindsItDue":                       {ours: -time.Hour, theirs: -2 * time.Second, doubts: true, want: -2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := round()
			require.Equal(t, test.doubts, r.Doubts(slot.Add(test.ours)))
			require.Equal(t, slot.Add(test.want), r.Believe(slot.Add(test.ours), slot.Add(test.theirs)))
		})
	}

	t.Run("WhereItDoubtsNothingARoundIsScannedOrWaits", rapid.MakeCheck(func(t *rapid.T) {
		r, now := anyRound(t, -1, 2)
		step, _ := r.Step(now)
		require.Equal(t, r.Doubts(now), step == uptime.DeclareGaps || step == uptime.GiveBack)
	}))

	t.Run("TheEarlierClockThatFindsItDue", rapid.MakeCheck(func(t *rapid.T) {
		r, ours := anyRound(t, -1, 2)
		theirs := ours.Add(time.Duration(rapid.Int64Range(-1e13, 1e13).Draw(t, "theirs is ahead by")))
		believed := r.Believe(ours, theirs)
		switch due := func(at time.Time) bool { return !at.Before(r.Due) }; {
		case due(ours) && due(theirs):
			require.Equal(t, min(ours.Sub(r.Slot), theirs.Sub(r.Slot)), believed.Sub(r.Slot))
		case due(ours):
			require.Equal(t, ours, believed)
		default:
			require.Equal(t, theirs, believed)
		}
	}))
}

// A fleet that wakes together is spread, and each of its rounds begins before its next slot, within a minute.
func TestStagger(t *testing.T) {
	t.Parallel()
	for _, away := range []time.Duration{6 * time.Second, 20 * time.Second, 50 * time.Second, time.Hour} {
		for _, interval := range []int{10, 60, 300, 3600} {
			now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
			perSecond, waiting := map[time.Duration]int{}, 0
			for quarter := range 4 * interval {
				schedule := uptime.Schedule{Interval: interval, PhaseMS: 250 * quarter}
				slot := schedule.SlotAfter(now.Add(-away))
				if slot.After(now) {
					continue // was not due while the fleet was away
				}
				waiting++
				wait := uptime.Stagger(schedule, slot, now)
				require.LessOrEqual(t, wait, time.Minute)
				require.Less(t, wait, schedule.SlotAfter(now).Sub(now))
				perSecond[wait.Truncate(time.Second)]++
			}
			most := 0
			for _, n := range perSecond {
				most = max(most, n)
			}
			// Besides the four that are due in each second.
			within := min(away, 45*time.Second, time.Duration(interval)*3/4*time.Second)
			require.LessOrEqual(t, most, 2*(4+waiting*int(time.Second)/int(within)), "%s away, every %d s", away, interval)
		}
	}
}
