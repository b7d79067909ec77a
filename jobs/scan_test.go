package jobs_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/jobs"
	"riverwatch/uptime"
)

func TestScan(t *testing.T) {
	t.Parallel()
	p, s := newProcess(t), newTarget(t)
	// A monitor, and the scan that was asked for when it was made.
	newScan := func(t *testing.T, change func(*jobs.MonitorConfig)) (db.Monitor, jobs.ScanArgs) {
		t.Helper()
		c := config(s.URL+"/"+t.Name(), 86400)
		change(&c)
		monitor := p.create(t, c)
		return monitor, jobs.ScanArgs{MonitorID: monitor.ID, At: noon.Add(time.Microsecond), Reason: jobs.ReasonAsked}
	}
	asIs := func(*jobs.MonitorConfig) {}
	scan := func(t *testing.T, p *process, args jobs.ScanArgs, failures ...string) (event river.EventKind, err error) {
		t.Helper()
		result, err := work(t, p, &jobs.ScanWorker{Scanner: p.scanner}, args, failures...)
		return result.EventKind, err
	}
	requireCancelled := func(t *testing.T, args jobs.ScanArgs, why string, failures ...string) {
		t.Helper()
		result, err := work(t, p, &jobs.ScanWorker{Scanner: p.scanner}, args, failures...)
		require.NoError(t, err)
		require.Equal(t, river.EventKindJobCancelled, result.EventKind)
		require.Contains(t, result.Job.Errors[len(failures)].Error, why)
		require.Zero(t, s.hitsOf("/"+t.Name()))
		require.Empty(t, p.scans(t, args.MonitorID))
	}

	t.Run("AskedForIsRecordedAndJudged", func(t *testing.T) {
		t.Parallel()
		monitor, args := newScan(t, func(c *jobs.MonitorConfig) { c.URL = s.URL + "/bad/asked" })
		result, err := work(t, p, &jobs.ScanWorker{Scanner: p.scanner}, args)
		require.NoError(t, err, "a target that is down is a job well done")
		require.Equal(t, map[string]any{"outcome": "status_mismatch"}, output(t, result.Job))
		require.Equal(t, []string{"asked status_mismatch"}, p.scans(t, monitor.ID))
		require.Equal(t, 1, p.state(t, monitor.ID).Failures)
		require.Len(t, p.retries(t, monitor.ID), 1)

		// Again, whoever may have run it: there is one row, judged once.
		_, err = scan(t, p, args, rescued)
		require.NoError(t, err)
		require.Equal(t, []string{"asked status_mismatch"}, p.scans(t, monitor.ID))
		require.Equal(t, 1, p.state(t, monitor.ID).Failures)
	})

	t.Run("OfAPausedMonitorWhenAsked", func(t *testing.T) {
		t.Parallel()
		monitor, args := newScan(t, func(c *jobs.MonitorConfig) { c.Enabled = false })
		event, err := scan(t, p, args)
		require.NoError(t, err)
		require.Equal(t, river.EventKindJobCompleted, event)
		require.Equal(t, []string{"asked ok"}, p.scans(t, monitor.ID))
		require.Equal(t, uptime.Paused, p.state(t, monitor.ID).Status)
	})

	t.Run("ASecondLookOnlyWhileInDoubt", func(t *testing.T) {
		t.Parallel()
		monitor, args := newScan(t, asIs)
		args.Reason = jobs.ReasonRetry
		requireCancelled(t, args, "no longer in doubt")

		p.record(t, monitor, noon.Add(-time.Second), uptime.StatusMismatch) // before its start: not judged
		p.exec(t, "DELETE FROM monitor_log WHERE monitor_id = $1", monitor.ID)
		p.exec(t, "UPDATE monitor_states SET failures = 1 WHERE monitor_id = $1", monitor.ID)
		args.At = args.At.Add(time.Second)
		_, err := scan(t, p, args)
		require.NoError(t, err)
		require.Equal(t, []string{"retry ok"}, p.scans(t, monitor.ID))
		require.Zero(t, p.state(t, monitor.ID).Failures)
	})

	t.Run("TooLate", func(t *testing.T) {
		t.Parallel()
		_, args := newScan(t, asIs)
		args.At = args.At.Add(-2*time.Minute - time.Second)
		requireCancelled(t, args, "too late")
	})

	t.Run("OfAMonitorThatIsGone", func(t *testing.T) {
		t.Parallel()
		monitor, args := newScan(t, asIs)
		require.NoError(t, jobs.DeleteMonitor(t.Context(), p.pool, monitor.ID, noon))
		requireCancelled(t, args, "is gone")
	})

	t.Run("APostIsNotRepeated", func(t *testing.T) {
		t.Parallel()
		_, args := newScan(t, func(c *jobs.MonitorConfig) { c.Method = http.MethodPost })
		requireCancelled(t, args, "must not be made twice", rescued)
	})

	t.Run("WhatCouldNotStartOrBeRecordedIsTriedAgain", func(t *testing.T) {
		t.Parallel()
		monitor, args := newScan(t, asIs)
		busy := newProcessOn(t, p.pool, p.scanner.Prober, jobs.Limits{Probes: 1, ProbesPerHost: 1})
		busy.scanner.SetStartWithin(0)
		event, err := scan(t, busy, args)
		require.Equal(t, river.EventKindJobFailed, event)
		require.ErrorContains(t, err, "wait for a probe: ")

		closed := newProcessOn(t, p.pool, p.scanner.Prober, jobs.Limits{Probes: 1, ProbesPerHost: 1})
		closed.stopRecorder()
		<-closed.recorderEnded
		_, err = scan(t, closed, args)
		require.ErrorContains(t, err, "the recorder is closed")

		away := newProcessOn(t, p.pool, p.scanner.Prober, jobs.Limits{Probes: 1, ProbesPerHost: 1})
		pool := dbtest.Open(t, p.pool.Config().ConnString())
		pool.Close()
		away.scanner.Conn = pool
		_, err = scan(t, away, args)
		require.ErrorContains(t, err, "get monitor ")

		_, err = scan(t, p, args, "bad luck", "bad luck")
		require.NoError(t, err)
		require.Equal(t, []string{"asked ok"}, p.scans(t, monitor.ID))
	})
}
