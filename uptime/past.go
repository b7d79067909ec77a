package uptime

import (
	"slices"
	"time"
)

// Span is time from an instant until before another.
type Span struct{ From, Until time.Time }

// Change is a status that a monitor took on at an instant.
type Change struct {
	At     time.Time
	Status Status
}

// Past is what is known of a monitor's past, of which its uptime is counted.
type Past struct {
	Promised []Span   // when it was to be scanned; spans do not overlap
	Changes  []Change // that hold, in the order of their instants
	Gaps     []GapSpan
}

// GapSpan is time that no scan tells of, because slots were missed: from the first one until the one after the last.
type GapSpan struct {
	Span

	Reason GapReason
}

// Stretch is time that counts as one thing: as Up, Degraded, Down, Unknown or Paused.
type Stretch struct {
	Span

	As     Status
	Reason GapReason // of unknown time: why slots were missed; empty: nothing had told yet how the monitor stands
}

// Stretches gives how the time counts from an instant until before another, in order and without holes, from the first promise on.
// The rule: what was not promised is paused, and what stood so. Of the rest, what is down by confirmed failures is down, also where
// slots were missed: the outage goes on. Other time of missed slots is unknown, and so is time in which no scan had told anything.
// What is left is up, or degraded.
func (p Past) Stretches(from, until time.Time) (stretches []Stretch) {
	if len(p.Promised) == 0 {
		return nil
	}
	promised := slices.SortedFunc(slices.Values(p.Promised), func(a, b Span) int { return a.From.Compare(b.From) })
	if from.Before(promised[0].From) {
		from = promised[0].From
	}
	if !from.Before(until) {
		return nil
	}
	gaps := slices.SortedStableFunc(slices.Values(p.Gaps), func(a, b GapSpan) int { return a.From.Compare(b.From) })
	cuts := []time.Time{from, until}
	cut := func(instants ...time.Time) {
		for _, at := range instants {
			if at.After(from) && at.Before(until) {
				cuts = append(cuts, at)
			}
		}
	}
	for _, span := range promised {
		cut(span.From, span.Until)
	}
	for _, change := range p.Changes {
		cut(change.At)
	}
	for _, gap := range gaps {
		cut(gap.From, gap.Until)
	}
	slices.SortFunc(cuts, time.Time.Compare)
	cuts = slices.CompactFunc(cuts, time.Time.Equal)

	var status Status
	changed := 0
	var open []GapSpan // that have begun and may not have ended
	for i, at := range cuts[:len(cuts)-1] {
		for len(promised) > 0 && !promised[0].Until.After(at) {
			promised = promised[1:]
		}
		for changed < len(p.Changes) && !p.Changes[changed].At.After(at) {
			status = p.Changes[changed].Status
			changed++
		}
		for len(gaps) > 0 && !gaps[0].From.After(at) {
			open, gaps = append(open, gaps[0]), gaps[1:]
		}
		open = slices.DeleteFunc(open, func(gap GapSpan) bool { return !gap.Until.After(at) })
		inPromise := len(promised) > 0 && !promised[0].From.After(at)
		next := Stretch{Span: Span{at, cuts[i+1]}}
		next.As, next.Reason = countsAs(inPromise, status, open)
		if last := len(stretches) - 1; last >= 0 && stretches[last].As == next.As && stretches[last].Reason == next.Reason {
			stretches[last].Until = next.Until
			continue
		}
		stretches = append(stretches, next)
	}
	return stretches
}

// countsAs is the rule of Stretches.
func countsAs(promised bool, status Status, gaps []GapSpan) (Status, GapReason) {
	switch {
	case !promised, status == Paused:
		return Paused, ""
	case status == Down:
		return Down, ""
	case len(gaps) > 0:
		return Unknown, gaps[0].Reason
	case status == Up, status == Degraded:
		return status, ""
	default:
		return Unknown, ""
	}
}

// Count is how much time counts as what.
type Count struct {
	Up, Degraded, Down, Unknown, Paused time.Duration
	UnknownBy                           map[GapReason]time.Duration // of Unknown; empty: no scan had told anything
}

// CountOf adds up stretches.
func CountOf(stretches []Stretch) Count {
	c := Count{UnknownBy: map[GapReason]time.Duration{}}
	for _, s := range stretches {
		took := s.Until.Sub(s.From)
		switch s.As {
		case Up:
			c.Up += took
		case Degraded:
			c.Degraded += took
		case Down:
			c.Down += took
		case Paused:
			c.Paused += took
		case Unknown, Pending:
			c.Unknown += took
			c.UnknownBy[s.Reason] += took
		}
	}
	return c
}

// Ratio gives the part of the time that is known in which the monitor was up, from 0 to 1: up and degraded, of these and down.
// ok is false if nothing is known.
func (c Count) Ratio() (ratio float64, ok bool) {
	up := c.Up + c.Degraded
	if up+c.Down == 0 {
		return 0, false
	}
	return float64(up) / float64(up+c.Down), true
}

// Within gives the parts of stretches from an instant until before another.
func Within(stretches []Stretch, span Span) (parts []Stretch) {
	for _, s := range stretches {
		if s.From.Before(span.From) {
			s.From = span.From
		}
		if s.Until.After(span.Until) {
			s.Until = span.Until
		}
		if s.From.Before(s.Until) {
			parts = append(parts, s)
		}
	}
	return parts
}
