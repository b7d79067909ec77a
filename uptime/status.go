package uptime

import "time"

// Status is where a monitor stands. Only [Decide] and [Start] give one.
type Status string

const (
	Pending  Status = "pending" // no scan has told anything yet
	Up       Status = "up"
	Degraded Status = "degraded" // good, but slower than the monitor's degraded_after_ms
	Down     Status = "down"
	Unknown  Status = "unknown" // this installation does not connect to the target, or cannot make such a probe
	Paused   Status = "paused"
)

// Statuses are all there are.
func Statuses() []Status { return []Status{Pending, Up, Degraded, Down, Unknown, Paused} }

// State is a monitor's status and what it rests on.
type State struct {
	Status     Status
	Since      time.Time // the slot of the scan, or the instant of the request, that led to Status
	JudgedSlot time.Time // the slot of the last scan that changed the state
	Failures   int       // failed scans in a row that have not led to down yet
	Successes  int       // good scans in a row that have not led away from down yet
}

// Equal reports whether two states are one, whatever clocks and zones their instants were read in.
func (s State) Equal(other State) bool {
	same := s.Since.Equal(other.Since) && s.JudgedSlot.Equal(other.JudgedSlot)
	s.Since, s.JudgedSlot = other.Since, other.JudgedSlot
	return same && s == other
}

// Thresholds say how many scans in a row it takes.
type Thresholds struct {
	Failure int // failed scans until a monitor is down, at least 1
	Success int // good scans until a monitor that is down is up again, at least 1
}

// A result that comes to the log later than this after its slot's interval says nothing of how the monitor stands: the
// database was away, or the worker frozen.
const countsWithin = time.Minute

// Configuration is what a monitor is scanned by.
type Configuration struct {
	Version  int
	Since    time.Time // when it came into force
	Interval time.Duration
}

// Counts reports whether a scan of a version and slot, of which we hear now, tells how the monitor stands: it ran with the
// configuration that is in force, and not long ago.
func (c Configuration) Counts(version int, slot, now time.Time) bool {
	return version == c.Version && c.inTime(slot, now)
}

// Counted reports whether a scan of which we heard at an instant told how the monitor stood then, when another
// configuration may have been in force.
func (c Configuration) Counted(version int, slot, heard time.Time) bool {
	return (version == c.Version || heard.Before(c.Since)) && c.inTime(slot, heard)
}

func (c Configuration) inTime(slot, heard time.Time) bool {
	return heard.Sub(slot) < c.Interval+countsWithin
}

// Start gives the state of a monitor that begins anew at an instant: created, resumed, paused, or to be judged by other
// rules than before.
func Start(at time.Time, paused bool) State {
	state := State{Status: Pending, Since: at, JudgedSlot: at, Failures: 0, Successes: 0}
	if paused {
		state.Status = Paused
	}
	return state
}

// Decide gives the state after a scan. A scan that tells nothing of the target (inconclusive), an older one that
// arrives late, and any scan of a paused monitor leave the state as it is. Where the scan confirms a status that rests
// on nothing else, the state stays equal, so that nothing need be written.
func Decide(state State, slot time.Time, outcome Outcome, thresholds Thresholds) State {
	if state.Status == Paused || outcome == Inconclusive || !slot.After(state.JudgedSlot) {
		return state
	}

	next := state
	switch {
	case outcome == BlockedByPolicy, outcome == NotSupported:
		next.Status, next.Failures, next.Successes = Unknown, 0, 0
	case outcome.Good():
		next.succeed(thresholds.Success, outcome == OKSlow)
	default:
		next.fail(thresholds.Failure)
	}
	if next == state {
		return state
	}

	next.JudgedSlot = slot
	if next.Status != state.Status {
		next.Since = slot
	}
	return next
}

// succeed counts a good scan. A monitor that is slow is degraded at once, and up again with the first scan that is not:
// degraded opens no incident, so that it need not be sure.
func (s *State) succeed(threshold int, slow bool) {
	s.Failures = 0
	if s.Status == Down {
		s.Successes++
		if s.Successes < threshold {
			return
		}
	}
	s.Status, s.Successes = Up, 0
	if slow {
		s.Status = Degraded
	}
}

func (s *State) fail(threshold int) {
	s.Successes = 0
	if s.Status == Down {
		return
	}
	s.Failures++
	if s.Failures >= threshold {
		s.Status, s.Failures = Down, 0
	}
}

// Doubtful reports whether a monitor has begun to fail but is not down yet, or to answer again but is not up yet, so that a quick
// second look is due.
func (s State) Doubtful() bool { return s.Failures > 0 || s.Successes > 0 }
