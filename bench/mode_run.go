package main

import (
	"context"
	"time"
)

// runResult is a fleet at its ordinary work, beside both loops at the same rate. Of each loop there is half as much as of
// the fleet.
type runResult struct {
	floors

	Fleet        measurement `json:"fleet"`
	Ratio        float64     `json:"ratio"` // CPU of a scan, of the whole system, over that of a fetch of the bare loop
	RatioNetHTTP float64     `json:"ratio_to_net_http"`
}

func runFleet(ctx context.Context, b *bench) (result, error) {
	var r runResult
	rate := float64(b.monitors) / b.interval.Seconds()
	if err := r.runLoops(ctx, b, rate, b.duration/4, bareLoop, netHTTPLoop); err != nil {
		return nil, err
	}
	var err error
	if r.Fleet, err = b.measureFleet(ctx); err != nil {
		return nil, err
	}
	if err := r.runLoops(ctx, b, rate, b.duration/4, netHTTPLoop, bareLoop); err != nil {
		return nil, err
	}
	r.Ratio = r.Fleet.SystemCPU / r.Bare.CPUMicros
	r.RatioNetHTTP = r.Fleet.SystemCPU / r.NetHTTP.CPUMicros
	return r, nil
}

// measureFleet measures a fleet that has scanned each of its monitors once, and then ends it.
func (b *bench) measureFleet(ctx context.Context) (m measurement, err error) {
	f, err := b.newFleet(ctx)
	if err != nil {
		return m, err
	}
	defer f.close()
	if err := f.startWorkers(ctx); err != nil {
		return m, err
	}
	if err := f.generate(ctx, b.monitors, f.interval); err != nil {
		return m, err
	}
	if err := f.wait(ctx, time.Now().Add(f.interval+3*time.Second), "warming up"); err != nil {
		return m, err
	}
	return f.measure(ctx, "Riverwatch", b.duration)
}

func (r runResult) tables() []table {
	t := measurementTable(r.Fleet)
	t.header = append(t.header, bareLoop, netHTTPLoop)
	beside := map[string]func(floorResult) string{
		rowAchieved:      func(f floorResult) string { return number(f.PerSecond) },
		rowLatency:       func(f floorResult) string { return f.Latency.String() },
		rowSystemCPU:     func(f floorResult) string { return number(f.CPUMicros) },
		rowTargetCPU:     func(f floorResult) string { return number(f.TargetCPU) },
		rowWorkersMemory: func(f floorResult) string { return mebibytes(f.PeakMemory) },
	}
	for i, row := range t.rows {
		if show := beside[row[0]]; show != nil {
			t.rows[i] = append(row, show(r.Bare), show(r.NetHTTP))
		}
	}
	t.add("ratio: CPU of a scan / CPU of a fetch", "", number(r.Ratio), number(r.RatioNetHTTP))
	return []table{t}
}
