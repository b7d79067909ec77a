package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"riverwatch/db"
	"riverwatch/uptime"
)

// A scan outside rounds that is not begun by then is no longer wanted: whoever asked has left, and a round has come.
const scanWithin = 2 * time.Minute

// ScanArgs ask for one scan of one monitor, outside its rounds.
type ScanArgs struct {
	MonitorID int64     `json:"monitor_id"`
	At        time.Time `json:"at"`     // the scan's slot in the log; never one of a schedule
	Reason    string    `json:"reason"` // ReasonRetry or ReasonAsked
	// InPlaceOfBlind: in the place of a scan whose worker could not see the network.
	InPlaceOfBlind bool `json:"in_place_of_blind,omitempty"`
}

// Kind implements river.JobArgs.
func (ScanArgs) Kind() string { return "scan" }

// InsertOpts implements river.JobArgsWithInsertOpts.
func (ScanArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		Queue:       queueScans,
		MaxAttempts: 10, // the last one after scanWithin, as long as the database may be away
		UniqueOpts:  river.UniqueOpts{ByArgs: true, ByState: rivertype.JobStates()},
	}
}

// scanJob inserts a scan, at the instant of its args.
func scanJob(args ScanArgs) river.InsertManyParams {
	args.At = betweenSlots(args.At)
	return river.InsertManyParams{Args: args, InsertOpts: &river.InsertOpts{ScheduledAt: args.At}}
}

// betweenSlots gives an instant at most 1 µs later, of the database's precision, at which no schedule has a slot.
func betweenSlots(t time.Time) time.Time {
	t = t.UTC().Truncate(time.Microsecond)
	if uptime.IsSlotTime(t) {
		t = t.Add(time.Microsecond)
	}
	return t
}

// ScanWorker works scans outside rounds.
type ScanWorker struct {
	river.WorkerDefaults[ScanArgs]

	Scanner *Scanner
}

// Work scans a monitor that somebody asked about, or whose last scan failed. A target that is down is a job well done:
// Work fails only if we do.
func (w *ScanWorker) Work(ctx context.Context, job *river.Job[ScanArgs]) error {
	s, args := w.Scanner, job.Args
	row, err := db.New(s.Conn).GetMonitorWithState(ctx, args.MonitorID)
	if errors.Is(err, pgx.ErrNoRows) {
		return river.JobCancel(fmt.Errorf("monitor %d is gone", args.MonitorID))
	}
	if err != nil {
		return fmt.Errorf("get monitor %d: %w", args.MonitorID, err)
	}
	if why := whyNot(job, row, s.Now()); why != "" {
		return river.JobCancel(errors.New(why))
	}

	startCtx, cancel := context.WithTimeout(ctx, s.startWithin)
	defer cancel()
	release, err := s.await(startCtx, row.Monitor)
	if err != nil {
		return fmt.Errorf("wait for a probe: %w", err)
	}
	defer release()
	monitors, err := s.withSecrets(ctx, row.Monitor)
	if err != nil {
		return err
	}
	outcome, err := s.scan(ctx, monitors[0], args.At, args.Reason)
	if err != nil {
		return err
	}
	return river.RecordOutput(ctx, map[string]any{"outcome": outcome})
}

// whyNot says why a scan is not wanted any more, or nothing.
func whyNot(job *river.Job[ScanArgs], row db.GetMonitorWithStateRow, now time.Time) string {
	switch {
	case now.Sub(job.Args.At) > scanWithin:
		return "too late"
	case job.Args.Reason == ReasonRetry && !job.Args.InPlaceOfBlind && !stateOf(row.MonitorState).Doubtful():
		return "no longer in doubt"
	case job.Attempt > 1 && !isSafe(row.Monitor):
		return "the request may have been made, and must not be made twice"
	default:
		return ""
	}
}
