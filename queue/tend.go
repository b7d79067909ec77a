package queue

import (
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// TendArgs ask for a look at everything that should hold by itself.
type TendArgs struct{}

// Kind implements river.JobArgs.
func (TendArgs) Kind() string { return "tend" }

// InsertOpts implements river.JobArgsWithInsertOpts.
func (TendArgs) InsertOpts() river.InsertOpts { return upkeepOpts() }

// upkeepOpts are for jobs that come again by themselves: one at a time, and none after another.
func upkeepOpts() river.InsertOpts {
	return river.InsertOpts{
		Queue:       Upkeep,
		MaxAttempts: 1,
		UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
			rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
			rivertype.JobStateRunning, rivertype.JobStateScheduled,
		}},
	}
}
