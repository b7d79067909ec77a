package queue

import (
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"riverwatch/uptime"
)

// Why a scan ran.
const (
	ReasonRound = "round" // due at its slot
	ReasonRetry = "retry" // a quick second look at a monitor that has begun to fail, or to answer again
	ReasonAsked = "asked" // somebody asked, or the monitor is new
)

// ScanArgs ask for one scan of one monitor, outside its rounds.
type ScanArgs struct {
	MonitorID int64     `json:"monitor_id"`
	At        time.Time `json:"at"`     // the scan's slot in the log; never one of a schedule
	Reason    string    `json:"reason"` // ReasonRetry or ReasonAsked
	// InPlaceOfBlind: in the place of a scan whose worker could not see the network.
	InPlaceOfBlind bool `json:"in_place_of_blind,omitempty"`
	// LookedAtBy is the worker that had the look before: a second one is worth more if it is another's.
	LookedAtBy string `json:"looked_at_by,omitempty"`
}

// Kind implements river.JobArgs.
func (ScanArgs) Kind() string { return "scan" }

// InsertOpts implements river.JobArgsWithInsertOpts.
func (ScanArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		Queue:       Scans,
		MaxAttempts: 10, // the last one after two minutes, as long as the database may be away
		UniqueOpts:  river.UniqueOpts{ByArgs: true, ByState: rivertype.JobStates()},
	}
}

// Scan inserts a scan, at the instant of its args or up to a microsecond later, and gives that instant: its slot.
func Scan(args ScanArgs) (job river.InsertManyParams, slot time.Time) {
	args.At = uptime.BetweenSlots(args.At)
	return river.InsertManyParams{Args: args, InsertOpts: &river.InsertOpts{ScheduledAt: args.At}}, args.At
}
