package uptime

// GapReason is why a promised slot was not scanned. The words are stored in scan_gaps, so none is ever renamed.
type GapReason string

const (
	ServiceDown   GapReason = "service_down"   // no worker ran, or none reached the database
	WorkerLost    GapReason = "worker_lost"    // the worker died with the scan open
	Overloaded    GapReason = "overloaded"     // no probe was free in time, no worker had time, or no room for its result
	InternalError GapReason = "internal_error" // a fault of ours
	Unaccounted   GapReason = "unaccounted"    // found missing by tend
)

// GapReasons are all there are.
func GapReasons() []GapReason {
	return []GapReason{ServiceDown, WorkerLost, Overloaded, InternalError, Unaccounted}
}
