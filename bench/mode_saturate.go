package main

import (
	"context"
	"fmt"
	"time"
)

const (
	enoughCoverage   = 0.999
	keepsUp          = 5_000            // milliseconds that a scan in a hundred may be late by: more, and it falls behind
	saturateInterval = 10 * time.Second // the shortest: the most scans of the fewest monitors
	mostSteps        = 40
)

// saturateResult is how far a fleet goes, beside the bare loop and the same target on the same cores.
type saturateResult struct {
	Steps    []measurement `json:"steps"`
	Floor    floorResult   `json:"bare_loop"`
	Halves   []floorResult `json:"bare_loop_halves"`
	Most     float64       `json:"most_per_second"` // with enough coverage
	Fraction float64       `json:"of_bare_loop"`
}

func runSaturate(ctx context.Context, b *bench) (result, error) {
	first, err := b.fetchBare(ctx, b.someURLs(10_000), 0, b.duration/2)
	if err != nil {
		return nil, err
	}
	r := saturateResult{Halves: []floorResult{first}}
	if r.Steps, err = b.climb(ctx, first.PerSecond); err != nil {
		return nil, err
	}
	second, err := b.fetchBare(ctx, b.someURLs(10_000), 0, b.duration/2)
	if err != nil {
		return nil, err
	}
	r.Halves = append(r.Halves, second)
	r.Floor = together(r.Halves...)
	for _, step := range r.Steps {
		if holds(step) {
			r.Most = step.Achieved
		}
	}
	r.Fraction = r.Most / r.Floor.PerSecond
	return r, nil
}

// holds reports whether a fleet does what it has to, and on time. One that falls behind covers its slots for a while.
func holds(m measurement) bool {
	return m.Coverage >= enoughCoverage && m.NotOK <= m.Due/1000 && m.Lateness.P99 <= keepsUp
}

// climb makes a fleet larger until it no longer holds.
func (b *bench) climb(ctx context.Context, bare float64) (steps []measurement, err error) {
	f, err := b.newFleet(ctx)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if err := f.startWorkers(ctx); err != nil {
		return nil, err
	}
	for i := range mostSteps {
		rate := bare * (b.first + float64(i)*b.step)
		if err := f.generate(ctx, int(rate*saturateInterval.Seconds())-f.monitors, saturateInterval); err != nil {
			return nil, err
		}
		name := fmt.Sprintf("%s/s", number(rate))
		if err := f.wait(ctx, time.Now().Add(saturateInterval+5*time.Second), "warming up "+name); err != nil {
			return nil, err
		}
		step, err := f.measure(ctx, name, b.duration)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step)
		if !holds(step) {
			break
		}
	}
	return steps, nil
}

func (r saturateResult) tables() []table {
	t := table{header: []string{"Riverwatch", "bare loop"}}
	t.add("most a second", number(r.Most), number(r.Floor.PerSecond))
	t.add("of the bare loop", percent(r.Fraction))
	t.add("CPU us each", "", number(r.Floor.CPUMicros))
	t.add("target: CPU us each", "", number(r.Floor.TargetCPU))
	return []table{measurementTable(r.Steps...), t}
}
