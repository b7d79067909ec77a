package main

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A measurement is what a fleet did in a window of time, and what that cost.
type measurement struct {
	Name     string  `json:"name"`
	Monitors int     `json:"monitors"`
	Workers  int     `json:"workers"`
	TLS      bool    `json:"tls"`
	Seconds  float64 `json:"seconds"`

	account

	Demanded float64 `json:"demanded_per_second"`
	Achieved float64 `json:"achieved_per_second"` // scans of these slots, recorded in time
	Coverage float64 `json:"coverage"`            // of the slots that were due, those with a scan in time
	Goodput  float64 `json:"goodput_per_second"`  // good scans that ended while the window lasted

	Lateness       percentiles    `json:"lateness"`        // as the log has it
	LatenessHalves [2]percentiles `json:"lateness_halves"` // of the slots in the first half of the window, and in the second
	Latency        percentiles    `json:"latency"`         // of a probe, as the log has it
	Seen           targetView     `json:"seen_by_target"`

	WorkersCPU  float64 `json:"workers_cpu_us"` // for each scan that ended in the window, as all below
	PostgresCPU float64 `json:"postgres_cpu_us"`
	TargetCPU   float64 `json:"target_cpu_us"`
	SystemCPU   float64 `json:"system_cpu_us"` // workers and Postgres
	WAL         float64 `json:"wal_bytes"`
	RowBytes    float64 `json:"row_bytes"` // of the whole log on disk, with its indexes

	WorkerMemory   []int64 `json:"worker_peak_memory_bytes"`
	PostgresMemory int64   `json:"postgres_process_peak_memory_bytes"` // of its largest process, shared buffers included
	TargetMemory   int64   `json:"target_peak_memory_bytes"`
}

// An account is what came of what was promised.
type account struct {
	Due          int `json:"slots_due"`
	Recorded     int `json:"slots_recorded"`
	Inconclusive int `json:"slots_inconclusive"`
	Blamed       int `json:"slots_blamed"`      // scans that say that the target is unwell, which it never is
	Unaccounted  int `json:"slots_unaccounted"` // neither scanned nor declared
}

func (a account) declared() int { return a.Due - a.Recorded - a.Unaccounted }

// A snapshot is what counters say at one instant.
type snapshot struct {
	workers, postgres, target time.Duration // of CPU
	wal                       int64         // bytes since ever
}

func (f *fleet) snapshot(ctx context.Context) (s snapshot, err error) {
	for _, worker := range f.workers {
		cpu, err := cpuOf(worker.pid())
		if err != nil {
			return s, err
		}
		s.workers += cpu
	}
	processes, err := family(f.postmaster)
	if err != nil {
		return s, err
	}
	for _, process := range processes {
		s.postgres += process.cpu + process.buried
	}
	if s.target, err = cpuOf(f.target.pid()); err != nil {
		return s, err
	}
	if err = f.conn.QueryRow(ctx, "SELECT (pg_current_wal_lsn() - '0/0')::bigint").Scan(&s.wal); err != nil {
		return s, fmt.Errorf("ask for the WAL's position: %w", err)
	}
	return s, nil
}

// measure measures slots of a duration from the next second on.
func (f *fleet) measure(ctx context.Context, name string, duration time.Duration) (measurement, error) {
	m := measurement{
		Name: name, Monitors: f.monitors, Workers: len(f.workers), TLS: f.caFile != "", Seconds: duration.Seconds(),
	}
	if _, err := f.takeLedger(ctx); err != nil {
		return m, err
	}
	from := time.Now().Truncate(time.Second).Add(time.Second)
	until := from.Add(duration.Truncate(time.Second))
	if err := f.wait(ctx, from, name); err != nil {
		return m, err
	}
	before, err := f.snapshot(ctx)
	if err != nil {
		return m, err
	}
	if err := f.wait(ctx, until, name); err != nil {
		return m, err
	}
	after, err := f.snapshot(ctx)
	if err != nil {
		return m, err
	}
	if err := f.read(ctx, &m, from, until); err != nil {
		return m, err
	}
	// What was used is shared among the scans that ended meanwhile: with overload, few of them are of the window's slots.
	ended, err := f.ended(ctx, from, until)
	if err != nil {
		return m, err
	}
	m.Goodput = float64(ended.Good) / m.Seconds
	m.WorkersCPU = microsecondsPer(after.workers-before.workers, ended.All)
	m.PostgresCPU = microsecondsPer(after.postgres-before.postgres, ended.All)
	m.TargetCPU = microsecondsPer(after.target-before.target, ended.All)
	m.SystemCPU = m.WorkersCPU + m.PostgresCPU
	m.WAL = per(after.wal-before.wal, ended.All)
	return m, nil
}

