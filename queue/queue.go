// Package queue holds the kinds of jobs, and how they are inserted: rounds, which scan the monitors of one interval and
// phase at one slot; scans, which look at one monitor now; tend, which finds what was forgotten. Package jobs works them.
package queue

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
	"go.opentelemetry.io/otel/trace"
)

// Queue inserts jobs.
type Queue = *river.Client[pgx.Tx]

// The names of River's queues.
const (
	Rounds = "rounds"
	Scans  = "scans"
	Upkeep = "upkeep"
)

// New makes a client that inserts jobs and works none: it is never River's leader. Without traces (nil) it makes no spans.
func New(pool *pgxpool.Pool, logger *slog.Logger, traces trace.TracerProvider) (Queue, error) {
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Logger:     logger,
		Hooks:      Hooks(),
		Middleware: Middleware(traces),
	})
	if err != nil {
		return nil, fmt.Errorf("make the queue: %w", err)
	}
	return client, nil
}

// Hooks are those of every client that inserts jobs.
func Hooks() []rivertype.Hook { return []rivertype.Hook{&startOnTime{}} }

// startOnTime inserts jobs of the future as available instead of scheduled. The query that fetches jobs waits for
// scheduled_at anyway, whereas River moves scheduled jobs to available on its leader alone, every 5 s, and not at all
// for up to 20 s after a leader died.
type startOnTime struct{ river.HookDefaults }

// InsertBegin implements rivertype.HookInsertBegin.
func (*startOnTime) InsertBegin(_ context.Context, params *rivertype.JobInsertParams) error {
	if params.State == rivertype.JobStateScheduled {
		params.State = rivertype.JobStateAvailable
	}
	return nil
}
