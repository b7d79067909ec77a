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
