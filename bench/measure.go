package main

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"riverwatch/uptime"
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
	Achieved float64 `json:"achieved_per_second"` // scans recorded
	Coverage float64 `json:"coverage"`            // of the slots that were due, those with a scan

	Lateness percentiles `json:"lateness"` // as the log has it
	Latency  percentiles `json:"latency"`  // of a probe, as the log has it
	Seen     targetView  `json:"seen_by_target"`

	WorkersCPU  float64 `json:"workers_cpu_us"` // for each recorded scan, as all below
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
	Due         int `json:"slots_due"`
	Recorded    int `json:"slots_recorded"`
	NotOK       int `json:"slots_recorded_not_ok"` // the target is always well
	Unaccounted int `json:"slots_unaccounted"`     // neither scanned nor declared
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
	// What was used is shared among the scans that were recorded.
	m.WorkersCPU = microsecondsPer(after.workers-before.workers, m.Recorded)
	m.PostgresCPU = microsecondsPer(after.postgres-before.postgres, m.Recorded)
	m.TargetCPU = microsecondsPer(after.target-before.target, m.Recorded)
	m.SystemCPU = m.WorkersCPU + m.PostgresCPU
	m.WAL = per(after.wal-before.wal, m.Recorded)
	return m, nil
}

// read reads what came of the slots of a window that has ended.
func (f *fleet) read(ctx context.Context, m *measurement, from, until time.Time) (err error) {
	if m.account, err = f.awaitAccount(ctx, from, until); err != nil {
		return err
	}
	m.Demanded = float64(m.Due) / m.Seconds
	m.Achieved = float64(m.Recorded) / m.Seconds
	m.Coverage = per(m.Recorded, m.Due)
	if m.Lateness, err = f.percentiles(ctx, latenessSQL, from, until); err != nil {
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
	schedules, err := f.schedules(ctx)
	if err != nil {
		return err
	}
	ledger, err := f.takeLedger(ctx)
	if err != nil {
		return err
	}
	m.Seen = viewOf(ledger, schedules, from, until)
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
		rows, _ := f.conn.Query(ctx, accountSQL, from, until)
		a, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[account])
		if err != nil {
			return a, fmt.Errorf("compare what was promised with what came of it: %w", err)
		}
		if a.Unaccounted == 0 || time.Since(until) > accountWithin {
			return a, nil
		}
		select {
		case <-ctx.Done():
			return a, fmt.Errorf("wait for scans: %w", ctx.Err())
		case <-time.After(accountTick):
		}
	}
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

// A targetView is what the target saw of the slots of a window.
type targetView struct {
	Requests int         `json:"requests"`
	Twice    int         `json:"requests_beyond_the_first_of_a_slot"`
	Busiest  int         `json:"most_requests_in_a_second"`
	Lateness percentiles `json:"lateness"` // when a request had been read, minus its slot
}

func viewOf(ledger ledger, schedules map[key]uptime.Schedule, from, until time.Time) (v targetView) {
	var late []time.Duration
	var asked []uint64 // monitor and slot
	bySecond := map[int64]int{}
	for i, monitor := range ledger.Keys {
		at := time.UnixMicro(ledger.At[i])
		schedule, ok := schedules[monitor]
		if !ok {
			continue
		}
		slot := schedule.SlotAt(at)
		if slot.Before(from) || !slot.Before(until) {
			continue
		}
		late = append(late, at.Sub(slot))
		asked = append(asked, uint64(monitor)<<32|uint64(slot.Unix()))
		bySecond[at.Unix()]++
	}
	slices.Sort(asked)
	v = targetView{Requests: len(asked), Twice: len(asked) - len(slices.Compact(asked)), Lateness: percentilesOf(late)}
	for _, count := range bySecond {
		v.Busiest = max(v.Busiest, count)
	}
	return v
}
