package jobs

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"riverwatch/db"
	"riverwatch/history"
	"riverwatch/queue"
)

const (
	// Roll-ups of one job may take so long; the next one goes on. A part of an hour of monitors of 10 s takes a minute, and what is
	// cut off begins again. (River rescues no job before its own time is up.)
	historyWithin = 15 * time.Minute
	// How often chunks are sealed, one after the other, and how long that may take.
	sealTick   = 10 * time.Minute
	sealWithin = 9 * time.Minute
)

// historyWorker rolls up what is over, and drops what is too old or too large.
type historyWorker struct {
	river.WorkerDefaults[queue.HistoryArgs]

	conn db.Conn
	keep history.Keep
	now  func() time.Time
}

// Timeout implements river.Worker.
func (*historyWorker) Timeout(*river.Job[queue.HistoryArgs]) time.Duration { return historyWithin }

// Work rolls up first: nothing is dropped of which an hour is not rolled up.
func (w *historyWorker) Work(ctx context.Context, _ *river.Job[queue.HistoryArgs]) error {
	rolled, err := history.RollUp(ctx, w.conn)
	if err != nil && ctx.Err() != nil {
		err = nil // there was more than one job can do
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeWithin)
	defer cancel()
	kept, keepErr := w.keep.Once(ctx, w.conn, w.now())
	return errors.Join(err, keepErr, river.RecordOutput(ctx, struct {
		history.Rolled
		history.Kept
	}{rolled, kept}))
}

// sealWorker gives the log's chunks that are over their index.
type sealWorker struct {
	river.WorkerDefaults[queue.SealArgs]

	pool   *pgxpool.Pool
	now    func() time.Time
	logger *slog.Logger
}

// Timeout implements river.Worker.
func (*sealWorker) Timeout(*river.Job[queue.SealArgs]) time.Duration { return sealWithin }

// Work seals one chunk after the other.
func (w *sealWorker) Work(ctx context.Context, _ *river.Job[queue.SealArgs]) error {
	sealed := []string{}
	for {
		chunk, err := history.Seal(ctx, w.pool, w.now())
		if err != nil {
			return err
		}
		if chunk == "" {
			return river.RecordOutput(ctx, map[string]any{"sealed": sealed})
		}
		w.logger.InfoContext(ctx, "chunk sealed", slog.String("chunk", chunk))
		sealed = append(sealed, chunk)
	}
}
