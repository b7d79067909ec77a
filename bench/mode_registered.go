package main

import (
	"context"
	"time"
)

// registeredResult is what a scan costs with few monitors and with many, at the same scans a second.
type registeredResult struct {
	Few  measurement `json:"few"`
	Many measurement `json:"many"`
	Cost float64     `json:"cost_with_many_over_few"`
}

func runRegistered(ctx context.Context, b *bench) (result, error) {
	var r registeredResult
	var err error
	if r.Few, err = b.measureRegistered(ctx, b.few); err != nil {
		return nil, err
	}
	if r.Many, err = b.measureRegistered(ctx, b.many); err != nil {
		return nil, err
	}
	r.Cost = r.Many.SystemCPU / r.Few.SystemCPU
	return r, nil
}

// afterStart is how long workers that are new have to catch up with what came due while there were none: rounds that are
// late wait for a minute at most.
const afterStart = 75 * time.Second

// measureRegistered measures a fleet with so many monitors, at the rate that is asked for.
func (b *bench) measureRegistered(ctx context.Context, monitors int) (measurement, error) {
	f, err := b.newFleet(ctx)
	if err != nil {
		return measurement{}, err
	}
	defer f.close()
	interval := time.Duration(monitors/b.rate) * time.Second
	if err := f.generate(ctx, monitors, interval); err != nil {
		return measurement{}, err
	}
	if err := f.settle(ctx); err != nil {
		return measurement{}, err
	}
	if err := f.startWorkers(ctx); err != nil {
		return measurement{}, err
	}
	if err := f.wait(ctx, time.Now().Add(afterStart), "warming up"); err != nil {
		return measurement{}, err
	}
	return f.measure(ctx, whole(monitors)+" registered", b.duration)
}

func (r registeredResult) tables() []table {
	t := measurementTable(r.Few, r.Many)
	t.add("CPU a scan, with many over few", "", number(r.Cost))
	return []table{t}
}
