package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"riverwatch/db"
	"riverwatch/queue"
	"riverwatch/record"
	"riverwatch/uptime"
	"riverwatch/wait"
)

const (
	// A round that has waited for longer than this, and for longer than the shortest interval, is behind.
	behindAfter = 10 * time.Second
	// In one transaction stale rounds are declared among so many that have waited longest, and so many that have waited shortest:
	// when a long outage is followed by a short one, chains of short intervals are at that end. Each takes a lock of its chain.
	backlogPage = 300
	backlogTick = time.Second
	// While rounds are behind, so many are worked at once besides those of now.
	behindAtOnce = 50
)

// backlog is what a worker does about rounds that have piled up, when all workers were away for long: rounds of now come before
// them, and those whose slot has passed, which are nothing but bookkeeping, are declared hundreds at a time. River would hand
// them out one by one, the oldest first.
type backlog struct {
	*scanner

	queue  queue.Queue
	behind atomic.Bool // rounds that River handed out had waited; or it has not handed out any yet
}

// freshFirst sees to it that River hands out rounds of now before those that have waited, if any have, and gives how many rounds
// it may hand out then, if there is room for so many: rounds that have waited mostly want the database, and hundreds of them
// would leave no connection for those of now.
func (b *backlog) freshFirst(ctx context.Context, room int) (atMost int, err error) {
	if !b.behind.Load() {
		return room, nil
	}
	fresh, err := db.New(b.conn).PutRoundsFirst(ctx, db.PutRoundsFirstParams{
		Queue: queue.Rounds, Priority: queue.RoundPriority, First: queue.FreshRoundPriority, SinceSeconds: int(behindAfter.Seconds()),
	})
	if err != nil {
		return 0, fmt.Errorf("put the rounds of now first: %w", err)
	}
	working := maxRounds - room
	return min(room, int(fresh)+max(5, behindAtOnce-working)), nil
}

// note looks at the rounds that River handed out. If some of them had waited, others do, until it hands out all there are.
func (b *backlog) note(handedOut []*rivertype.JobRow, all bool) {
	waited := false
	for _, job := range handedOut {
		waited = waited || b.now().Sub(job.ScheduledAt) > behindAfter
	}
	b.behind.Store(!all && (waited || b.behind.Load()))
}

// run declares what is stale for as long as rounds are behind, until ctx is done.
func (b *backlog) run(ctx context.Context) {
	wait.Repeat(ctx, backlogTick, func(ctx context.Context) error {
		for b.behind.Load() && b.mayTake() && ctx.Err() == nil {
			if taken, err := b.declarePage(ctx); err != nil || taken == 0 {
				return err
			}
		}
		return nil
	}, func(err error) {
		b.logger.WarnContext(ctx, "cannot declare rounds that have piled up", slog.Any("error", err))
	})
}

// declarePage declares the slots of rounds that have piled up, and sees to it that their chains go on, as each of them
// would by itself ([roundWorker.declareMissed]). It gives how many rounds it took.
func (b *backlog) declarePage(ctx context.Context) (taken int, err error) {
	missed := map[uptime.GapReason]int{}
	err = db.InTx(ctx, b.conn, func(tx pgx.Tx) error {
		queries := db.New(tx)
		clear(missed)
		stale, err := queries.TakeStaleRounds(ctx, db.TakeStaleRoundsParams{
			At: b.now(), Queue: queue.Rounds, Priority: queue.RoundPriority, PageSize: backlogPage,
		})
		if err != nil {
			return fmt.Errorf("take stale rounds: %w", err)
		}
		taken = len(stale)

		ids, gaps := map[uptime.GapReason][]int64{}, map[uptime.GapReason][]record.Gap{}
		var next []river.InsertManyParams
		known := map[uptime.Schedule]uptime.GapReason{}
		for _, job := range stale { // the oldest of its chain speaks for it
			schedule := uptime.Schedule{Interval: job.IntervalSeconds, PhaseMS: job.PhaseMS}
			reason, ok := known[schedule]
			if !ok {
				round := uptime.Round{Schedule: schedule, Slot: job.Slot, Attempt: 1, Sibling: false, Due: job.Slot, PutOff: time.Time{}}
				m := round.Missed(job.Now, b.limiter.wasFullSince(job.Slot), "")
				reason, known[schedule] = m.Reason, m.Reason
				gaps[reason] = append(gaps[reason], record.Gap{Schedule: schedule, From: job.Slot, To: m.To, Reason: reason})
				if job.Watched {
					next = append(next, queue.RoundAt(schedule, m.Next, m.Begins))
				}
			}
			ids[reason] = append(ids[reason], job.ID)
		}
		for reason := range ids {
			if missed[reason], err = record.DeclareAll(ctx, queries, b.now(), gaps[reason]...); err != nil {
				return err
			}
			if err := queries.CompleteRounds(ctx, db.CompleteRoundsParams{Ids: ids[reason], Reason: string(reason)}); err != nil {
				return fmt.Errorf("complete stale rounds: %w", err)
			}
		}
		if len(next) == 0 {
			return nil
		}
		if _, err := b.queue.InsertManyTx(ctx, tx, next); err != nil {
			return fmt.Errorf("insert the next rounds: %w", err)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for reason, gaps := range missed {
		b.metrics.missed.WithLabelValues(string(reason)).Add(float64(gaps))
	}
	return taken, nil
}
