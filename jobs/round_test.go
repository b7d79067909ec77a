package jobs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertest"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/jobs"
	"riverwatch/monitors"
	"riverwatch/monitors/monitorstest"
	"riverwatch/probe"
	"riverwatch/queue"
	"riverwatch/uptime"
)

// inTime puts the clock a moment after a slot.
func (p *process) inTime(slot time.Time) { p.SetNow(slot.Add(40 * time.Millisecond)) }

func TestRound(t *testing.T) {
	t.Parallel()

	t.Run("ScansEachOfItsMonitorsAndGoesOn", func(t *testing.T) {
		t.Parallel()
		p, s := newProcess(t), newTarget(t)
		monitor := p.Create(t, monitorstest.Of(s.URL+"/good", 60))
		schedule := monitor.Schedule()
		sameRound := func(path string) db.Monitor {
			m := p.Create(t, monitorstest.Of(s.URL+path, 60))
			p.Exec(t, "UPDATE monitors SET phase_ms = $2 WHERE id = $1", m.ID, schedule.PhaseMS)
			p.Exec(t, "UPDATE monitor_schedules SET phase_ms = $2, from_at = $3 WHERE monitor_id = $1", m.ID, schedule.PhaseMS,
				schedule.SlotAfter(monitorstest.Noon))
			return m
		}
		bad := sameRound("/bad")
		sleeping, gone := sameRound("/paused"), sameRound("/deleted")
		p.Edit(t, sleeping.ID, func(c *monitors.Monitor) { c.Enable(false) })
		require.NoError(t, p.StoreAt(monitorstest.Noon).Delete(t.Context(), gone.ID))
		other := p.Create(t, monitorstest.Of(s.URL+"/other", 61))

		slot := schedule.SlotAfter(monitorstest.Noon)
		p.inTime(slot)
		out := p.round(t, roundOf(monitor, slot))
		require.Equal(t, map[string]any{
			"scanned": 2.0, "good": 1.0, "failed": 1.0, "inconclusive": 0.0, "gaps": 0.0, "failed_ids": []any{float64(bad.ID)},
		}, out)
		for path, want := range map[string]int{"/good": 1, "/bad": 1, "/paused": 0, "/deleted": 0, "/other": 0} {
			require.Equal(t, want, s.hitsOf(path), path)
		}

		scan, err := db.New(p.Pool).GetScan(t.Context(), db.GetScanParams{Slot: slot, MonitorID: bad.ID})
		require.NoError(t, err)
		require.Equal(t, uptime.StatusMismatch, scan.Outcome)
		require.Equal(t, http.StatusInternalServerError, *scan.HTTPStatus)
		require.Equal(t, "round", scan.Reason)
		require.Equal(t, "test", scan.Worker)
		require.Equal(t, bad.Version, scan.MonitorVersion)
		require.Equal(t, "127.0.0.1", scan.RemoteIP.String())
		require.NotNil(t, scan.WaitUS)
		require.Positive(t, scan.TotalUS)

		require.Subset(t, openJobs[queue.RoundArgs](t, p), []queue.RoundArgs{
			roundOf(monitor, schedule.Next(slot)), roundOf(monitor, schedule.Next(schedule.Next(slot))),
		}, "its successors")
		require.Contains(t, openJobs[queue.RoundArgs](t, p), roundOf(other, other.Schedule().SlotAfter(monitorstest.Noon)), "untouched")
		require.Equal(t, 1, p.State(t, bad.ID).Failures)
		require.Equal(t, uptime.Up, p.State(t, monitor.ID).Status)

		// Chain of three more, each row once.
		for range 3 {
			slot = schedule.Next(slot)
			p.inTime(slot)
			p.round(t, roundOf(monitor, slot))
		}
		require.Equal(t, 4, s.hitsOf("/good"))
		require.Len(t, p.Scans(t, monitor.ID), 4)
		require.Zero(t, p.Count(t, "unaccounted_slots($1, $2) WHERE interval_seconds = 60", monitorstest.Noon, p.Now()))
	})

	t.Run("AChainWithoutMonitorsEnds", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("ends"), 60))
		slot := monitor.Schedule().SlotAfter(monitorstest.Noon)
		p.Edit(t, monitor.ID, func(c *monitors.Monitor) { c.Enable(false) })
		for range uptime.RoundsAhead {
			p.inTime(slot)
			require.EqualValues(t, 0, p.round(t, roundOf(monitor, slot))["scanned"])
			slot = monitor.Schedule().Next(slot)
		}
		require.Empty(t, openJobs[queue.RoundArgs](t, p))

		// And begins again.
		p.Edit(t, monitor.ID, func(c *monitors.Monitor) { c.Enable(true) })
		require.Equal(t, []queue.RoundArgs{roundOf(monitor, slot), roundOf(monitor, monitor.Schedule().Next(slot))},
			openJobs[queue.RoundArgs](t, p))
	})

	t.Run("APromiseMadeWhileItBeginsIsSeen", func(t *testing.T) {
		t.Parallel()
		p, s := newProcess(t), newTarget(t)
		first := p.Create(t, monitorstest.Of(s.URL+"/first", 10))
		schedule := first.Schedule()
		slot := schedule.SlotAfter(monitorstest.Noon)

		// Another monitor is promised this slot, in a transaction that is open when the round begins.
		tx, err := p.Pool.Begin(t.Context())
		require.NoError(t, err)
		defer tx.Rollback(t.Context()) //nolint:errcheck // after the commit there is nothing
		var second db.Monitor
		for n := 0; second.ID == 0 || second.Schedule() != schedule; n++ {
			creations, err := p.StoreOn(tx, monitorstest.Noon).Create(t.Context(), []monitors.Monitor{monitorstest.Of(s.URL+"/second/"+strings.Repeat("x", n), 10)}, false)
			require.NoError(t, err)
			second = creations[0].Monitor.Monitor
		}
		p.inTime(slot)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := p.tryRound(t, roundOf(first, slot)); err != nil {
				t.Error(err)
			}
		}()
		require.Eventually(t, func() bool {
			return p.Count(t, `pg_locks WHERE locktype = 'advisory' AND NOT granted
				AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`) == 1
		}, 10*time.Second, time.Millisecond, "the round waits for the promise")
		require.Zero(t, s.hitsOf("/first"))
		require.NoError(t, tx.Commit(t.Context()))
		<-done
		require.Equal(t, []string{"round ok"}, p.Scans(t, second.ID))
	})

	t.Run("APromiseAfterItBeganIsOfTheNextSlot", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		first := p.Create(t, monitorstest.Of(monitorstest.URL("first"), 60))
		schedule := first.Schedule()
		slot := schedule.SlotAfter(monitorstest.Noon)
		p.Exec(t, `UPDATE river_job SET state = 'running' WHERE kind = 'round' AND (args ->> 'slot')::timestamptz = $1`, slot) // a worker whose clock is ahead

		p.Edit(t, first.ID, func(c *monitors.Monitor) { c.Enable(false) })
		p.Edit(t, first.ID, func(c *monitors.Monitor) { c.Enable(true) })
		open, err := db.New(p.Pool).ListOpenSchedules(t.Context(), []int64{first.ID})
		require.NoError(t, err)
		require.True(t, open[0].FromAt.Equal(schedule.Next(slot)))
		require.Equal(t, []queue.RoundArgs{roundOf(first, schedule.Next(slot))}, openJobs[queue.RoundArgs](t, p))
	})
}

