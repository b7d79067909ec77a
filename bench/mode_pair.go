package main

import (
	"context"
	_ "embed"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"time"
)

// pairResult is what a scan costs two workers of one fleet that differ in their program or their environment: they share the
// machine, the database and the targets, so that little else makes a difference. Then the other one begins.
type pairResult struct {
	Rate   float64     `json:"per_second"` // of both
	Rounds []pairRound `json:"rounds"`
}

type pairRound struct {
	This  workerCost `json:"this"`
	Other workerCost `json:"other"`
}

// A workerCost is that of one worker in a window.
type workerCost struct {
	Scans int     `json:"scans"`
	CPU   float64 `json:"cpu_us"` // of each
	Peak  int64   `json:"peak_memory_bytes"`
}

func runPair(ctx context.Context, b *bench) (result, error) {
	r := pairResult{Rate: float64(b.monitors) / b.interval.Seconds()}
	for _, otherFirst := range []bool{false, true} {
		round, err := b.measurePair(ctx, otherFirst)
		if err != nil {
			return nil, err
		}
		r.Rounds = append(r.Rounds, round)
	}
	return r, nil
}

func (b *bench) measurePair(ctx context.Context, otherFirst bool) (round pairRound, err error) {
	f, err := b.newFleet(ctx)
	if err != nil {
		return round, err
	}
	defer f.close()
	order := []bool{false, true} // whether it is the other one
	if otherFirst {
		slices.Reverse(order)
	}
	var names []string
	for _, other := range order {
		worker, err := startChild(ctx, "worker", f.pairCommand(other))
		if err != nil {
			return round, err
		}
		f.workers = append(f.workers, worker)
		name, err := awaitName(ctx, worker)
		if err != nil {
			return round, err
		}
		names = append(names, name)
	}
	if err := f.generate(ctx, b.monitors, b.interval); err != nil {
		return round, err
	}
	if err := f.wait(ctx, time.Now().Add(b.interval+3*time.Second), "warming up"); err != nil {
		return round, err
	}
	before, err := f.workerCosts(ctx, names)
	if err != nil {
		return round, err
	}
	if err := f.wait(ctx, time.Now().Add(b.duration), "two workers"); err != nil {
		return round, err
	}
	after, err := f.workerCosts(ctx, names)
	if err != nil {
		return round, err
	}
	for i, other := range order {
		cost := workerCost{Scans: after[i].Scans - before[i].Scans, Peak: after[i].Peak}
		cost.CPU = (after[i].CPU - before[i].CPU) / float64(max(1, cost.Scans))
		if other {
			round.Other = cost
		} else {
			round.This = cost
		}
	}
	return round, nil
}

// pairCommand makes the command of one of the two workers, which says its name.
func (f *fleet) pairCommand(other bool) func(context.Context) *exec.Cmd {
	return func(ctx context.Context) *exec.Cmd {
		cmd := f.command("worker")(ctx)
		if other {
			if f.other != "" {
				cmd.Path = f.other
			}
			cmd.Env = append(cmd.Env, f.otherEnv...)
		}
		cmd.Env = append(cmd.Env, "RIVERWATCH_LOG_LEVEL=info", "RIVERWATCH_LOG_FORMAT=json")
		return cmd
	}
}

// workerName finds the name by which the log knows a worker, in what that says.
var workerName = regexp.MustCompile(`"msg":"worker started","worker":"([^"]+)"`)

// awaitName waits until a worker says its name, which comes before it says much else.
func awaitName(ctx context.Context, worker *child) (string, error) {
	for {
		if name := workerName.FindStringSubmatch(worker.said.String()); name != nil {
			return name[1], nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("wait for a worker's name: %w", ctx.Err())
		case <-worker.ended:
			return "", worker.alive()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

//go:embed sql/worker_scans.sql
var workerScansSQL string

// workerCosts gives the scans of each worker since its start, and microseconds of CPU in all.
func (f *fleet) workerCosts(ctx context.Context, names []string) (costs []workerCost, err error) {
	for i, worker := range f.workers {
		var cost workerCost
		if err := f.conn.QueryRow(ctx, workerScansSQL, names[i]).Scan(&cost.Scans); err != nil {
			return nil, fmt.Errorf("count a worker's scans: %w", err)
		}
		cpu, err := cpuOf(worker.pid())
		if err != nil {
			return nil, err
		}
		cost.CPU, cost.Peak = float64(cpu.Microseconds()), memoryOf(worker.pid()).peak
		costs = append(costs, cost)
	}
	return costs, nil
}

func (r pairResult) tables() []table {
	t := table{header: []string{"this", "the other"}}
	t.add("scans/s of both", number(r.Rate), number(r.Rate))
	for _, round := range r.Rounds {
		t.add("CPU us a scan", number(round.This.CPU), number(round.Other.CPU))
		t.add("… scans", whole(round.This.Scans), whole(round.Other.Scans))
		t.add("… peak memory", mebibytes(round.This.Peak), mebibytes(round.Other.Peak))
	}
	return []table{t}
}
