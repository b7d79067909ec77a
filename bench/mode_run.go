package main

import (
	"context"
	"time"
)

// runResult is a fleet at its ordinary work, between two runs of the bare loop: the machine may change meanwhile. These
// take half as long as it, together.
type runResult struct {
	Fleet  measurement   `json:"fleet"`
	Floor  floorResult   `json:"bare_loop"`
	Halves []floorResult `json:"bare_loop_halves"`
	Ratio  float64       `json:"ratio"` // CPU of a recorded scan, of the whole system, over that of a bare fetch
}

func runFleet(ctx context.Context, b *bench) (result, error) {
	rate := float64(b.monitors) / b.interval.Seconds()
	first, err := b.fetchBare(ctx, b.someURLs(b.monitors), rate, b.duration/4)
	if err != nil {
		return nil, err
	}
	f, err := b.newFleet(ctx)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if err := f.startWorkers(ctx); err != nil {
		return nil, err
	}
	if err := f.generate(ctx, b.monitors, f.interval); err != nil {
		return nil, err
	}
	if err := f.wait(ctx, time.Now().Add(f.interval+3*time.Second), "warming up"); err != nil { // each is scanned once
		return nil, err
	}
	m, err := f.measure(ctx, "measuring", b.duration)
	if err != nil {
		return nil, err
	}
	f.stopWorkers()
	second, err := b.fetchBare(ctx, b.someURLs(b.monitors), rate, b.duration/4)
	if err != nil {
		return nil, err
	}
	m.Name = "Riverwatch"
	r := runResult{Fleet: m, Floor: together(first, second), Halves: []floorResult{first, second}}
	r.Ratio = m.SystemCPU / r.Floor.CPUMicros
	return r, nil
}

func (r runResult) tables() []table {
	t := measurementTable(r.Fleet)
	t.header = append(t.header, "bare loop")
	beside := map[string]string{
		rowAchieved:      number(r.Floor.PerSecond),
		rowLatency:       r.Floor.Latency.String(),
		rowSystemCPU:     number(r.Floor.CPUMicros),
		rowTargetCPU:     number(r.Floor.TargetCPU),
		rowWorkersMemory: mebibytes(r.Floor.PeakMemory),
	}
	for i, row := range t.rows {
		t.rows[i] = append(row, beside[row[0]])
	}
	t.add("ratio: CPU a recorded scan / CPU a bare fetch", number(r.Ratio), "1")
	return []table{t}
}
