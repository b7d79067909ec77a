package uptime_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"riverwatch/uptime"
)

// A second-by-second count, by the rule as it is written, gives what Stretches gives.
func TestStretchesCountEverySecond(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 29, 0, 0, 0, 0, time.UTC)
	at := func(second int) time.Time { return start.Add(time.Duration(second) * time.Second) }
	statuses := uptime.Statuses()
	rapid.Check(t, func(t *rapid.T) {
		const long = 120
		second := rapid.IntRange(-20, long+20)
		var past uptime.Past
		for from := rapid.IntRange(-30, 40).Draw(t, "promised"); from < long && len(past.Promised) < 4; {
			until := from + rapid.IntRange(1, 60).Draw(t, "for")
			past.Promised = append(past.Promised, uptime.Span{From: at(from), Until: at(until)})
			from = until + rapid.IntRange(0, 20).Draw(t, "pause")
		}
		for changed := -10; len(past.Changes) < rapid.IntRange(0, 6).Draw(t, "changes"); {
			changed += rapid.IntRange(0, 40).Draw(t, "after")
			past.Changes = append(past.Changes, uptime.Change{At: at(changed), Status: rapid.SampledFrom(statuses).Draw(t, "status")})
		}
		for range rapid.IntRange(0, 4).Draw(t, "gaps") {
			from := second.Draw(t, "gap")
			past.Gaps = append(past.Gaps, uptime.GapSpan{
				Span:   uptime.Span{From: at(from), Until: at(from + rapid.IntRange(1, 30).Draw(t, "missed"))},
				Reason: rapid.SampledFrom(uptime.GapReasons()).Draw(t, "reason"),
			})
		}
		from, until := second.Draw(t, "from"), second.Draw(t, "until")
		stretches := past.Stretches(at(from), at(until))

		var want uptime.Count
		for s := from; s < until; s++ {
			promised, before := false, true
			for _, span := range past.Promised {
				promised = promised || !at(s).Before(span.From) && at(s).Before(span.Until)
				before = before && at(s).Before(span.From)
			}
			if before {
				continue // it did not exist yet
			}
			var status uptime.Status
			for _, change := range past.Changes {
				if !change.At.After(at(s)) {
					status = change.Status
				}
			}
			missed := false
			for _, gap := range past.Gaps {
				missed = missed || !at(s).Before(gap.From) && at(s).Before(gap.Until)
			}
			switch {
			case !promised || status == uptime.Paused:
				want.Paused += time.Second
			case status == uptime.Down:
				want.Down += time.Second
			case missed || status == uptime.Unknown || status == uptime.Pending || status == "":
				want.Unknown += time.Second
			case status == uptime.Up:
				want.Up += time.Second
			default:
				want.Degraded += time.Second
			}
		}
		got := uptime.CountOf(stretches)
		var reasons time.Duration
		for _, took := range got.UnknownBy {
			reasons += took
		}
		require.Equal(t, got.Unknown, reasons)
		got.UnknownBy = nil
		require.Equal(t, want, got)
		for i := 1; i < len(stretches); i++ {
			require.Equal(t, stretches[i-1].Until, stretches[i].From, "no holes")
			same := stretches[i-1].As == stretches[i].As && stretches[i-1].Reason == stretches[i].Reason
			require.False(t, same, "neighbours differ")
		}

		var parts []uptime.Stretch
		for s := from; s < until; s += 7 {
			parts = append(parts, uptime.Within(stretches, uptime.Span{From: at(s), Until: at(min(s+7, until))})...)
		}
		whole := uptime.CountOf(parts)
		whole.UnknownBy = nil
		require.Equal(t, want, whole, "steps add up to the whole")
	})
}

func TestRatio(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]struct {
		uptime.Count
		ratio float64
		known bool
	}{
		"NothingIsKnown":       {uptime.Count{Unknown: time.Hour, Paused: time.Hour}, 0, false},
		"UnknownCountsInNo":    {uptime.Count{Up: 3 * time.Hour, Down: time.Hour, Unknown: 9 * time.Hour, Paused: time.Hour}, 0.75, true},
		"DegradedIsUp":         {uptime.Count{Degraded: time.Hour, Down: time.Hour}, 0.5, true},
		"NeverUp":              {uptime.Count{Down: time.Second}, 0, true},
		"OneSecondInAYearTell": {uptime.Count{Up: 365*24*time.Hour - time.Second, Down: time.Second}, 1 - 1/(365*24*3600.0), true},
	} {
		ratio, known := of.Ratio()
		require.Equal(t, of.known, known, name)
		require.InDelta(t, of.ratio, ratio, 1e-12, name)
	}
}

// What is unknown says why: the reason of its gap, or none where nothing had told anything.
func TestStretchesSayWhyTimeIsUnknown(t *testing.T) {
	t.Parallel()
	at := func(minute int) time.Time { return time.Date(2026, 6, 1, 12, minute, 0, 0, time.UTC) }
	past := uptime.Past{
		Promised: []uptime.Span{{From: at(0), Until: at(50)}},
		Changes:  []uptime.Change{{At: at(0), Status: uptime.Pending}, {At: at(10), Status: uptime.Up}, {At: at(30), Status: uptime.Down}},
		Gaps: []uptime.GapSpan{
			{Span: uptime.Span{From: at(15), Until: at(20)}, Reason: uptime.ServiceDown},
			{Span: uptime.Span{From: at(25), Until: at(35)}, Reason: uptime.Overloaded},
		},
	}
	stretch := func(from, until int, as uptime.Status, reason uptime.GapReason) uptime.Stretch {
		return uptime.Stretch{Span: uptime.Span{From: at(from), Until: at(until)}, As: as, Reason: reason}
	}
	require.Equal(t, []uptime.Stretch{
		stretch(0, 10, uptime.Unknown, ""),
		stretch(10, 15, uptime.Up, ""),
		stretch(15, 20, uptime.Unknown, uptime.ServiceDown),
		stretch(20, 25, uptime.Up, ""),
		stretch(25, 30, uptime.Unknown, uptime.Overloaded),
		stretch(30, 50, uptime.Down, ""),
		stretch(50, 59, uptime.Paused, ""),
	}, past.Stretches(at(-5), at(59)))
	require.Empty(t, past.Stretches(at(-5), at(0)))
	require.Empty(t, uptime.Past{}.Stretches(at(0), at(10)), "nothing was ever promised")
}
