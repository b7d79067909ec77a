package main

import (
	"context"
	"time"
)

const (
	saturateInterval = 10 * time.Second // the shortest: the most scans of the fewest monitors
	mostSteps        = 40

	// What a step has to do to hold.
	enoughCoverage = 0.999  // of the slots that were due, with a scan in the log a second after the window
	fewFailures    = 0.001  // of these, scans that are not good
	lateAtMost     = 1000.0 // milliseconds: p99 of the whole window
	// Milliseconds by which the second half may be later than the first. Who has one scan in a hundred too many is later by a
	// hundredth of the time between the halves: 150 ms if each lasts 15 s.
	growsAtMostP50 = 100.0
	growsAtMostP99 = 250.0
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
	r.Most = mostOf(r.Steps)
	r.Fraction, r.FractionNetHTTP = r.Most/r.Bare.PerSecond, r.Most/r.NetHTTP.PerSecond
	return r, nil
}

// holds reports whether a fleet does all that it has to, on time, and would go on like that.
func (m measurement) holds() bool {
	first, second := m.LatenessHalves[0], m.LatenessHalves[1]
	return m.Coverage >= enoughCoverage && float64(m.Blamed+m.Inconclusive) <= fewFailures*float64(m.Due) &&
		m.Lateness.P99 < lateAtMost && second.P50-first.P50 <= growsAtMostP50 && second.P99-first.P99 <= growsAtMostP99
}

// mostOf gives how many scans a second there were at the highest step that holds.
func mostOf(steps []measurement) (most float64) {
	for _, step := range steps {
		if step.holds() {
			most = step.Achieved
		}
	}
	return most
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
		step, err := f.measureAt(ctx, bare*(b.first+float64(i)*b.step))
		if err != nil {
			return nil, err
		}
		steps = append(steps, step)
		if !step.holds() { // a stall of a shared machine may be the reason, and is not the fleet's
			if step, err = f.measure(ctx, step.Name+", again", b.duration); err != nil {
				return nil, err
			}
			steps = append(steps, step)
		}
		if !step.holds() {
			break
		}
	}
	return steps, nil
}

// measureAt makes a fleet so large that so many scans a second are due, and measures it when the new ones have settled.
func (f *fleet) measureAt(ctx context.Context, rate float64) (m measurement, err error) {
	if err := f.generate(ctx, int(rate*saturateInterval.Seconds())-f.monitors, saturateInterval); err != nil {
		return m, err
	}
	name := number(rate) + "/s"
	if err := f.wait(ctx, time.Now().Add(2*saturateInterval), "warming up "+name); err != nil {
		return m, err
	}
	return f.measure(ctx, name, f.duration)
}

func (r saturateResult) tables() []table {
	t := table{header: []string{"Riverwatch", bareLoop, netHTTPLoop}}
	t.add("most a second", number(r.Most), number(r.Bare.PerSecond), number(r.NetHTTP.PerSecond))
	t.add("Riverwatch's part of it", "", percent(r.Fraction), percent(r.FractionNetHTTP))
	t.add("CPU us each", "", number(r.Bare.CPUMicros), number(r.NetHTTP.CPUMicros))
	t.add("target: CPU us each", "", number(r.Bare.TargetCPU), number(r.NetHTTP.TargetCPU))
	steps := measurementTable(r.Steps...)
	held := make([]string, len(r.Steps))
	for i, step := range r.Steps {
		held[i] = "no"
		if step.holds() {
			held[i] = "yes"
		}
	}
	steps.add("holds", held...)
	return []table{steps, t}
}
