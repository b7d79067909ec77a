package main

import (
	"context"
)

// overloads are the rows of overload: parts of what saturates a fleet.
var overloads = []float64{1, 1.5, 2}

// overloadResult is what a fleet does with more than it can.
type overloadResult struct {
	Saturation float64       `json:"saturation_per_second"`
	Climb      []measurement `json:"climb,omitempty"` // how it was found, unless it was given
	Rows       []measurement `json:"rows"`            // at each of overloads
}

func runOverload(ctx context.Context, b *bench) (result, error) {
	r := overloadResult{Saturation: b.saturation}
	if r.Saturation == 0 {
		var loops floors
		if err := loops.runLoops(ctx, b, 0, b.duration/4, bareLoop); err != nil {
			return nil, err
		}
		var err error
		if r.Climb, err = b.climb(ctx, loops.Bare.PerSecond); err != nil {
			return nil, err
		}
		r.Saturation = mostOf(r.Climb)
	}
	f, err := b.newFleet(ctx)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if err := f.startWorkers(ctx); err != nil {
		return nil, err
	}
	for _, part := range overloads {
		row, err := f.measureAt(ctx, part*r.Saturation)
		if err != nil {
			return nil, err
		}
		row.Name = whole(int(100*part)) + " %"
		r.Rows = append(r.Rows, row)
	}
	return r, nil
}

func (r overloadResult) tables() []table {
	t := measurementTable(r.Rows...)
	goodput, blamed := make([]string, len(r.Rows)), make([]string, len(r.Rows))
	for i, row := range r.Rows {
		goodput[i] = percent(row.Goodput / r.Saturation)
		blamed[i] = percent(per(row.Blamed, row.Recorded))
	}
	t.add("goodput, of saturation", goodput...)
	t.add("scans that blame a target that is well", blamed...)
	return []table{t}
}
