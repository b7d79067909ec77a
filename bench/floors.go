package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// floors are both loops beside a fleet, at the same target. Each runs before the fleet and after it, as a shared machine
// changes meanwhile.
type floors struct {
	Bare    floorResult   `json:"bare_loop"`
	NetHTTP floorResult   `json:"net_http_loop"`
	Runs    []floorResult `json:"loop_runs"`
}

// runLoops runs loops, one after the other, for a while each; rate 0: as fast as they can.
func (f *floors) runLoops(ctx context.Context, b *bench, rate float64, each time.Duration, loops ...string) error {
	urls := b.someURLs(10_000)
	for _, loop := range loops {
		run, err := b.runLoop(ctx, loop, urls, rate, each)
		if err != nil {
			return err
		}
		f.Runs = append(f.Runs, run)
	}
	f.Bare, f.NetHTTP = together(bareLoop, f.Runs), together(netHTTPLoop, f.Runs)
	return nil
}

// runLoop runs a loop in a process of its own.
func (b *bench) runLoop(
	ctx context.Context, loop string, urls []string, rate float64, duration time.Duration,
) (floorResult, error) {
	var result floorResult
	b.progress.stage("the %s fetches for %s", loop, duration)
	targetBefore, err := cpuOf(b.target.pid())
	if err != nil {
		return result, err
	}
	args := []string{
		"floor", "--loop", loop, "--rate", fmt.Sprint(rate), "--duration", duration.String(),
		"--seed", strconv.FormatUint(b.seed, 10),
	}
	if b.caFile != "" {
		args = append(args, "--ca", b.caFile)
	}
	printed, err := runChild(ctx, loop, strings.NewReader(strings.Join(urls, "\n")), self(args...))
	if err != nil {
		return result, err
	}
	if err := json.Unmarshal([]byte(printed), &result); err != nil {
		return result, fmt.Errorf("read what the %s says: %w", loop, err)
	}
	targetAfter, err := cpuOf(b.target.pid())
	result.TargetCPU = microsecondsPer(targetAfter-targetBefore, result.Fetches)
	if err != nil || result.Fetches == 0 || result.Failed > result.Fetches/1000 {
		return result, errors.Join(err, b.target.alive(), fmt.Errorf("the %s fetched %d and failed at %d: %s",
			loop, result.Fetches, result.Failed, result.FailedFirst))
	}
	return result, nil
}

// together adds up the runs of one loop; of their percentiles it gives the mean.
func together(loop string, runs []floorResult) floorResult {
	sum := floorResult{Loop: loop}
	var cpu, targetCPU, p50, p99 float64
	for _, run := range runs {
		if run.Loop != loop {
			continue
		}
		sum.Fetches += run.Fetches
		sum.Failed += run.Failed
		sum.Seconds += run.Seconds
		sum.PeakMemory = max(sum.PeakMemory, run.PeakMemory)
		p50 += run.Latency.P50 * float64(run.Fetches)
		p99 += run.Latency.P99 * float64(run.Fetches)
		sum.Latency.Max = max(sum.Latency.Max, run.Latency.Max)
		cpu += run.CPUMicros * float64(run.Fetches)
		targetCPU += run.TargetCPU * float64(run.Fetches)
	}
	sum.CPUMicros, sum.TargetCPU = per(cpu, sum.Fetches), per(targetCPU, sum.Fetches)
	sum.Latency.P50, sum.Latency.P99 = per(p50, sum.Fetches), per(p99, sum.Fetches)
	if sum.Seconds > 0 {
		sum.PerSecond = float64(sum.Fetches) / sum.Seconds
	}
	return sum
}
