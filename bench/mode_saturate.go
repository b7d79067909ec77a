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

// saturateResult is how far a fleet goes, beside the loops and the same target on the same cores.
type saturateResult struct {
	floors

	Steps           []measurement `json:"steps"`
	Most            float64       `json:"most_per_second"` // of a step that holds
	Fraction        float64       `json:"of_bare_loop"`
	FractionNetHTTP float64       `json:"of_net_http_loop"`
}

func runSaturate(ctx context.Context, b *bench) (result, error) {
	var r saturateResult
	if err := r.runLoops(ctx, b, 0, b.duration/4, bareLoop, netHTTPLoop); err != nil {
		return nil, err
	}
	var err error
	if r.Steps, err = b.climb(ctx, r.Bare.PerSecond); err != nil {
		return nil, err
	}
	if err := r.runLoops(ctx, b, 0, b.duration/4, netHTTPLoop, bareLoop); err != nil {
		return nil, err
	}
	for _, step := range r.Steps {
		if holds(step) {
			r.Most = step.Achieved
		}
	}
	r.Fraction, r.FractionNetHTTP = r.Most/r.Bare.PerSecond, r.Most/r.NetHTTP.PerSecond
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
	t := table{header: []string{"Riverwatch", bareLoop, netHTTPLoop}}
	t.add("most a second", number(r.Most), number(r.Bare.PerSecond), number(r.NetHTTP.PerSecond))
	t.add("Riverwatch's part of it", "", percent(r.Fraction), percent(r.FractionNetHTTP))
	t.add("CPU us each", "", number(r.Bare.CPUMicros), number(r.NetHTTP.CPUMicros))
	t.add("target: CPU us each", "", number(r.Bare.TargetCPU), number(r.NetHTTP.TargetCPU))
	return []table{measurementTable(r.Steps...), t}
}
