package main

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"riverwatch/db"
	"riverwatch/history"
)

// dayResult is what a scan writes on top of a log that is full already, past checkpoints.
type dayResult struct {
	Fleet    measurement `json:"fleet"`
	Filled   int         `json:"rows_filled"`
	FilledIn float64     `json:"filled_in_seconds"`
	RowBytes float64     `json:"row_bytes_filled"`
	Rolled   upkeepCost  `json:"rolled_up"` // the hours and days of what was filled
	Sealed   upkeepCost  `json:"sealed"`    // the chunks of it that are over
}

// upkeepCost is what upkeep takes of Postgres, for each scan that it is about.
type upkeepCost struct {
	Scans    int     `json:"scans"`
	Seconds  float64 `json:"seconds"`
	CPU      float64 `json:"cpu_us"`
	WALBytes float64 `json:"wal_bytes"`
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
	if r.Rolled, r.Sealed, err = f.keepUp(ctx, began); err != nil {
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

// keepUp rolls up and seals a log that was filled until an instant, as workers do, and gives what that cost.
func (f *fleet) keepUp(ctx context.Context, until time.Time) (rolled, sealed upkeepCost, err error) {
	pool, err := db.Open(ctx, f.database, 2)
	if err != nil {
		return rolled, sealed, err
	}
	defer pool.Close()
	if err := f.beginHistory(ctx, history.DayOf(until.Add(-f.fill))); err != nil {
		return rolled, sealed, err
	}
	const scansUntil = "SELECT count(*) FROM monitor_log WHERE slot < "
	rolled, err = f.cost(ctx, "rolling up", scansUntil+"(SELECT rolled_until FROM history_progress)",
		func() error {
			_, err := history.RollUp(ctx, pool)
			return err
		})
	if err != nil {
		return rolled, sealed, err
	}
	sealed, err = f.cost(ctx, "sealing", scansUntil+"(SELECT max(until_at) FROM chunks_of('monitor_log') WHERE until_at < now())",
		func() error {
			for {
				if chunk, err := history.Seal(ctx, pool, until.Add(time.Hour)); chunk == "" || err != nil {
					return err
				}
			}
		})
	return rolled, sealed, err
}

// beginHistory lets roll-ups begin at an instant, though the fleet is younger than its log, and says that all of it is accounted for.
func (f *fleet) beginHistory(ctx context.Context, from time.Time) error {
	_, err := f.conn.Exec(ctx, `
		WITH accounted AS (INSERT INTO tend_progress (checked_until) VALUES (now()))
		INSERT INTO history_progress (closed_until, rolled_until, days_until) VALUES ($1, $1, $1)`, from)
	if err != nil {
		return fmt.Errorf("say where roll-ups begin: %w", err)
	}
	return nil
}

// cost gives what Postgres spends on something, for each of the scans that a query counts then.
func (f *fleet) cost(ctx context.Context, name, count string, do func() error) (c upkeepCost, err error) {
	f.progress.stage("%s", name)
	if err := f.checkpoint(ctx); err != nil {
		return c, err
	}
	before, err := f.snapshot(ctx)
	if err != nil {
		return c, err
	}
	began := time.Now()
	if err := do(); err != nil {
		return c, fmt.Errorf("%s: %w", name, err)
	}
	c.Seconds = time.Since(began).Seconds()
	after, err := f.snapshot(ctx)
	if err != nil {
		return c, err
	}
	if err := f.conn.QueryRow(ctx, count).Scan(&c.Scans); err != nil {
		return c, fmt.Errorf("count scans: %w", err)
	}
	c.CPU, c.WALBytes = microsecondsPer(after.postgres-before.postgres, c.Scans), per(float64(after.wal-before.wal), c.Scans)
	return c, nil
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
	upkeep := table{header: []string{"rolling up", "sealing", "both, of a scan's"}}
	upkeep.add("scans", whole(r.Rolled.Scans), whole(r.Sealed.Scans), "")
	upkeep.add("seconds", number(r.Rolled.Seconds), number(r.Sealed.Seconds), "")
	upkeep.add("Postgres: CPU us a scan", number(r.Rolled.CPU), number(r.Sealed.CPU),
		percent((r.Rolled.CPU+r.Sealed.CPU)/r.Fleet.SystemCPU))
	upkeep.add("WAL bytes a scan", number(r.Rolled.WALBytes), number(r.Sealed.WALBytes),
		percent((r.Rolled.WALBytes+r.Sealed.WALBytes)/r.Fleet.WAL))
	return []table{t, upkeep}
}
