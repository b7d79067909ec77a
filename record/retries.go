package record

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"riverwatch/queue"
)

// allowance bounds quick second looks: each is a job of its own, which costs many times what a scan of a round does. It fills
// up by so many a second, and holds those of a second.
type allowance struct {
	perSecond int
	left      float64
	at        time.Time // when it was filled up last
	refused   int       // since somebody counted them
}

// take takes as many of wanted as are left, and notes how many are not.
func (a *allowance) take(wanted int, now time.Time) (granted int) {
	a.left = min(float64(a.perSecond), a.left+max(0, now.Sub(a.at).Seconds())*float64(a.perSecond))
	a.at = now
	granted = min(wanted, int(a.left))
	a.left -= float64(granted)
	a.refused += wanted - granted
	return granted
}

// insertRetries asks for a quick second look at each monitor that has begun to fail, or to answer again, and is not down or up
// yet, where that comes before its next slot: for as many as are allowed. The next slot is the second look at the others.
// worker had the first.
func (r *Recorder) insertRetries(ctx context.Context, tx pgx.Tx, transitions []Transition, worker string) error {
	var scans []river.InsertManyParams
	now := r.Now()
	for _, t := range transitions {
		at := now.Add(time.Duration(t.Monitor.RetryIntervalSeconds) * time.Second)
		further := t.After.Failures > t.Before.Failures || t.After.Successes > t.Before.Successes
		if further && at.Before(t.Monitor.Schedule().SlotAfter(now)) {
			scan, _ := queue.Scan(queue.ScanArgs{
				MonitorID: t.Monitor.ID, At: at, Reason: queue.ReasonRetry, LookedAtBy: worker,
			})
			scans = append(scans, scan)
		}
	}
	scans = scans[:r.retries.take(len(scans), now)]
	if len(scans) == 0 {
		return nil
	}
	if _, err := r.Queue.InsertManyTx(ctx, tx, scans); err != nil {
		return fmt.Errorf("insert retries: %w", err)
	}
	return nil
}