func TestRoundBeforeItsSlot(t *testing.T) {
	t.Parallel()

	t.Run("BeginsAndWaits", func(t *testing.T) {
		t.Parallel()
		p, s := newProcess(t), newTarget(t)
		edited, paused := p.Create(t, monitorstest.Of(s.URL+"/before", 60)), p.Create(t, monitorstest.Of(s.URL+"/paused", 60))
		schedule := edited.Schedule()
		slot := schedule.SlotAfter(monitorstest.Noon)
		p.Exec(t, "UPDATE monitors SET phase_ms = $1", schedule.PhaseMS)
		p.Exec(t, "UPDATE monitor_schedules SET phase_ms = $1, from_at = $2", schedule.PhaseMS, slot)

		// Both change between the beginning of the round, which inserts the next one, and its slot.
		p.Exec(t, fmt.Sprintf(`
			CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				UPDATE monitors SET paused_at = now() WHERE id = %d;
				UPDATE monitors SET url = '%s' WHERE id = %d;
				RETURN NULL;
			END $$`, paused.ID, s.URL+"/after", edited.ID))
		p.Exec(t, "CREATE TRIGGER change AFTER INSERT ON river_job FOR EACH ROW WHEN (NEW.kind = 'round'"+
			" AND (NEW.args ->> 'slot')::timestamptz > '"+slot.Format(time.RFC3339Nano)+"') EXECUTE FUNCTION change()")

		begin := time.Now()
		p.SetNow(slot.Add(-200 * time.Millisecond))
		require.EqualValues(t, 1, p.round(t, roundOf(edited, slot))["scanned"])
		require.GreaterOrEqual(t, time.Since(begin), 200*time.Millisecond, "never ahead of its slot")
		for path, want := range map[string]int{"/before": 0, "/after": 1, "/paused": 0} {
			require.Equal(t, want, s.hitsOf(path), path)
		}
	})

	t.Run("IsFoundInTime", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("in-time"), 60))
		slot := monitor.Schedule().SlotAfter(monitorstest.Noon)
		p.inTime(slot)
		p.round(t, roundOf(monitor, slot))
		begins := dbtest.Column[time.Time](t, p.Pool, `SELECT scheduled_at FROM river_job WHERE kind = 'round' ORDER BY scheduled_at`)
		require.Equal(t, []time.Time{slot.Add(-500 * time.Millisecond), monitor.Schedule().Next(slot).Add(-500 * time.Millisecond)},
			[]time.Time{begins[0].UTC(), begins[1].UTC()})
	})

	t.Run("GoesBackIfItIsTooEarly", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		p.SetNow(time.Now())
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("early"), 3600))
		slot := monitor.Schedule().SlotAfter(time.Now().Add(time.Minute))
		result, err := work(t, p, p.worker.RoundWorker(), roundOf(monitor, slot))
		require.NoError(t, err)
		require.Equal(t, river.EventKindJobSnoozed, result.EventKind)
		require.WithinDuration(t, slot.Add(-500*time.Millisecond), result.Job.ScheduledAt, 30*time.Second)
		require.Empty(t, p.Scans(t, monitor.ID))
	})
}

