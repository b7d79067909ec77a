package uptime_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"riverwatch/uptime"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	const good, bad, none, blocked = uptime.OK, uptime.StatusMismatch, uptime.Inconclusive, uptime.BlockedByPolicy
	const slow, unable = uptime.OKSlow, uptime.NotSupported
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

	tests := []struct {
		name     string
		from     uptime.Status
		outcomes []uptime.Outcome
		want     uptime.State // judged_slot and since as the number of the scan, below
		judged   int
		since    int
	}{
		{"TheFirstGoodScanIsUp", uptime.Pending, []uptime.Outcome{good}, uptime.State{Status: uptime.Up}, 1, 1},
		{"ATruncatedBodyIsGood", uptime.Pending, []uptime.Outcome{uptime.OKTruncated}, uptime.State{Status: uptime.Up}, 1, 1},
		{"UpThatStaysUpIsUnchanged", uptime.Pending, []uptime.Outcome{good, good, good}, uptime.State{Status: uptime.Up}, 1, 1},
		{"OneFailureIsADoubt", uptime.Pending, []uptime.Outcome{good, bad}, uptime.State{Status: uptime.Up, Failures: 1}, 2, 1},
		{"AGoodScanEndsADoubt", uptime.Pending, []uptime.Outcome{good, bad, bad, good}, uptime.State{Status: uptime.Up}, 4, 1},
		{"ThreeFailuresAreDown", uptime.Pending, []uptime.Outcome{good, bad, bad, bad}, uptime.State{Status: uptime.Down}, 4, 4},
		{"ANewMonitorGoesDownToo", uptime.Pending, []uptime.Outcome{bad, bad, bad}, uptime.State{Status: uptime.Down}, 3, 3},
		{"DownThatStaysDownIsUnchanged", uptime.Pending, []uptime.Outcome{bad, bad, bad, bad}, uptime.State{Status: uptime.Down}, 3, 3},
		{"OneGoodScanDoesNotEndDown", uptime.Pending, []uptime.Outcome{bad, bad, bad, good}, uptime.State{Status: uptime.Down, Successes: 1}, 4, 3},
		{"TwoGoodScansEndDown", uptime.Pending, []uptime.Outcome{bad, bad, bad, good, good}, uptime.State{Status: uptime.Up}, 5, 5},
		{"AFailureStartsTheCountOfSuccessesAnew", uptime.Pending, []uptime.Outcome{bad, bad, bad, good, bad, good}, uptime.State{Status: uptime.Down, Successes: 1}, 6, 3},
		{"OurOwnTroubleIsNoFailure", uptime.Pending, []uptime.Outcome{good, none, none, none}, uptime.State{Status: uptime.Up}, 1, 1},
		{"OurOwnTroubleDoesNotEndADoubt", uptime.Pending, []uptime.Outcome{good, bad, none, bad, none, bad}, uptime.State{Status: uptime.Down}, 6, 6},
		{"ARefusedAddressIsUnknown", uptime.Pending, []uptime.Outcome{good, bad, blocked}, uptime.State{Status: uptime.Unknown}, 3, 3},
		{"UnknownEndsWithAGoodScan", uptime.Pending, []uptime.Outcome{blocked, good}, uptime.State{Status: uptime.Up}, 2, 2},
		{"WhatCannotBeProbedIsUnknown", uptime.Pending, []uptime.Outcome{good, unable}, uptime.State{Status: uptime.Unknown}, 2, 2},
		{"ASlowScanIsDegraded", uptime.Pending, []uptime.Outcome{good, slow, slow}, uptime.State{Status: uptime.Degraded}, 2, 2},
		{"DegradedEndsWithAFastScan", uptime.Pending, []uptime.Outcome{slow, good}, uptime.State{Status: uptime.Up}, 2, 2},
		{"DegradedGoesDown", uptime.Pending, []uptime.Outcome{slow, bad, bad, bad}, uptime.State{Status: uptime.Down}, 4, 4},
		{"DownComesBackDegraded", uptime.Pending, []uptime.Outcome{bad, bad, bad, good, slow}, uptime.State{Status: uptime.Degraded}, 5, 5},
		{"PausedStaysPaused", uptime.Paused, []uptime.Outcome{good, bad, bad, bad}, uptime.State{Status: uptime.Paused}, 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			at := func(n int) time.Time { return start.Add(time.Duration(n) * time.Minute) }
			state := uptime.Start(start, test.from == uptime.Paused)
			for i, outcome := range test.outcomes {
				state = uptime.Decide(state, at(i+1), outcome, uptime.Thresholds{Failure: 3, Success: 2})
			}
			test.want.Since, test.want.JudgedSlot = at(test.since), at(test.judged)
			require.Equal(t, test.want, state)
		})
	}

	t.Run("AnOlderScanThatComesLateChangesNothing", rapid.MakeCheck(func(t *rapid.T) {
		state := uptime.State{
			Status:     rapid.SampledFrom(uptime.Statuses()).Draw(t, "status"),
			JudgedSlot: start,
			Failures:   rapid.IntRange(0, 2).Draw(t, "failures"),
		}
		slot := start.Add(-time.Duration(rapid.IntRange(0, 1000).Draw(t, "seconds late")) * time.Second)
		outcome := rapid.SampledFrom([]uptime.Outcome{good, bad, blocked, none}).Draw(t, "outcome")
		require.Equal(t, state, uptime.Decide(state, slot, outcome, uptime.Thresholds{Failure: 1, Success: 1}))
	}))
}

