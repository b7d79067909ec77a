package chaos_test

import (
	"fmt"
	"slices"
	"time"

	"riverwatch/uptime"
)

// ---- what must hold ----

// finding notes what does not hold.
func (s *simulation) finding(format string, args ...any) {
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

// simDue is a promised slot of a monitor.
type simDue struct {
	simSlot

	id int64
}

// unaccounted gives the promised slots from since until before until that have neither a row nor a gap, oldest first:
// what the SQL function of this name gives.
func (s *simulation) unaccounted(since, until time.Time) (missing []simDue) {
	for _, m := range s.monitors {
		for _, p := range m.promises {
			for slot := p.schedule.SlotAfter(latest(since, p.from).Add(-1)); slot.Before(until); slot = p.schedule.Next(slot) {
				if !p.until.IsZero() && !slot.Before(p.until) {
					break
				}
				if !s.log[simKey{slot, m.id}] && !s.declared(p.schedule, slot, m.id) {
					missing = append(missing, simDue{simSlot{p.schedule, slot}, m.id})
				}
			}
		}
	}
	slices.SortStableFunc(missing, func(a, b simDue) int { return a.slot.Compare(b.slot) })
	return missing
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (s *simulation) anyUnaccounted(schedule uptime.Schedule, from, to time.Time) bool {
	return slices.ContainsFunc(s.unaccounted(from, to.Add(time.Second)), func(d simDue) bool {
		return d.schedule == schedule
	})
}

func (s *simulation) addGap(schedule uptime.Schedule, gap simGap) {
	s.gaps[schedule] = append(s.gaps[schedule], gap)
}

// declareGap declares slots of all monitors of a schedule, where there is no such gap yet: as DeclareGap does. None may be
// the present slot, or one to come, that can still be scanned.
func (s *simulation) declareGap(schedule uptime.Schedule, from, to time.Time, reason uptime.GapReason) {
	if schedule.Next(to).After(time.Now()) {
		s.finding("slot %s was declared at %s", to, time.Now())
	}
	for !from.After(to) && s.declared(schedule, from, 0) {
		from = schedule.Next(from)
	}
	for _, g := range s.gaps[schedule] {
		if g.id == 0 && g.from.After(from) && !g.from.After(to) {
			to = schedule.Previous(g.from)
		}
	}
	if !from.After(to) && s.anyUnaccounted(schedule, from, to) {
		s.addGap(schedule, simGap{from: from, to: to, reason: reason})
	}
}

// declared reports whether a slot is in a gap: of all monitors, or, id not being 0, of this one.
func (s *simulation) declared(schedule uptime.Schedule, slot time.Time, id int64) bool {
	return slices.ContainsFunc(s.gaps[schedule], func(g simGap) bool { return g.has(slot) && (g.id == 0 || g.id == id) })
}

func (g simGap) has(slot time.Time) bool { return !slot.Before(g.from) && !slot.After(g.to) }

// findings gives what does not hold at the end.
func (s *simulation) findings() (findings []string) {
	for _, missing := range s.unaccounted(time.Time{}.Add(time.Hour), time.Now().Add(-2*simAccount)) {
		findings = append(findings, fmt.Sprintf("slot %s of monitor %d has neither a row nor a gap", missing.slot, missing.id))
	}
	for _, gaps := range s.gaps {
		for i, g := range gaps {
			if g.id == 0 && slices.ContainsFunc(gaps[:i], func(h simGap) bool { return h.id == 0 && (h.has(g.from) || g.has(h.from)) }) {
				findings = append(findings, fmt.Sprintf("two gaps are of the slot %s", g.from))
			}
			if g.reason == uptime.Unaccounted || g.reason == "" {
				findings = append(findings, fmt.Sprintf("tend found the slot %s forgotten (%q)", g.from, g.reason))
			}
		}
	}
	for key, count := range s.requests {
		m := s.monitors[slices.IndexFunc(s.monitors, func(m *simMonitor) bool { return m.id == key.id })]
		if count > 1 && !m.safe {
			findings = append(findings, fmt.Sprintf("slot %s of monitor %d was requested %d times", key.slot, key.id, count))
		}
	}
	return slices.Concat(s.wrong, findings, s.wrongStates())
}

// wrongStates replays the log, in the order in which it was committed, and compares.
func (s *simulation) wrongStates() (findings []string) {
	for _, m := range s.monitors {
		var state uptime.State
		for _, c := range s.commits {
			switch {
			case c.id != m.id:
			case c.start != nil:
				state = *c.start
			case c.judged:
				state = uptime.Decide(state, c.slot, c.outcome, simThresholds)
			}
		}
		if state != m.state {
			findings = append(findings, fmt.Sprintf("monitor %d is %+v, and by its log %+v", m.id, m.state, state))
		}
		if !m.paused && m.sick != (m.state.Status == uptime.Down) {
			findings = append(findings, fmt.Sprintf("monitor %d is %s, and its target has been sick since %s: %t",
				m.id, m.state.Status, simCalm, m.sick))
		}
	}
	return findings
}