// Rounds that all waited for the same, as for a database that was away, do not all start at once.
func TestRoundDeferred(t *testing.T) {
	t.Parallel()
	p, s := newProcess(t), newTarget(t)
	monitor := p.Create(t, monitorstest.Of(s.URL+"/late", 600))
	schedule := monitor.Schedule()
	slot := schedule.SlotAfter(monitorstest.Noon)

	p.Exec(t, "UPDATE river_job SET scheduled_at = $1 WHERE kind = 'round'", slot)

	late := func(d time.Duration) *rivertest.WorkResult {
		p.SetNow(slot.Add(d))
		result, err := work(t, p, p.worker.RoundWorker(), roundOf(monitor, slot))
		require.NoError(t, err)
		return result
	}
	for _, d := range []time.Duration{20 * time.Second, 24 * time.Second, 39 * time.Second} {
		result := late(d)
		require.Equal(t, river.EventKindJobSnoozed, result.EventKind)
		require.Equal(t, rivertype.JobStateAvailable, result.Job.State)
		require.Equal(t, slot.Add(40*time.Second).Format(time.RFC3339Nano), output(t, result.Job)["deferred_until"])
	}
	require.Zero(t, s.hitsOf("/late"))
	require.EqualValues(t, 1, output(t, late(40*time.Second).Job)["scanned"])
	require.Equal(t, 1, s.hitsOf("/late"))
}

// tally is a prober that counts its probes by URL.
type tally struct {
	mu     sync.Mutex
	probes map[string]int
	before func(target probe.Target) // of each probe
}

func (c *tally) Probe(_ context.Context, target probe.Target) probe.Result {
	c.mu.Lock()
	if c.probes == nil {
		c.probes = map[string]int{}
	}
	c.probes[target.URL]++
	c.mu.Unlock()
	if c.before != nil {
		c.before(target)
	}
	return well()
}

// River's unique key is a hash of this text.
func TestRoundArgsAreWrittenAsEver(t *testing.T) {
	t.Parallel()
	for phase, want := range map[int]string{0: "0", 7250: "7250", 86_399_750: "86399750"} {
		text, err := json.Marshal(queue.RoundArgs{Interval: 86400, PhaseMS: phase, Slot: monitorstest.Noon})
		require.NoError(t, err)
		require.Equal(t, `{"interval":86400,"phase_ms":`+want+`,"slot":"`+monitorstest.Noon.Format(time.RFC3339)+`"}`, string(text))
	}
}

func TestRoundOfMany(t *testing.T) {
	t.Parallel()
	schedule := uptime.Schedule{Interval: 10, PhaseMS: 3000}
	slot := schedule.SlotAfter(monitorstest.Noon)
	first := queue.RoundArgs{Interval: 10, PhaseMS: 3000, Slot: slot}

	// 1,200 monitors with ids from 1,040 to 49,000, so that they are in three parts of 20,000 ids.
	newMany := func(t *testing.T) (*process, *tally) {
		t.Helper()
		prober := &tally{}
		p := newProcessOn(t, dbtest.New(t), prober, jobs.Limits{Probes: 100, ProbesPerHost: 100})
		p.insertMonitors(t, 1200, 40, schedule, slot)
		p.inTime(slot)
		return p, prober
	}
	workParts := func(t *testing.T, p *process) (parts []queue.RoundArgs) {
		t.Helper()
		for _, args := range openJobs[queue.RoundArgs](t, p) {
			if args.Slot.Equal(slot) {
				parts = append(parts, args)
				p.round(t, args)
			}
		}
		return parts
	}
	requireOnce := func(t *testing.T, p *process, prober *tally) {
		t.Helper()
		require.Len(t, prober.probes, 1200)
		for url, n := range prober.probes {
			require.Equal(t, 1, n, url)
		}
		require.Equal(t, 1200, p.Count(t, "monitor_log WHERE slot = $1", slot))
	}

	t.Run("HandsPartsToSiblings", func(t *testing.T) {
		t.Parallel()
		p, prober := newMany(t)
		p.round(t, first)
		require.Contains(t, openJobs[queue.RoundArgs](t, p), queue.RoundArgs{Interval: 10, PhaseMS: 3000, Slot: schedule.Next(slot)})

		parts := workParts(t, p)
		require.Len(t, parts, 2)
		for i, part := range parts {
			require.EqualValues(t, i+1, part.Part)
			require.Empty(t, part.Again)
		}
		requireOnce(t, p, prober)
	})

	t.Run("ASecondAttemptHandsOutNoPartTwice", func(t *testing.T) {
		t.Parallel()
		p, prober := newMany(t)
		p.round(t, first)
		p.round(t, first, rescued)
		require.Len(t, workParts(t, p), 2)
		requireOnce(t, p, prober)
	})

	t.Run("WhatASecondAttemptHandsOutMayHaveBeenRequested", func(t *testing.T) {
		t.Parallel()
		p, prober := newMany(t)
		// The first attempt found few enough to scan them all, and died; there is a POST in each part.
		p.Exec(t, "UPDATE monitors SET paused_at = now() WHERE id % 400 > 0")
		p.Exec(t, "UPDATE monitors SET method = 'POST' WHERE id IN (8000, 28000, 48000)")
		p.round(t, first, rescued)
		parts := workParts(t, p)
		require.Len(t, parts, 2)
		require.Equal(t, uptime.WorkerLost, parts[0].Again)
		require.Len(t, prober.probes, 117)
		require.Equal(t, []string{"worker_lost 0-0 8000", "worker_lost 0-0 28000", "worker_lost 0-0 48000"}, p.gaps(t,
			schedule, slot))
	})
}