func TestDoubtful(t *testing.T) {
	t.Parallel()
	require.True(t, uptime.State{Status: uptime.Up, Failures: 1}.Doubtful())
	require.True(t, uptime.State{Status: uptime.Down, Successes: 1}.Doubtful())
	require.False(t, uptime.State{Status: uptime.Down}.Doubtful())
	require.False(t, uptime.State{Status: uptime.Up}.Doubtful())
}

// The recorder reads the states of monitors for which a scan confirms nothing, and of those that are not plainly up: so
// these two are all that a scan can change.
func TestConfirms(t *testing.T) {
	t.Parallel()
	outcomes := allOutcomes(t)
	states := rapid.Custom(func(t *rapid.T) uptime.State {
		return uptime.State{
			Status:    rapid.SampledFrom(uptime.Statuses()).Draw(t, "status"),
			Since:     slot,
			Failures:  rapid.IntRange(0, 3).Draw(t, "failures"),
			Successes: rapid.IntRange(0, 3).Draw(t, "successes"),
		}
	})
	thresholds := rapid.Custom(func(t *rapid.T) uptime.Thresholds {
		return uptime.Thresholds{
			Failure: rapid.IntRange(1, 100).Draw(t, "failure threshold"),
			Success: rapid.IntRange(1, 100).Draw(t, "success threshold"),
		}
	})
	changes := func(state uptime.State, outcome uptime.Outcome, thresholds uptime.Thresholds) bool {
		return uptime.Decide(state, slot, outcome, thresholds) != state
	}

	t.Run("OfAMonitorThatIsPlainlyUpAllButWhatConfirmsOrTellsNothingChangesTheState", rapid.MakeCheck(func(t *rapid.T) {
		outcome := rapid.SampledFrom(outcomes).Draw(t, "outcome")
		up := uptime.State{Status: uptime.Up, Since: slot}
		require.Equal(t, outcome.Tells() && !outcome.Confirms(), changes(up, outcome, thresholds.Draw(t, "thresholds")))
	}))

	t.Run("WhatConfirmsChangesEveryStateThatIsNotPlainlyUpNorPaused", rapid.MakeCheck(func(t *rapid.T) {
		state := states.Draw(t, "state")
		if state.Status != uptime.Down {
			state.Successes = 0 // only of one that is down are they counted
		}
		plainlyUp := state.Status == uptime.Up && state.Failures == 0
		for _, outcome := range outcomes {
			if outcome.Confirms() {
				require.Equal(t, !plainlyUp && state.Status != uptime.Paused, changes(state, outcome, thresholds.Draw(t, "thresholds")))
			}
		}
	}))

	t.Run("SuccessesAreCountedOnlyOfWhatIsDownAndFailuresOfWhatIsNot", rapid.MakeCheck(func(t *rapid.T) {
		state, thresholds := uptime.Start(slot, false), thresholds.Draw(t, "thresholds")
		for n := range rapid.IntRange(1, 50).Draw(t, "scans") {
			outcome := rapid.SampledFrom(outcomes).Draw(t, "outcome")
			state = uptime.Decide(state, slot.Add(time.Duration(n+1)*time.Minute), outcome, thresholds)
			require.True(t, state.Status == uptime.Down || state.Successes == 0)
			require.True(t, state.Status != uptime.Down || state.Failures == 0)
		}
	}))
}

func TestWhatCounts(t *testing.T) {
	t.Parallel()
	now := uptime.Configuration{Version: 7, Since: slot, Interval: 5 * time.Minute}
	const last = 6*time.Minute - 1 // of the time in which a result counts: its interval and a minute
	for name, test := range map[string]struct {
		version       int
		slot, heard   time.Duration // after the version came into force
		atFirst, want bool          // when it is heard of; when the log is judged again
	}{
		"OfThisVersion":                       {version: 7, slot: time.Minute, heard: time.Minute + time.Second, atFirst: true, want: true},
		"OfThisVersionAtItsVeryInstant":       {version: 7, slot: 0, heard: 0, atFirst: true, want: true},
		"HeardAnIntervalAndAMinuteLater":      {version: 7, slot: time.Minute, heard: time.Minute + last + 1},
		"HeardAMomentBeforeThat":              {version: 7, slot: time.Minute, heard: time.Minute + last, atFirst: true, want: true},
		"OfThisVersionThoughItsSlotWasBefore": {version: 7, slot: -time.Minute, heard: time.Second, atFirst: true, want: true},
		"OfOlderVersionHeardBefore":           {version: 6, slot: -time.Minute, heard: -1, want: true},
		"OfOlderVersionHeardThen":             {version: 6, slot: -time.Minute, heard: 0},
		"OfOlderVersionHeardAfter":            {version: 6, slot: -time.Second, heard: time.Second},
		"OfOlderVersionHeardBeforeTooLate":    {version: 6, slot: -last - 2, heard: -1},
		"BeforeItsSlotByAnotherClock":         {version: 7, slot: time.Minute, heard: 0, atFirst: true, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.atFirst, now.Counts(test.version, slot.Add(test.slot), slot.Add(test.heard)))
			require.Equal(t, test.want, now.Counted(test.version, slot.Add(test.slot), slot.Add(test.heard)))
		})
	}
}
