package main

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// coldResult is how a fleet starts: when its monitors are new, and when its workers were away.
type coldResult struct {
	Monitors int   `json:"monitors"`
	Interval int   `json:"interval_seconds"`
	New      start `json:"new"`
	Back     start `json:"workers_back"`
}

// A start is when monitors got their first scan, and what the target saw of it.
type start struct {
	Took     float64     `json:"took_seconds"` // to create them all
	Scanned  int         `json:"scanned"`
	First    percentiles `json:"first_scan"`                // after the monitor's creation, or after the workers' start
	Busiest  int         `json:"most_requests_in_a_second"` // of the target
	Ordinary float64     `json:"scans_per_second"`          // when all is well
}

// afterInterval is how long beyond an interval first scans are waited for.
const afterInterval = 10 * time.Second

func runCold(ctx context.Context, b *bench) (result, error) {
	f, err := b.newFleet(ctx)
	if err != nil {
		return nil, err
	}
	defer f.close()
	r := coldResult{Monitors: b.monitors, Interval: int(b.interval.Seconds())}

	// Monitors are created while workers wait for them.
	if err := f.startWorkers(ctx); err != nil {
		return nil, err
	}
	if _, err := f.takeLedger(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := f.generate(ctx, b.monitors, f.interval); err != nil {
		return nil, err
	}
	r.New.Took = time.Since(began).Seconds()
	if err := f.wait(ctx, time.Now().Add(f.interval+afterInterval), "the monitors are new"); err != nil {
		return nil, err
	}
	if err := f.readStart(ctx, &r.New, began); err != nil {
		return nil, err
	}

	// All workers are away, and come back.
	f.stopWorkers()
	if err := f.wait(ctx, time.Now().Add(f.interval+10*time.Second), "the workers are away"); err != nil {
		return nil, err
	}
	if _, err := f.takeLedger(ctx); err != nil {
		return nil, err
	}
	began = time.Now()
	if err := f.startWorkers(ctx); err != nil {
		return nil, err
	}
	if err := f.wait(ctx, time.Now().Add(f.interval+afterInterval), "the workers are back"); err != nil {
		return nil, err
	}
	err = f.readStart(ctx, &r.Back, began)
	return r, err
}

//go:embed sql/first_scans.sql
var firstScansSQL string

func (f *fleet) readStart(ctx context.Context, s *start, since time.Time) error {
	ledger, err := f.takeLedger(ctx)
	if err != nil {
		return err
	}
	bySecond := map[int64]int{}
	for _, at := range ledger.At {
		second := time.UnixMicro(at).Unix()
		bySecond[second]++
		s.Busiest = max(s.Busiest, bySecond[second])
	}
	s.Ordinary = float64(f.monitors) / f.interval.Seconds()
	rows, err := f.conn.Query(ctx, firstScansSQL, since)
	if err != nil {
		return fmt.Errorf("find first scans: %w", err)
	}
	waits, err := pgx.CollectRows(rows, pgx.RowTo[float64])
	if err != nil {
		return fmt.Errorf("find first scans: %w", err)
	}
	s.Scanned = len(waits)
	late := make([]time.Duration, len(waits))
	for i, wait := range waits {
		late[i] = time.Duration(wait * float64(time.Second))
	}
	s.First = percentilesOf(late)
	return nil
}

func (r coldResult) tables() []table {
	t := table{header: []string{"new", "workers back"}}
	row := func(name string, show func(start) string) { t.add(name, show(r.New), show(r.Back)) }
	t.add("monitors", whole(r.Monitors), whole(r.Monitors))
	t.add("interval, s", whole(r.Interval), whole(r.Interval))
	t.add("created in, s", number(r.New.Took), "")
	row("monitors scanned", func(s start) string { return whole(s.Scanned) })
	row("first scan after, s: p50, p99, max", func(s start) string {
		return percentiles{s.First.P50 / 1000, s.First.P99 / 1000, s.First.Max / 1000}.String()
	})
	row("most requests in a second", func(s start) string { return whole(s.Busiest) })
	row("requests in an ordinary second", func(s start) string { return number(s.Ordinary) })
	return []table{t}
}
