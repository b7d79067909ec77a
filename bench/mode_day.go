package main

import (
	"context"
	_ "embed"
	"fmt"
	"time"
)

// dayResult is what a scan writes on top of a log that is full already, past checkpoints.
type dayResult struct {
	Fleet    measurement `json:"fleet"`
	Filled   int         `json:"rows_filled"`
	FilledIn float64     `json:"filled_in_seconds"`
	RowBytes float64     `json:"row_bytes_filled"`
}

func runDay(ctx context.Context, b *bench) (result, error) {
	f, err := b.newFleet(ctx)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if err := f.generate(ctx, b.monitors, b.interval); err != nil {
		return nil, err
	}
	if err := f.settle(ctx); err != nil {
		return nil, err
	}
	var r dayResult
	began := time.Now()
	if r.Filled, err = f.fillLog(ctx, began); err != nil {
		return nil, err
	}
	r.FilledIn = time.Since(began).Seconds()
	if r.RowBytes, err = f.rowBytes(ctx); err != nil {
		return nil, err
	}
	if err := f.startWorkers(ctx); err != nil {
		return nil, err
	}
	if err := f.wait(ctx, time.Now().Add(max(b.interval, afterStart)), "warming up"); err != nil {
		return nil, err
	}
	if err := f.checkpoint(ctx); err != nil { // each page that is touched from here on is written whole, once
		return nil, err
	}
	r.Fleet, err = f.measure(ctx, "on a full log", b.duration)
	return r, err
}

//go:embed sql/fill_log.sql
var fillLogSQL string

const fillStep = 10 * time.Minute // of slots in one statement, and so in one transaction

// fillLog fills the log up to an instant, with a checkpoint for each hour of it.
func (f *fleet) fillLog(ctx context.Context, until time.Time) (rows int, err error) {
	since := until.Add(-f.fill)
	for from := since; from.Before(until); from = from.Add(fillStep) {
		f.progress.tell("filling the log: %s of %s, %s rows", from.Sub(since), f.fill, whole(rows))
		to := from.Add(fillStep)
		if to.After(until) {
			to = until
		}
		tag, err := f.conn.Exec(ctx, fillLogSQL, from, to)
		if err != nil {
			return rows, fmt.Errorf("fill the log: %w", err)
		}
		rows += int(tag.RowsAffected())
		if from.Sub(since)%time.Hour == 0 {
			if err := f.checkpoint(ctx); err != nil {
				return rows, err
			}
		}
	}
	return rows, nil
}

func (f *fleet) checkpoint(ctx context.Context) error {
	if _, err := f.conn.Exec(ctx, "CHECKPOINT"); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

func (r dayResult) tables() []table {
	t := measurementTable(r.Fleet)
	t.add("rows filled before", whole(r.Filled))
	t.add("bytes a row, as filled", number(r.RowBytes))
	return []table{t}
}