func TestRoundAgain(t *testing.T) {
	t.Parallel()
	p, s := newProcess(t), newTarget(t)
	// Rounds of one monitor each: intervals of their own keep the subtests apart.
	newMonitor := func(t *testing.T, interval int, method string) (db.Monitor, time.Time) {
		t.Helper()
		c := monitorstest.Of(s.URL+"/"+t.Name(), interval)
		c.Method = method
		creations, err := p.StoreAt(monitorstest.Noon).Create(t.Context(), []monitors.Monitor{c}, false)
		require.NoError(t, err)
		monitor := creations[0].Monitor.Monitor
		return monitor, monitor.Schedule().SlotAfter(monitorstest.Noon)
	}
	// A process like p, by a clock of its own.
	at := func(t *testing.T, now time.Time) *process {
		t.Helper()
		q := newProcessOn(t, p.Pool, p.config.Prober, jobs.Limits{Probes: 10, ProbesPerHost: 10})
		q.SetNow(now)
		return q
	}
	path := func(t *testing.T) string { t.Helper(); return "/" + t.Name() }

	t.Run("ScansOnlyWhoHasNoRow", func(t *testing.T) {
		t.Parallel()
		monitor, slot := newMonitor(t, 3600, http.MethodGet)
		q := at(t, slot.Add(70*time.Second))
		require.EqualValues(t, 1, q.round(t, roundOf(monitor, slot), rescued)["scanned"])
		require.EqualValues(t, 0, q.round(t, roundOf(monitor, slot), rescued, rescued)["scanned"])
		require.Equal(t, 1, s.hitsOf(path(t)))
		require.Contains(t, openJobs[queue.RoundArgs](t, p), roundOf(monitor, monitor.Schedule().Next(slot)))
	})

	t.Run("DoesNotRepeatAPost", func(t *testing.T) {
		t.Parallel()
		monitor, slot := newMonitor(t, 3601, http.MethodPost)
		q := at(t, slot.Add(70*time.Second))
		require.EqualValues(t, 0, q.round(t, roundOf(monitor, slot), rescued)["scanned"])
		require.Zero(t, s.hitsOf(path(t)))
		require.Equal(t, []string{"worker_lost 0-0 " + itoa(monitor.ID)}, p.gaps(t, monitor.Schedule(), slot))
		require.Empty(t, p.Scans(t, monitor.ID))
	})

	t.Run("AfterAnErrorOfOurs", func(t *testing.T) {
		t.Parallel()
		monitor, slot := newMonitor(t, 3602, http.MethodPost)
		at(t, slot.Add(70*time.Second)).round(t, roundOf(monitor, slot), rescued, "begin the round: out of luck")
		require.Equal(t, []string{"internal_error 0-0 " + itoa(monitor.ID)}, p.gaps(t, monitor.Schedule(), slot))
	})

	t.Run("AfterTheDatabaseWasAway", func(t *testing.T) {
		t.Parallel()
		monitor, slot := newMonitor(t, 3607, http.MethodPost)
		q := at(t, slot.Add(70*time.Second))
		q.worker.SetConn(dbtest.Open(t, "postgres://127.0.0.1:1/nobody-is-there"))
		err := q.tryRound(t, roundOf(monitor, slot))
		require.ErrorContains(t, err, "the database was away: ")
		q.worker.SetConn(q.Pool)
		q.round(t, roundOf(monitor, slot), rescued, err.Error())
		require.Equal(t, []string{"service_down 0-0 " + itoa(monitor.ID)}, p.gaps(t, monitor.Schedule(), slot))
	})

	t.Run("TooLateForItsSlot", func(t *testing.T) {
		t.Parallel()
		monitor, slot := newMonitor(t, 3603, http.MethodGet)
		schedule := monitor.Schedule()
		out := at(t, schedule.Next(slot)).round(t, roundOf(monitor, slot), rescued)
		require.Equal(t, "worker_lost", out["gap"])
		require.Zero(t, s.hitsOf(path(t)))
		require.Equal(t, []string{"worker_lost 0-0"}, p.gaps(t, schedule, slot))
		require.Contains(t, openJobs[queue.RoundArgs](t, p), roundOf(monitor, schedule.Next(slot)), "in case it was not there")
	})

	t.Run("AStaleRoundDeclaresWhatWasMissedAndRunsThePresentSlotOnce", func(t *testing.T) {
		t.Parallel()
		monitor, slot := newMonitor(t, 3604, http.MethodGet)
		schedule := monitor.Schedule()
		present := schedule.Next(schedule.Next(schedule.Next(slot)))
		now := present.Add(20 * time.Minute)
		q := at(t, now)
		require.Equal(t, "service_down", q.round(t, roundOf(monitor, slot))["gap"])
		require.Zero(t, s.hitsOf(path(t)))
		require.Equal(t, []string{"service_down 0-2"}, p.gaps(t, schedule, slot))

		starts := dbtest.Column[time.Time](t, p.Pool, `SELECT scheduled_at FROM river_job WHERE (args ->> 'interval')::int = 3604
			AND (args ->> 'slot')::timestamptz = $1`, present)
		require.Len(t, starts, 1)
		require.WithinRange(t, starts[0], now.Add(time.Second), now.Add(time.Minute), "in a moment")

		q.round(t, roundOf(monitor, present))
		require.Equal(t, []string{"round ok"}, p.Scans(t, monitor.ID))
		require.Equal(t, 1, s.hitsOf(path(t)))
		require.Zero(t, p.Count(t, "unaccounted_slots($1, $2) WHERE monitor_id = $3", monitorstest.Noon, now, monitor.ID))

		q.round(t, roundOf(monitor, slot)) // and again, whoever may have run it
		require.Equal(t, []string{"service_down 0-2"}, p.gaps(t, schedule, slot))
	})

	for want, full := range map[string]time.Duration{"overloaded": time.Second, "service_down": -time.Second} {
		t.Run("AStaleOneOfAWorkerThatWasFullOrNot/"+want, func(t *testing.T) {
			t.Parallel()
			monitor, slot := newMonitor(t, 3620+int(full/time.Second), http.MethodGet)
			q := at(t, monitor.Schedule().Next(slot))
			q.worker.WasFull(slot.Add(full))
			require.Equal(t, want, q.round(t, roundOf(monitor, slot))["gap"])
		})
	}

	t.Run("TwoStaleRoundsDeclareEachSlotOnce", func(t *testing.T) {
		t.Parallel()
		monitor, slot := newMonitor(t, 3608, http.MethodGet)
		schedule := monitor.Schedule()
		second := schedule.Next(slot)
		q := at(t, schedule.Next(schedule.Next(second)))
		q.round(t, roundOf(monitor, second))
		require.Equal(t, []string{"service_down 1-2"}, p.gaps(t, schedule, slot))
		q.round(t, roundOf(monitor, slot))
		require.Equal(t, []string{"service_down 0-0", "service_down 1-2"}, p.gaps(t, schedule, slot))
	})

	t.Run("OneThatNeverBeganStopsNothing", func(t *testing.T) {
		t.Parallel()
		monitor, slot := newMonitor(t, 3609, http.MethodGet)
		schedule := monitor.Schedule()
		at(t, slot).round(t, roundOf(monitor, slot))
		lost := schedule.Next(slot) // River gave it to a worker that died
		last := schedule.Next(lost)
		require.Contains(t, openJobs[queue.RoundArgs](t, p), roundOf(monitor, last))
		at(t, last).round(t, roundOf(monitor, last))
		at(t, last).round(t, roundOf(monitor, lost), rescued)
		require.Equal(t, []string{"round ok", "round ok"}, p.Scans(t, monitor.ID))
		require.Equal(t, []string{"worker_lost 1-1"}, p.gaps(t, schedule, slot))
	})

	t.Run("AStalePartIsOfItsSlotAlone", func(t *testing.T) {
		t.Parallel()
		monitor, slot := newMonitor(t, 3605, http.MethodGet)
		schedule := monitor.Schedule()
		part := roundOf(monitor, slot)
		part.Part = 3
		at(t, schedule.Next(schedule.Next(slot))).round(t, part)
		require.Equal(t, []string{"service_down 0-0"}, p.gaps(t, schedule, slot))
	})

	t.Run("InTwoWorkersAtOnceEachMonitorHasOneRow", func(t *testing.T) {
		t.Parallel()
		monitor, slot := newMonitor(t, 3606, http.MethodGet)
		q, r := at(t, slot), at(t, slot)
		other := make(chan error, 1)
		go func() { other <- r.tryRound(t, roundOf(monitor, slot)) }()
		require.NoError(t, q.tryRound(t, roundOf(monitor, slot)))
		require.NoError(t, <-other)
		require.Equal(t, []string{"round ok"}, p.Scans(t, monitor.ID))
		require.Len(t, dbtest.Column[int](t, p.Pool, `SELECT 1 FROM river_job WHERE kind = 'round' AND (args ->> 'interval')::int = 3606
			AND (args ->> 'slot')::timestamptz = $1`, monitor.Schedule().Next(slot)), 1, "and one successor")
	})
}

