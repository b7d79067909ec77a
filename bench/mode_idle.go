package main

import (
	"context"
	"time"
)

// idleInterval is so long that nearly nothing is in flight.
const idleInterval = 24 * time.Hour

// idleResult is what a worker needs when it has much to watch and nothing to do.
type idleResult struct {
	Monitors int     `json:"monitors"`
	Resident int64   `json:"worker_resident_memory_bytes"`
	Peak     int64   `json:"worker_peak_memory_bytes"`
	Cores    float64 `json:"worker_cores"` // CPU seconds a second
	Postgres float64 `json:"postgres_cores"`
}

func runIdle(ctx context.Context, b *bench) (result, error) {
	f, err := b.newFleet(ctx)
	if err != nil {
		return nil, err
	}
	defer f.close()
	f.options.workers = 1
	if err := f.generate(ctx, b.monitors, idleInterval); err != nil {
		return nil, err
	}
	if err := f.settle(ctx); err != nil {
		return nil, err
	}
	if err := f.startWorkers(ctx); err != nil {
		return nil, err
	}
	before, err := f.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	if err := f.wait(ctx, time.Now().Add(b.duration), "nothing to do"); err != nil {
		return nil, err
	}
	after, err := f.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	memory := memoryOf(f.workers[0].pid())
	return idleResult{
		Monitors: f.monitors, Resident: memory.resident, Peak: memory.peak,
		Cores:    (after.workers - before.workers).Seconds() / b.duration.Seconds(),
		Postgres: (after.postgres - before.postgres).Seconds() / b.duration.Seconds(),
	}, nil
}

func (r idleResult) tables() []table {
	t := table{header: []string{"a worker"}}
	t.add("monitors, each once a day", whole(r.Monitors))
	t.add("resident memory", mebibytes(r.Resident))
	t.add("peak memory", mebibytes(r.Peak))
	t.add("cores used", number(r.Cores))
	t.add("cores used by Postgres", number(r.Postgres))
	return []table{t}
}
