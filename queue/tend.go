package queue

import (
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// TendArgs ask for a look at everything that should hold by itself.
type TendArgs struct{}

// Kind implements river.JobArgs.
func (TendArgs) Kind() string { return "tend" }

// InsertOpts implements river.JobArgsWithInsertOpts. One at a time, and none after another: the next comes in a minute.
func (TendArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		Queue:       Upkeep,
		MaxAttempts: 1,
		UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
			rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
			rivertype.JobStateRunning, rivertype.JobStateScheduled,
		}},
	}
}