// endedScans are those that ended while a window lasted.
type endedScans struct{ All, Good int }

//go:embed sql/ended.sql
var endedSQL string

func (f *fleet) ended(ctx context.Context, from, until time.Time) (endedScans, error) {
	rows, _ := f.conn.Query(ctx, endedSQL, from, until)
	ended, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[endedScans])
	if err != nil {
		return ended, fmt.Errorf("count the scans that ended: %w", err)
	}
	return ended, nil
}

// inTime is how long after the window its last scans may be in the log. Whatever comes later is not covered: else a fleet
// that falls behind would cover everything, as long as somebody waits for it.
const inTime = time.Second

// read reads what came of the slots of a window that has ended.
func (f *fleet) read(ctx context.Context, m *measurement, from, until time.Time) (err error) {
	if err := f.wait(ctx, until.Add(inTime), m.Name); err != nil {
		return err
	}
	early, err := f.account(ctx, from, until)
	if err != nil {
		return err
	}
	if m.account, err = f.awaitAccount(ctx, from, until); err != nil {
		return err
	}
	m.Demanded = float64(m.Due) / m.Seconds
	m.Achieved = float64(early.Recorded) / m.Seconds
	m.Coverage = per(early.Recorded, m.Due)
	if m.Lateness, err = f.percentiles(ctx, latenessSQL, from, until); err != nil {
		return err
	}
	middle := from.Add(until.Sub(from) / 2)
	if m.LatenessHalves[0], err = f.percentiles(ctx, latenessSQL, from, middle); err != nil {
		return err
	}
	if m.LatenessHalves[1], err = f.percentiles(ctx, latenessSQL, middle, until); err != nil {
		return err
	}
	if m.Latency, err = f.percentiles(ctx, latencySQL, from, until); err != nil {
		return err
	}
	if m.RowBytes, err = f.rowBytes(ctx); err != nil {
		return err
	}
	for _, worker := range f.workers {
		m.WorkerMemory = append(m.WorkerMemory, memoryOf(worker.pid()).peak)
	}
	m.TargetMemory = memoryOf(f.target.pid()).peak
	processes, err := family(f.postmaster)
	if err != nil {
		return err
	}
	for _, process := range processes {
		m.PostgresMemory = max(m.PostgresMemory, memoryOf(process.pid).peak)
	}
	ledger, err := f.takeLedger(ctx)
	if err != nil {
		return err
	}
	starts, err := f.starts(ctx, from.Add(-accountWithin), until)
	if err != nil {
		return err
	}
	m.Seen = viewOf(ledger, starts, from, until)
	return nil
}

//go:embed sql/account.sql
var accountSQL string

const (
	accountWithin = 40 * time.Second // the longest of a probe, and of the wait for its turn
	accountTick   = 3 * time.Second
)

// awaitAccount waits until each slot has a scan or a gap, or could have.
func (f *fleet) awaitAccount(ctx context.Context, from, until time.Time) (a account, err error) {
	for {
		a, err = f.account(ctx, from, until)
		if err != nil || a.Unaccounted == 0 || time.Since(until) > accountWithin {
			return a, err
		}
		select {
		case <-ctx.Done():
			return a, fmt.Errorf("wait for scans: %w", ctx.Err())
		case <-time.After(accountTick):
		}
	}
}

func (f *fleet) account(ctx context.Context, from, until time.Time) (account, error) {
	rows, _ := f.conn.Query(ctx, accountSQL, from, until)
	a, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[account])
	if err != nil {
		return a, fmt.Errorf("compare what was promised with what came of it: %w", err)
	}
	return a, nil
}

var (
	//go:embed sql/lateness.sql
	latenessSQL string
	//go:embed sql/latency.sql
	latencySQL string
)

func (f *fleet) percentiles(ctx context.Context, sql string, from, until time.Time) (percentiles, error) {
	rows, _ := f.conn.Query(ctx, sql, from, until)
	p, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[percentiles])
	if err != nil {
		return p, fmt.Errorf("read percentiles of the log: %w", err)
	}
	return p, nil
}

//go:embed sql/log_size.sql
var logSizeSQL string

func (f *fleet) rowBytes(ctx context.Context) (float64, error) {
	var bytes int64
	var count int
	if err := f.conn.QueryRow(ctx, logSizeSQL).Scan(&bytes, &count); err != nil {
		return 0, fmt.Errorf("read the log's size: %w", err)
	}
	return per(bytes, count), nil
}