func TestRoundInTrouble(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	var interval atomic.Int32
	interval.Store(3600)
	// A process with a prober, and n monitors of one schedule, in time for a slot.
	newRound := func(t *testing.T, prober jobs.Prober, limits jobs.Limits, n int) (*process, queue.RoundArgs) {
		t.Helper()
		p := newProcessOn(t, pool, prober, limits)
		schedule := uptime.Schedule{Interval: int(interval.Add(1)), PhaseMS: 5000}
		slot := schedule.SlotAfter(monitorstest.Noon)
		dbtest.Monitors(t, p.Pool, schedule, monitorstest.Noon, n, func(n int, m *db.Monitor) {
			m.ID, m.URL = int64(schedule.Interval*100+n+1), fmt.Sprintf("http://%d.example/%d", n+1, schedule.Interval)
		})
		p.Exec(t, `UPDATE monitor_states SET status = 'up' WHERE monitor_id IN (SELECT id FROM monitors WHERE interval_seconds = $1)`,
			schedule.Interval)
		p.inTime(slot)
		return p, queue.RoundArgs{Interval: schedule.Interval, PhaseMS: schedule.PhaseMS, Slot: slot}
	}
	id := func(args queue.RoundArgs, n int) string { return itoa(int64(args.Interval*100 + n)) }
	gaps := func(t *testing.T, p *process, args queue.RoundArgs) []string {
		t.Helper()
		return p.gaps(t, uptime.Schedule{Interval: args.Interval, PhaseMS: args.PhaseMS}, args.Slot)
	}
	plenty := jobs.Limits{Probes: 100, ProbesPerHost: 100}

	t.Run("APanicIsAGapAndHurtsNobodyElse", func(t *testing.T) {
		t.Parallel()
		p, args := newRound(t, proberFunc(func(_ context.Context, target probe.Target) probe.Result {
			if strings.HasPrefix(target.URL, "http://2.") {
				panic("a bug")
			}
			return well()
		}), plenty, 3)
		out := p.round(t, args)
		require.EqualValues(t, 2, out["good"])
		require.EqualValues(t, 1, out["gaps"])
		require.Equal(t, []string{"internal_error 0-0 " + id(args, 2)}, gaps(t, p, args))
		require.Contains(t, p.Logs.All(), "panic in a scan")
	})

	t.Run("AURLThatIsNone", func(t *testing.T) {
		t.Parallel()
		p, args := newRound(t, &tally{}, plenty, 2)
		p.Exec(t, "UPDATE monitors SET url = '%zz' WHERE id = $1", args.Interval*100+1)
		require.EqualValues(t, 1, p.round(t, args)["good"])
		require.Equal(t, []string{"internal_error 0-0 " + id(args, 1)}, gaps(t, p, args))
	})

	t.Run("ARowThatCannotBeRead", func(t *testing.T) {
		t.Parallel()
		p, args := newRound(t, &tally{}, plenty, 2)
		p.Exec(t, `UPDATE monitors SET request = '{"headers": 1}' WHERE id = $1`, args.Interval*100+1)
		require.EqualValues(t, 1, p.round(t, args)["good"])
		require.Equal(t, []string{"internal_error 0-0 " + id(args, 1)}, gaps(t, p, args))
		require.Contains(t, p.Logs.All(), "monitor cannot be read")
		require.Equal(t, 1, p.missed(t, uptime.InternalError))
	})

	t.Run("AResultThatTheDatabaseNeverTakes", func(t *testing.T) {
		t.Parallel()
		p, args := newRound(t, proberFunc(func(_ context.Context, target probe.Target) probe.Result {
			result := well()
			if strings.HasPrefix(target.URL, "http://1.") {
				status := 1 << 20
				result.HTTPStatus = &status
			}
			return result
		}), plenty, 3)
		out := p.round(t, args)
		require.EqualValues(t, 2, out["scanned"])
		require.Equal(t, []string{"internal_error 0-0 " + id(args, 1)}, gaps(t, p, args))
		require.Contains(t, p.Logs.All(), "scan cannot be recorded")
		require.Equal(t, "up", dbtest.One[string](t, p.Pool, "SELECT status FROM monitor_states WHERE monitor_id = $1",
			args.Interval*100+1))
	})

	t.Run("AClockThatJumps", func(t *testing.T) {
		t.Parallel()
		p, args := newRound(t, proberFunc(func(_ context.Context, target probe.Target) probe.Result {
			result := well()
			result.Start = monitorstest.Noon.AddDate(1, 0, 0)
			if strings.HasPrefix(target.URL, "http://1.") {
				result.Start = monitorstest.Noon.AddDate(-1, 0, 0)
			}
			return result
		}), plenty, 2)
		require.EqualValues(t, 2, p.round(t, args)["good"])
		require.Equal(t, []int{-1 << 31, 1<<31 - 1}, dbtest.Column[int](t, p.Pool,
			"SELECT late_ms FROM monitor_log WHERE slot = $1 AND monitor_id / 100 = $2 ORDER BY monitor_id",
			args.Slot, args.Interval))
	})

	t.Run("WhoCouldNotStartInTimeIsAGap", func(t *testing.T) {
		t.Parallel()
		busy := &flight{release: make(chan struct{}), ofHost: map[string]int{}}
		p, args := newRound(t, busy, jobs.Limits{Probes: 1, ProbesPerHost: 1}, 3)
		p.worker.SetStartWithin(20 * time.Millisecond)
		p.Exec(t, "UPDATE monitors SET url = 'http://same.example/' || id WHERE interval_seconds = $1 AND id % 100 < 3",
			args.Interval)
		done := make(chan error, 1)
		go func() { done <- p.tryRound(t, args) }()
		require.Eventually(t, func() bool { return busy.reached() == 1 }, 10*time.Second, time.Millisecond)
		time.AfterFunc(100*time.Millisecond, func() { close(busy.release) }) // long after it was too late for the others
		require.NoError(t, <-done)
		require.Len(t, gaps(t, p, args), 2)
		for _, gap := range gaps(t, p, args) {
			require.Contains(t, gap, "overloaded 0-0")
		}
		require.Equal(t, 1, p.Count(t, "monitor_log WHERE slot = $1 AND monitor_id / 100 = $2", args.Slot, args.Interval))
	})

	t.Run("WhoHasNotBegunWhenHisNextSlotComesIsAGap", func(t *testing.T) {
		t.Parallel()
		busy := &flight{release: make(chan struct{}), ofHost: map[string]int{}}
		p, args := newRound(t, busy, jobs.Limits{Probes: 1, ProbesPerHost: 1}, 3)
		p.Exec(t, "UPDATE monitors SET url = 'http://same.example/' || id WHERE interval_seconds = $1 AND id % 100 < 3",
			args.Interval)
		next := args.Slot.Add(time.Duration(args.Interval) * time.Second)
		p.SetNow(next.Add(-500 * time.Millisecond))
		done := make(chan error, 1)
		go func() { done <- p.tryRound(t, args) }()
		require.Eventually(t, func() bool { return busy.reached() == 1 }, 10*time.Second, time.Millisecond)
		time.AfterFunc(time.Second, func() { close(busy.release) })
		require.NoError(t, <-done)
		require.Len(t, gaps(t, p, args), 2, "it was not waited for as long as a probe may wait")
	})

	t.Run("WhenTheRecorderIsClosed", func(t *testing.T) {
		t.Parallel()
		p, args := newRound(t, &tally{}, plenty, 1)
		p.stopRecorder()
		<-p.recorderEnded
		require.EqualValues(t, 1, p.round(t, args)["gaps"])
		require.Equal(t, []string{"worker_lost 0-0 " + id(args, 1)}, gaps(t, p, args))
	})

	t.Run("WhenTheProcessStopsBeforeTheStart", func(t *testing.T) {
		t.Parallel()
		probing := make(chan struct{})
		p, args := newRound(t, proberFunc(func(ctx context.Context, _ probe.Target) probe.Result {
			close(probing)
			<-ctx.Done()
			return probe.Result{Start: monitorstest.Noon, Outcome: uptime.Inconclusive}
		}), jobs.Limits{Probes: 1, ProbesPerHost: 1}, 2)
		worker := &stoppedWorker[queue.RoundArgs]{Worker: p.worker.RoundWorker(), stop: probing}
		require.NoError(t, tryWork(t, p, worker, args))
		// One of them had begun, and is recorded; the other is a gap.
		require.Equal(t, 1, p.Count(t, "monitor_log WHERE slot = $1 AND monitor_id / 100 = $2 AND outcome = 'inconclusive'",
			args.Slot, args.Interval))
		require.Len(t, gaps(t, p, args), 1)
		require.Contains(t, gaps(t, p, args)[0], "worker_lost 0-0")
	})

	t.Run("WhoWaitsForALockHasAskedNothing", func(t *testing.T) {
		t.Parallel()
		p, s := newProcess(t), newTarget(t)
		c := monitorstest.Of(s.URL+"/post", 60)
		c.Method = http.MethodPost // a request that no second attempt makes
		monitor := p.Create(t, c)
		slot := monitor.Schedule().SlotAfter(monitorstest.Noon)
		p.inTime(slot)
		p.worker.SetConn(dbtest.Open(t, p.Pool.Config().ConnString()+"&lock_timeout=10ms"))

		tx, err := p.Pool.Begin(t.Context())
		require.NoError(t, err)
		defer tx.Rollback(t.Context()) //nolint:errcheck // after the commit there is nothing
		require.NoError(t, db.New(tx).LockRounds(t.Context(), db.LockRoundsParams{
			IntervalsSeconds: []int{60}, PhasesMS: []int{monitor.PhaseMS},
		}))
		result, err := work(t, p, p.worker.RoundWorker(), roundOf(monitor, slot))
		require.NoError(t, err)
		require.Equal(t, river.EventKindJobSnoozed, result.EventKind)
		require.Zero(t, result.Job.Attempt, "it was none")
		require.NoError(t, tx.Commit(t.Context()))

		require.EqualValues(t, 1, p.round(t, roundOf(monitor, slot))["scanned"])
		require.Empty(t, p.gaps(t, monitor.Schedule(), slot))
	})

	t.Run("WhenTheDatabaseIsAwayTheJobIsTriedAgain", func(t *testing.T) {
		t.Parallel()
		p, args := newRound(t, &tally{}, plenty, 1)
		closed := dbtest.Open(t, pool.Config().ConnString())
		closed.Close()
		p.worker.SetConn(closed)
		require.ErrorContains(t, p.tryRound(t, args), "begin the round: ")
		p.SetNow(args.Slot.Add(3 * time.Hour))
		require.ErrorContains(t, p.tryRound(t, args), "ask the database for the time: ")
	})
}

