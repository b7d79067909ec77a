package httpapi

import (
	"context"
	"fmt"
	"time"

	"riverwatch/db"
)

const listWarningsDoc = "What the people who run this installation must know, newest first: the last 50 warnings. A warning is " +
	"one row however many monitors and processes it is about. It is open until closed_at is set."

const listedWarnings = 50

// warningBody is a warning as the API shows it.
type warningBody struct {
	Kind          string     `json:"kind" doc:"What it is, as a word that never changes. no_sight: a worker cannot see the network. clock_skew: the clocks of a process and of the database differ by more than 2 s. sentinel_silent: a sentinel does not answer, though others do. queue_paused: somebody paused a queue of jobs. rounds_waiting: no worker takes rounds. scans_cut_by_size: the log is cut by its size. rollups_late: the log is not rolled up, and so nothing is dropped." example:"no_sight"`
	Message       string     `json:"message" doc:"What it means, in words." example:"Workers cannot see the network."`
	OpenedAt      time.Time  `json:"opened_at" doc:"Since when." example:"2026-11-24T10:00:00Z"`
	SeenAt        time.Time  `json:"seen_at" doc:"When it was last known to be so." example:"2026-11-24T10:05:00Z"`
	ClosedAt      *time.Time `json:"closed_at" doc:"Until when; null while it is so." example:"2026-11-24T10:05:10Z"`
	Processes     []string   `json:"processes" doc:"All processes that it was about." example:"[\"pod-7f9c-x1k2\"]"`
	OpenProcesses []string   `json:"open_processes" doc:"Those that it is about still." example:"[]"`
}

func newWarningBody(warning db.Warning) warningBody {
	var closedAt *time.Time
	if warning.ClosedAt != nil {
		utc := warning.ClosedAt.UTC()
		closedAt = &utc
	}
	return warningBody{
		Kind: warning.Kind, Message: warning.Message, OpenedAt: warning.OpenedAt.UTC(), SeenAt: warning.SeenAt.UTC(),
		ClosedAt: closedAt, Processes: warning.Processes, OpenProcesses: warning.OpenProcesses,
	}
}

type listWarningsOutput struct {
	Body struct {
		Data []warningBody `json:"data" doc:"The warnings, newest first."`
	}
}

func (a *api) listWarnings(ctx context.Context, _ *struct{}) (*listWarningsOutput, error) {
	warnings, err := db.New(a.Pool).ListWarnings(ctx, listedWarnings)
	if err != nil {
		return nil, fmt.Errorf("list warnings: %w", err)
	}
	out := &listWarningsOutput{}
	out.Body.Data = make([]warningBody, len(warnings))
	for i, warning := range warnings {
		out.Body.Data[i] = newWarningBody(warning)
	}
	return out, nil
}
