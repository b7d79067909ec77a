package uptime

import "time"

const (
	// RoundLead is how long before its slot a round begins: River finds jobs of the future by asking, and the siblings of
	// a round are found as late again.
	RoundLead = 500 * time.Millisecond
	// RoundsAhead is how many rounds of its chain a round makes sure of. Were it only the next one, a worker that dies when
	// River has given it that round, and it has not begun, would stop the chain until its rescue.
	RoundsAhead = 2
	// A round that is found later than this is taken for one of many, which all waited for the same.
	crowdedAfter = 2 * time.Second
)

// A Round is a job that scans one slot of a schedule, as the worker that took it finds it.
type Round struct {
	Schedule Schedule
	Slot     time.Time
	Attempt  int       // 1: the first
	Sibling  bool      // it scans a part of the monitors of another round, which goes on with the chain
	Due      time.Time // when it was to be taken
	PutOff   time.Time // until when an attempt before this one let it wait; zero: none did
}

// Doubts reports whether the database is to be asked for the time: by our clock the slot is neither the present one nor
// about to come, so that ours or the database's, which found the round due, may be wrong.
func (r Round) Doubts(ours time.Time) bool {
	return ours.Before(r.begins()) || !ours.Before(r.Schedule.Next(r.Slot))
}

// Believe gives the time at which the round is judged, if our clock and the database's say these: the earlier one at
// which the round is due. So a process whose clock is an hour ahead declares no hour as missed that is still to come;
// and if it is the database's clock that has jumped, its slots are left out, instead of scanned in a burst.
func (r Round) Believe(ours, theirs time.Time) time.Time {
	if ours.Before(r.begins()) || !theirs.Before(r.begins()) && theirs.Before(ours) {
		return theirs
	}
	return ours
}

func (r Round) begins() time.Time { return r.Slot.Add(-RoundLead) }

// RoundStep is what a worker does with a round.
type RoundStep int

const (
	ScanSlot    RoundStep = iota // begin it, and scan at its slot
	LetWait                      // give it back for a moment, until an instant
	GiveBack                     // give it back until an instant: it was taken too early
	DeclareGaps                  // its slot has passed: declare what was missed, and see to it that the chain goes on
)

// Step says what is to be done with the round now; with LetWait and GiveBack also until when.
func (r Round) Step(now time.Time) (step RoundStep, until time.Time) {
	until = r.PutOff
	if until.IsZero() && r.Attempt == 1 && now.Sub(r.Due) > crowdedAfter {
		until = now.Add(Stagger(r.Schedule, r.Slot, now))
	}
	switch {
	case r.Schedule.SlotAt(now).After(r.Slot):
		return DeclareGaps, time.Time{}
	case until.After(now):
		return LetWait, until
	case now.Before(r.begins()): // the database's clock was ahead for a moment
		return GiveBack, r.begins()
	}
	return ScanSlot, time.Time{}
}

// Missed is what becomes of a round that is found when its slot has passed.
type Missed struct {
	To     time.Time // the last slot to declare, from the round's own on
	Reason GapReason
	Next   time.Time // the slot with which the chain goes on…
	Begins time.Time // …and when its round is to be taken
}

// Missed says what is to be declared of a round whose slot has passed. busy: this worker had no time for it; again: why it
// is tried again, if it is.
//
// The first attempt stands for its chain, which waited for it: all slots until the present one are gone, and the present
// one is scanned in a moment, as many chains wake together. Later attempts and siblings speak for their own slot: their
// chain has most likely gone on.
func (r Round) Missed(now time.Time, busy bool, again GapReason) Missed {
	if r.Attempt > 1 || r.Sibling {
		return r.ofItsSlot(again)
	}
	present := r.Schedule.SlotAt(now)
	missed := Missed{
		To: r.Schedule.Previous(present), Reason: ServiceDown,
		Next: present, Begins: now.Add(Stagger(r.Schedule, r.Slot, now)),
	}
	if busy {
		missed.Reason = Overloaded
	}
	return missed
}

func (r Round) ofItsSlot(reason GapReason) Missed {
	next := r.Schedule.Next(r.Slot)
	return Missed{To: r.Slot, Reason: reason, Next: next, Begins: next.Add(-RoundLead)}
}

// StoodStill says what is to be declared of a round whose worker stood still after it had begun, until its slot had passed:
// that slot alone, as the rounds after it were made sure of when it began.
func (r Round) StoodStill() Missed {
	return r.ofItsSlot(WorkerLost)
}

// Stagger spreads rounds that wake together, because the database or all workers were away: one waits for as long again as
// it is late already, but is due before its next slot, and within a minute. The requests of rounds that were late by up
// to d are then spread over d, and those of a whole fleet of one interval over three quarters of it.
func Stagger(schedule Schedule, slot, now time.Time) time.Duration {
	left := float64(schedule.SlotAfter(now).Sub(now))
	share := min(0.75, time.Minute.Seconds()/float64(schedule.Interval))
	return min(now.Sub(slot), time.Duration(left*share))
}