func TestLimits(t *testing.T) {
	t.Parallel()
	schedule := uptime.Schedule{Interval: 3600, PhaseMS: 1000}
	slot := schedule.SlotAfter(monitorstest.Noon)
	args := queue.RoundArgs{Interval: 3600, PhaseMS: 1000, Slot: slot}

	for name, test := range map[string]struct {
		limits       jobs.Limits
		most, ofHost int
	}{
		"InAll":   {jobs.Limits{Probes: 7, ProbesPerHost: 300}, 7, 7},
		"PerHost": {jobs.Limits{Probes: 300, ProbesPerHost: 3}, 15, 3},
	} {
		t.Run("NeverMoreInFlightThanAllowed"+name, func(t *testing.T) {
			t.Parallel()
			flight := &flight{release: make(chan struct{}), ofHost: map[string]int{}}
			p := newProcessOn(t, dbtest.New(t), flight, test.limits)
			p.insertMonitors(t, 300, 1, schedule, slot)
			p.Exec(t, "UPDATE monitors SET url = 'http://' || id % 5 || '.example/' || id") // five hosts
			p.inTime(slot)
			done := make(chan error, 1)
			go func() { done <- p.tryRound(t, args) }()
			require.Eventually(t, func() bool { return flight.reached() == test.most }, 10*time.Second, time.Millisecond)
			close(flight.release)
			require.NoError(t, <-done)
			require.Equal(t, test.most, flight.reached())
			require.LessOrEqual(t, flight.mostOfHost, test.ofHost)
			require.Equal(t, 300, p.Count(t, "monitor_log WHERE outcome = 'ok'"))
		})
	}

	t.Run("ResultsThatWaitForTheDatabaseHoldNoPlace", func(t *testing.T) {
		t.Parallel()
		prober := &tally{}
		var probes atomic.Int64
		prober.before = func(probe.Target) { probes.Add(1) }
		p := newProcessOn(t, dbtest.New(t), prober, jobs.Limits{Probes: 1, ProbesPerHost: 1})
		p.insertMonitors(t, 20, 1, schedule, slot)
		p.inTime(slot)
		tx, err := p.Pool.Begin(t.Context())
		require.NoError(t, err)
		defer tx.Rollback(t.Context())                       //nolint:errcheck // after the commit there is nothing
		_, err = tx.Exec(t.Context(), "LOCK monitor_states") // without which nothing is recorded of monitors that are new
		require.NoError(t, err)
		done := make(chan error, 1)
		go func() { done <- p.tryRound(t, args) }()
		require.Eventually(t, func() bool { return probes.Load() == 20 }, 10*time.Second, time.Millisecond)
		require.Zero(t, p.Count(t, "monitor_log"))
		require.NoError(t, tx.Commit(t.Context()))
		require.NoError(t, <-done)
		require.Equal(t, 20, p.Count(t, "monitor_log"))
	})

	t.Run("ASlowHostBlocksNoOther", func(t *testing.T) {
		t.Parallel()
		release := make(chan struct{})
		slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
		defer slow.Close()
		fast := newTarget(t)
		real := newProcess(t)
		p := newProcessOn(t, real.Pool, real.config.Prober, jobs.Limits{Probes: 3, ProbesPerHost: 2})
		p.insertMonitors(t, 20, 1, schedule, slot)
		p.Exec(t, "UPDATE monitors SET timeout_ms = 30000, url = CASE WHEN id <= 1010 THEN $1 ELSE $2 END || '/' || id",
			slow.URL, fast.URL)
		p.inTime(slot)
		done := make(chan error, 1)
		go func() { done <- p.tryRound(t, args) }()
		require.Eventually(t, func() bool { return p.Count(t, "monitor_log") == 10 }, 10*time.Second,
			time.Millisecond, "those of the fast host are recorded while the slow one holds its two")
		close(release)
		require.NoError(t, <-done)
		require.Equal(t, 20, p.Count(t, "monitor_log"))
	})
}

// flight is a prober whose probes stay in flight until they are released, and that counts them.
type flight struct {
	release chan struct{}

	mu                         sync.Mutex
	ofHost                     map[string]int
	inFlight, most, mostOfHost int
}

func (f *flight) Probe(_ context.Context, target probe.Target) probe.Result {
	host := strings.Split(target.URL, "/")[2]
	f.add(host, 1)
	defer f.add(host, -1)
	<-f.release
	return well()
}

func (f *flight) add(host string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inFlight += n
	f.ofHost[host] += n
	f.most, f.mostOfHost = max(f.most, f.inFlight), max(f.mostOfHost, f.ofHost[host])
}

func (f *flight) reached() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.most
}
