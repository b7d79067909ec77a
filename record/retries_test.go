package record_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"riverwatch/db/dbtest"
	"riverwatch/monitors"
	"riverwatch/monitors/monitorstest"
	"riverwatch/record"
	"riverwatch/uptime"
	"riverwatch/wait"
)

// failing is ten monitors, and a recorder that is told of them.
type failing struct {
	*process

	recorder *record.Recorder
	registry *prometheus.Registry
	ids      []int64
	slot     time.Time
}

func newFailing(t *testing.T, retries int) *failing {
	t.Helper()
	f := &failing{process: newProcess(t), registry: prometheus.NewRegistry(), slot: monitorstest.Noon}
	f.recorder = record.NewRecorder(record.Config{
		Conn: f.Pool, Queue: f.Queue, Kept: 100, Retries: retries, Now: f.Now, Logger: slog.New(&f.Logs), Registry: f.registry,
	})
	t.Cleanup(wait.Beside(t.Context(), f.recorder.Run))
	var fleet []monitors.Monitor
	for i := range 10 {
		fleet = append(fleet, monitorstest.Of(monitorstest.URL("%d", i), 86400))
		fleet[i].FailureThreshold = 100
	}
	created, err := f.Store().Create(t.Context(), fleet, false)
	require.NoError(t, err)
	for _, one := range created {
		f.ids = append(f.ids, one.Monitor.ID)
	}
	return f
}

// fail records another bad scan of each.
func (f *failing) fail(t *testing.T) {
	t.Helper()
	f.slot = f.slot.Add(time.Second)
	var all errgroup.Group
	for _, id := range f.ids {
		all.Go(func() error {
			scan := dbtest.Scan(id, f.slot)
			scan.Outcome = uptime.StatusMismatch
			return f.recorder.Record(t.Context(), scan, nil)
		})
	}
	require.NoError(t, all.Wait())
}

// requireLooks holds how many second looks were asked for since the last time, and how many were left out in all.
func (f *failing) requireLooks(t *testing.T, looks, leftOut int) {
	t.Helper()
	require.Equal(t, looks, f.Count(t, "river_job WHERE args ->> 'reason' = 'retry'"))
	f.Exec(t, "DELETE FROM river_job WHERE args ->> 'reason' = 'retry'")
	families, err := f.registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == "riverwatch_retries_left_out_total" {
			require.InDelta(t, leftOut, family.GetMetric()[0].GetCounter().GetValue(), 0)
			return
		}
	}
	require.Fail(t, "nothing counts those left out")
}

func TestSecondLooksAreBounded(t *testing.T) {
	t.Parallel()

	t.Run("InASecond", func(t *testing.T) {
		t.Parallel()
		f := newFailing(t, 12)
		f.fail(t)
		f.requireLooks(t, 10, 0)
		f.fail(t)
		f.requireLooks(t, 2, 8)
		f.fail(t)
		f.requireLooks(t, 0, 18)
		f.SetNow(f.Now().Add(250 * time.Millisecond))
		f.fail(t)
		f.requireLooks(t, 3, 25)
		f.SetNow(f.Now().Add(-time.Hour)) // a clock is set back
		f.fail(t)
		f.requireLooks(t, 0, 35)
		f.SetNow(f.Now().Add(time.Hour))
		f.fail(t)
		f.requireLooks(t, 10, 35)
		f.fail(t)
		f.requireLooks(t, 2, 43)
		require.Equal(t, 10, f.Count(t, "monitor_states WHERE failures = 7"), "all are judged all the same")
	})

	t.Run("NoneAtAll", func(t *testing.T) {
		t.Parallel()
		f := newFailing(t, 0)
		f.fail(t)
		f.requireLooks(t, 0, 10)
	})

	t.Run("WhatIsNotCommittedIsNotCounted", func(t *testing.T) {
		t.Parallel()
		f := newFailing(t, 12)
		f.Exec(t, `CREATE SEQUENCE tries`)
		f.Exec(t, `
			CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN
				IF nextval('tries') <= 2 THEN
					RAISE EXCEPTION USING ERRCODE = '40001';
				END IF;
				RETURN NULL;
			END
			$$`)
		f.Exec(t, `
			CREATE CONSTRAINT TRIGGER fails AFTER UPDATE ON monitor_states DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW EXECUTE FUNCTION fails()`)
		f.fail(t)
		f.requireLooks(t, 10, 0)
		f.fail(t)
		f.requireLooks(t, 2, 8)
		require.Greater(t, f.Count(t, "generate_series(1, (SELECT last_value FROM tries))"), 20, "some tries failed")
	})
}
