package record_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/monitors"
	"riverwatch/monitors/monitorstest"
	"riverwatch/record"
	"riverwatch/uptime"
)

// process is a recorder that runs, by a clock that stands still.
type process struct {
	*monitorstest.Bench

	recorder      *record.Recorder
	stopRecorder  context.CancelFunc
	recorderEnded chan struct{}
}

func newProcess(t *testing.T) *process {
	t.Helper()
	return newProcessOn(t, dbtest.New(t))
}

func newProcessOn(t *testing.T, pool *pgxpool.Pool) *process {
	t.Helper()
	p := &process{Bench: monitorstest.On(t, pool), recorderEnded: make(chan struct{})}
	p.recorder = p.newRecorder()
	ctx, stop := context.WithCancel(context.Background())
	p.stopRecorder = stop
	go func() {
		defer close(p.recorderEnded)
		p.recorder.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-p.recorderEnded
	})
	return p
}

// newRecorder makes another recorder, which does not run.
func (p *process) newRecorder() *record.Recorder {
	return record.NewRecorder(record.Config{
		Conn: p.Pool, Queue: p.Queue, Kept: 10_000, Retries: 100, Now: p.Now, Logger: slog.New(&p.Logs), Registry: prometheus.NewRegistry(),
	})
}

// record records scans of outcomes, one after the other, a second apart from at on.
func (p *process) record(t *testing.T, monitor db.Monitor, at time.Time, outcomes ...uptime.Outcome) {
	t.Helper()
	for i, outcome := range outcomes {
		scan := dbtest.Scan(monitor.ID, at.Add(time.Duration(i)*time.Second))
		scan.MonitorVersion, scan.Outcome = monitor.Version, outcome
		require.NoError(t, p.recorder.Record(t.Context(), scan, nil))
	}
}

// A scan by what was expected before an edit tells nothing of how the monitor stands after it, also if the recorder waited
// for the edit.
func TestAScanThatAnEditOvertakes(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	given := monitorstest.Of(monitorstest.URL("overtaken"), 60)
	given.FailureThreshold = 1
	monitor := p.Create(t, given)
	editing, err := p.Pool.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = editing.Rollback(context.Background()) })
	editedAt := monitorstest.Noon.Add(time.Second)
	_, _, err = p.StoreOn(editing, editedAt).Edit(t.Context(), monitor.ID, monitorstest.Edit(func(m *monitors.Monitor) {
		m.AcceptedStatuses = []string{"404"}
	}))
	require.NoError(t, err)

	recorded := make(chan error, 1)
	go func() {
		scan := dbtest.Scan(monitor.ID, editedAt.Add(time.Second))
		scan.MonitorVersion, scan.Outcome = monitor.Version, uptime.StatusMismatch
		recorded <- p.recorder.Record(context.Background(), scan, nil)
	}()
	require.Eventually(t, func() bool {
		return p.Count(t, "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") > 0
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, editing.Commit(t.Context()))

	require.NoError(t, <-recorded)
	state := p.State(t, monitor.ID)
	require.Equal(t, uptime.Pending, state.Status)
	require.True(t, state.Since.Equal(editedAt))
}
