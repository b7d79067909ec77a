// Package monitorstest gives tests monitors: on a database of their own, by a clock that stands still.
package monitorstest

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/monitors"
	"riverwatch/queue"
)

// Noon is when tests begin.
var Noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// Bench is monitors, a queue and a clock.
type Bench struct {
	Pool  *pgxpool.Pool
	Queue queue.Queue
	Logs  Logs

	clock atomic.Int64 // Unix nanoseconds; 0: the real time
}

// On makes a bench on a database, at noon.
func On(t require.TestingT, pool *pgxpool.Pool) *Bench {
	inserts, err := queue.New(pool, slog.New(slog.DiscardHandler), nil)
	require.NoError(t, err)
	b := &Bench{Pool: pool, Queue: inserts}
	b.SetNow(Noon)
	return b
}

// Now is the time by the clock.
func (b *Bench) Now() time.Time {
	if at := b.clock.Load(); at != 0 {
		return time.Unix(0, at).UTC()
	}
	return time.Now()
}

// SetNow sets the clock, which stands still.
func (b *Bench) SetNow(at time.Time) { b.clock.Store(at.UnixNano()) }

// RunClock makes the clock show the real time.
func (b *Bench) RunClock() { b.clock.Store(0) }

// StoreOn keeps monitors by a connection, at an instant.
func (b *Bench) StoreOn(conn db.Conn, at time.Time) *monitors.Store {
	return &monitors.Store{Conn: conn, Queue: b.Queue, Now: func() time.Time { return at }}
}

// StoreAt keeps monitors at an instant.
func (b *Bench) StoreAt(at time.Time) *monitors.Store { return b.StoreOn(b.Pool, at) }

// Store keeps monitors by the clock.
func (b *Bench) Store() *monitors.Store { return b.StoreAt(b.Now()) }

// Create creates a monitor, and gives its row.
func (b *Bench) Create(t require.TestingT, m monitors.Monitor) db.Monitor {
	creations, err := b.Store().Create(context.Background(), []monitors.Monitor{m}, false)
	require.NoError(t, err)
	require.Equal(t, monitors.Created, creations[0].Result)
	return creations[0].Monitor.Monitor
}

// Edit changes a monitor, and gives its row.
func (b *Bench) Edit(t require.TestingT, id int64, change func(m *monitors.Monitor)) db.Monitor {
	monitor, _, err := b.Store().Edit(context.Background(), id, Edit(change))
	require.NoError(t, err)
	return monitor.Monitor
}

// Edit makes an edit that does not fail of a change.
func Edit(change func(m *monitors.Monitor)) func(monitors.Monitor) (monitors.Monitor, error) {
	return func(m monitors.Monitor) (monitors.Monitor, error) {
		change(&m)
		return m, nil
	}
}

// Of is a monitor of a URL, with an interval in seconds.
func Of(url string, interval int) monitors.Monitor {
	m := monitors.New()
	m.URL, m.IntervalSeconds = url, interval
	return m.Complete()
}

// URL is one where nobody answers.
func URL(format string, args ...any) string {
	return fmt.Sprintf("http://127.0.0.1:9/"+format, args...)
}

// Exec runs a statement.
func (b *Bench) Exec(t require.TestingT, sql string, args ...any) {
	dbtest.Exec(t, b.Pool, sql, args...)
}

// Count counts rows: from is what follows FROM.
func (b *Bench) Count(t require.TestingT, from string, args ...any) int {
	return dbtest.Count(t, b.Pool, from, args...)
}

// State gives where a monitor stands.
func (b *Bench) State(t require.TestingT, id int64) db.MonitorState {
	row, err := db.New(b.Pool).GetMonitorWithState(context.Background(), id)
	require.NoError(t, err)
	return row.MonitorState
}

// Scans gives a monitor's rows of the log, oldest first, as "reason outcome".
func (b *Bench) Scans(t require.TestingT, id int64) []string {
	return dbtest.Column[string](t, b.Pool,
		"SELECT reason || ' ' || outcome FROM monitor_log WHERE monitor_id = $1 ORDER BY slot", id)
}

// Logs is a slog.Handler that keeps the messages.
type Logs struct {
	mu       sync.Mutex
	messages []string
}

// Enabled implements slog.Handler.
func (l *Logs) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs implements slog.Handler.
func (l *Logs) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements slog.Handler.
func (l *Logs) WithGroup(string) slog.Handler { return l }

// Handle implements slog.Handler.
func (l *Logs) Handle(_ context.Context, record slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages = append(l.messages, record.Message)
	return nil
}

// All gives the messages so far.
func (l *Logs) All() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.messages)
}

// Await waits for a message.
func (l *Logs) Await(t require.TestingT, message string) {
	require.Eventually(t, func() bool { return slices.Contains(l.All(), message) }, 20*time.Second, time.Millisecond)
}
