package queue

import (
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"riverwatch/uptime"
)

// RoundSize is how many monitors a round scans itself. One with more hands the others to sibling jobs, so that other
// workers share them.
const RoundSize = 500

// River hands out what has waited longest first, and so it would hand out rounds whose slots have long passed before those
// of now. So rounds have a priority that leaves room for those of now to be put first.
const (
	RoundPriority      = 2
	FreshRoundPriority = 1
)

// RoundArgs name the round of one interval and phase at one slot. They are unique for ever: a slot has at most one job.
type RoundArgs struct {
	Interval int       `json:"interval" river:"unique"` // seconds
	PhaseMS  int       `json:"phase_ms" river:"unique"`
	Slot     time.Time `json:"slot" river:"unique"`

	// Part is 0 for the round itself, or else says which block of ids this sibling scans.
	Part int64 `json:"part,omitempty" river:"unique"`
	// Again says of a sibling why the round that handed it out ran again, if it did.
	Again uptime.GapReason `json:"again,omitempty"`
}

// Kind implements river.JobArgs.
func (RoundArgs) Kind() string { return "round" }

// InsertOpts implements river.JobArgsWithInsertOpts. The slot is in the unique key, so that a round can insert its
// successor before it completes itself.
func (RoundArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		Queue:       Rounds,
		Priority:    RoundPriority,
		MaxAttempts: 20,
		UniqueOpts:  river.UniqueOpts{ByArgs: true, ByState: rivertype.JobStates()},
	}
}

// Schedule is the one whose slot the round scans.
func (a RoundArgs) Schedule() uptime.Schedule {
	return uptime.Schedule{Interval: a.Interval, PhaseMS: a.PhaseMS}
}

// PartWidth is how many ids a part covers. It follows from the interval alone, so that a monitor belongs to the same
// part for ever, whoever asks: of so many consecutive ids with one interval, some RoundSize have one phase.
func (a RoundArgs) PartWidth() int64 { return int64(RoundSize) * int64(a.Schedule().Phases()) }

// Round inserts the round of a slot, to be on time.
func Round(schedule uptime.Schedule, slot time.Time) river.InsertManyParams {
	return RoundAt(schedule, slot, slot.Add(-uptime.RoundLead))
}

// RoundAt inserts the round of a slot, to begin at an instant.
func RoundAt(schedule uptime.Schedule, slot, begin time.Time) river.InsertManyParams {
	return river.InsertManyParams{
		Args:       RoundArgs{Interval: schedule.Interval, PhaseMS: schedule.PhaseMS, Slot: slot},
		InsertOpts: &river.InsertOpts{ScheduledAt: begin},
	}
}
