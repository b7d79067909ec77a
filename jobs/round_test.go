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
	"riverwatch/probe"
	"riverwatch/uptime"
)

// inTime puts the clock a moment after a slot.
func (p *process) inTime(slot time.Time) { p.setNow(slot.Add(40 * time.Millisecond)) }

func TestRound(t *testing.T) {
	t.Parallel()

	t.Run("ScansEachOfItsMonitorsAndGoesOn", func(t *testing.T) {
		t.Parallel()
		p, s := newProcess(t), newTarget(t)
		monitor := p.create(t, config(s.URL+"/good", 60))
		schedule := scheduleOf(monitor)
		sameRound := func(path string) db.Monitor {
			m := p.create(t, config(s.URL+path, 60))
			p.exec(t, "UPDATE monitors SET phase_ms = $2 WHERE id = $1", m.ID, schedule.PhaseMS)
			p.exec(t, "UPDATE monitor_schedules SET phase_ms = $2, from_at = $3 WHERE monitor_id = $1", m.ID, schedule.PhaseMS,
				schedule.SlotAfter(noon))
			return m
		}
		bad := sameRound("/bad")
		sleeping, gone := sameRound("/paused"), sameRound("/deleted")
		p.edit(t, sleeping.ID, func(c *jobs.MonitorConfig) { c.Enabled = false })
		require.NoError(t, jobs.DeleteMonitor(t.Context(), p.pool, gone.ID, noon))
		other := p.create(t, config(s.URL+"/other", 61))

		slot := schedule.SlotAfter(noon)
		p.inTime(slot)
		out := p.round(t, roundOf(monitor, slot))
		require.Equal(t, map[string]any{
			"scanned": 2.0, "good": 1.0, "failed": 1.0, "inconclusive": 0.0, "gaps": 0.0, "failed_ids": []any{float64(bad.ID)},
		}, out)
		for path, want := range map[string]int{"/good": 1, "/bad": 1, "/paused": 0, "/deleted": 0, "/other": 0} {
			require.Equal(t, want, s.hitsOf(path), path)
		}

		scan, err := db.New(p.pool).GetScan(t.Context(), db.GetScanParams{Slot: slot, MonitorID: bad.ID})
		require.NoError(t, err)
		require.Equal(t, uptime.StatusMismatch, scan.Outcome)
		require.Equal(t, http.StatusInternalServerError, *scan.HTTPStatus)
		require.Equal(t, "round", scan.Reason)
		require.Equal(t, "test", scan.Worker)
		require.Equal(t, bad.Version, scan.MonitorVersion)
		require.Equal(t, "127.0.0.1", scan.RemoteIP.String())
		require.NotNil(t, scan.WaitUS)
		require.Positive(t, scan.TotalUS)

		require.Subset(t, openJobs[jobs.RoundArgs](t, p), []jobs.RoundArgs{
			roundOf(monitor, schedule.Next(slot)), roundOf(monitor, schedule.Next(schedule.Next(slot))),
		}, "its successors")
		require.Contains(t, openJobs[jobs.RoundArgs](t, p), roundOf(other, scheduleOf(other).SlotAfter(noon)), "untouched")
		require.Equal(t, 1, p.state(t, bad.ID).Failures)
		require.Equal(t, uptime.Up, p.state(t, monitor.ID).Status)

		// Chain of three more, each row once.
		for range 3 {
			slot = schedule.Next(slot)
			p.inTime(slot)
			p.round(t, roundOf(monitor, slot))
		}
		require.Equal(t, 4, s.hitsOf("/good"))
		require.Len(t, p.scans(t, monitor.ID), 4)
		require.Zero(t, p.count(t, "unaccounted_slots($1, $2) WHERE interval_seconds = 60", noon, p.now()))
	})

	t.Run("AChainWithoutMonitorsEnds", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		monitor := p.create(t, config(url("ends"), 60))
		slot := scheduleOf(monitor).SlotAfter(noon)
		p.edit(t, monitor.ID, func(c *jobs.MonitorConfig) { c.Enabled = false })
		p.inTime(slot)
		require.EqualValues(t, 0, p.round(t, roundOf(monitor, slot))["scanned"])
		require.Empty(t, openJobs[jobs.RoundArgs](t, p))

		// And begins again.
		p.edit(t, monitor.ID, func(c *jobs.MonitorConfig) { c.Enabled = true })
		require.Equal(t, []jobs.RoundArgs{roundOf(monitor, scheduleOf(monitor).Next(slot))}, openJobs[jobs.RoundArgs](t, p))
	})

	t.Run("APromiseMadeWhileItBeginsIsSeen", func(t *testing.T) {
		t.Parallel()
		p, s := newProcess(t), newTarget(t)
		first := p.create(t, config(s.URL+"/first", 10))
		schedule := scheduleOf(first)
		slot := schedule.SlotAfter(noon)

		// Another monitor is promised this slot, in a transaction that is open when the round begins.
		tx, err := p.pool.Begin(t.Context())
		require.NoError(t, err)
		defer tx.Rollback(t.Context()) //nolint:errcheck // after the commit there is nothing
		var second db.Monitor
		for n := 0; second.ID == 0 || scheduleOf(second) != schedule; n++ {
			puts, err := jobs.CreateMonitors(t.Context(), tx, p.queue,
				[]jobs.MonitorConfig{config(s.URL+"/second/"+strings.Repeat("x", n), 10)}, false, noon)
			require.NoError(t, err)
			second = puts[0].Monitor
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
			return p.count(t, `pg_locks WHERE locktype = 'advisory' AND NOT granted
				AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`) == 1
		}, 10*time.Second, time.Millisecond, "the round waits for the promise")
		require.Zero(t, s.hitsOf("/first"))
		require.NoError(t, tx.Commit(t.Context()))
		<-done
		require.Equal(t, []string{"round ok"}, p.scans(t, second.ID))
	})

	t.Run("APromiseAfterItBeganIsOfTheNextSlot", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		first := p.create(t, config(url("first"), 60))
		schedule := scheduleOf(first)
		slot := schedule.SlotAfter(noon)
		p.exec(t, "UPDATE river_job SET state = 'running' WHERE kind = 'round'") // a worker whose clock is ahead

		p.edit(t, first.ID, func(c *jobs.MonitorConfig) { c.Enabled = false })
		p.edit(t, first.ID, func(c *jobs.MonitorConfig) { c.Enabled = true })
		open, err := db.New(p.pool).GetOpenSchedule(t.Context(), first.ID)
		require.NoError(t, err)
		require.True(t, open.FromAt.Equal(schedule.Next(slot)))
		require.Equal(t, []jobs.RoundArgs{roundOf(first, schedule.Next(slot))}, openJobs[jobs.RoundArgs](t, p))
	})
}

func TestRoundBeforeItsSlot(t *testing.T) {
	t.Parallel()

	t.Run("BeginsAndWaits", func(t *testing.T) {
		t.Parallel()
		p, s := newProcess(t), newTarget(t)
		edited, paused := p.create(t, config(s.URL+"/before", 60)), p.create(t, config(s.URL+"/paused", 60))
		schedule := scheduleOf(edited)
		slot := schedule.SlotAfter(noon)
		p.exec(t, "UPDATE monitors SET phase_ms = $1", schedule.PhaseMS)
		p.exec(t, "UPDATE monitor_schedules SET phase_ms = $1, from_at = $2", schedule.PhaseMS, slot)

		// Both change between the beginning of the round, which inserts the next one, and its slot.
		p.exec(t, fmt.Sprintf(`
			CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				UPDATE monitors SET paused_at = now() WHERE id = %d;
				UPDATE monitors SET url = '%s' WHERE id = %d;
				RETURN NULL;
			END $$`, paused.ID, s.URL+"/after", edited.ID))
		p.exec(t, "CREATE TRIGGER change AFTER INSERT ON river_job FOR EACH ROW WHEN (NEW.kind = 'round'"+
			" AND (NEW.args ->> 'slot')::timestamptz > '"+slot.Format(time.RFC3339Nano)+"') EXECUTE FUNCTION change()")

		begin := time.Now()
		p.setNow(slot.Add(-200 * time.Millisecond))
		require.EqualValues(t, 1, p.round(t, roundOf(edited, slot))["scanned"])
		require.GreaterOrEqual(t, time.Since(begin), 200*time.Millisecond, "never ahead of its slot")
		for path, want := range map[string]int{"/before": 0, "/after": 1, "/paused": 0} {
			require.Equal(t, want, s.hitsOf(path), path)
		}
	})

	t.Run("IsFoundInTime", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		monitor := p.create(t, config(url("in-time"), 60))
		slot := scheduleOf(monitor).SlotAfter(noon)
		p.inTime(slot)
		p.round(t, roundOf(monitor, slot))
		begins := column[time.Time](t, p, `SELECT scheduled_at FROM river_job WHERE kind = 'round' ORDER BY scheduled_at`)
		require.Equal(t, []time.Time{slot.Add(-500 * time.Millisecond), scheduleOf(monitor).Next(slot).Add(-500 * time.Millisecond)},
			[]time.Time{begins[0].UTC(), begins[1].UTC()})
	})

	t.Run("GoesBackIfItIsTooEarly", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		p.setNow(time.Now())
		monitor := p.create(t, config(url("early"), 3600))
		slot := scheduleOf(monitor).SlotAfter(time.Now().Add(time.Minute))
		result, err := work(t, p, &jobs.RoundWorker{Scanner: p.scanner}, roundOf(monitor, slot))
		require.NoError(t, err)
		require.Equal(t, river.EventKindJobSnoozed, result.EventKind)
		require.WithinDuration(t, slot.Add(-500*time.Millisecond), result.Job.ScheduledAt, 30*time.Second)
		require.Empty(t, p.scans(t, monitor.ID))
	})
}

// Rounds that all waited for the same, as for a database that was away, do not all start at once.
func TestRoundDeferred(t *testing.T) {
	t.Parallel()
	p, s := newProcess(t), newTarget(t)
	monitor := p.create(t, config(s.URL+"/late", 600))
	schedule := scheduleOf(monitor)
	slot := schedule.SlotAfter(noon)

	p.exec(t, "UPDATE river_job SET scheduled_at = $1 WHERE kind = 'round'", slot)

	late := func(d time.Duration) *rivertest.WorkResult {
		p.setNow(slot.Add(d))
		result, err := work(t, p, &jobs.RoundWorker{Scanner: p.scanner}, roundOf(monitor, slot))
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
		text, err := json.Marshal(jobs.RoundArgs{Interval: 86400, PhaseMS: phase, Slot: noon})
		require.NoError(t, err)
		require.Equal(t, `{"interval":86400,"phase_ms":`+want+`,"slot":"`+noon.Format(time.RFC3339)+`"}`, string(text))
	}
}

func TestRoundOfMany(t *testing.T) {
	t.Parallel()
	schedule := uptime.Schedule{Interval: 10, PhaseMS: 3000}
	slot := schedule.SlotAfter(noon)
	first := jobs.RoundArgs{Interval: 10, PhaseMS: 3000, Slot: slot}

	// 1,200 monitors with ids from 1,040 to 49,000, so that they are in three parts of 20,000 ids.
	newMany := func(t *testing.T) (*process, *tally) {
		t.Helper()
		prober := &tally{}
		p := newProcessOn(t, dbtest.New(t), prober, jobs.Limits{Probes: 100, ProbesPerHost: 100})
		p.insertMonitors(t, 1200, 40, schedule, slot)
		p.inTime(slot)
		return p, prober
	}
	workParts := func(t *testing.T, p *process) (parts []jobs.RoundArgs) {
		t.Helper()
		for _, args := range openJobs[jobs.RoundArgs](t, p) {
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
		require.Equal(t, 1200, p.count(t, "monitor_log WHERE slot = $1", slot))
	}

	t.Run("HandsPartsToSiblings", func(t *testing.T) {
		t.Parallel()
		p, prober := newMany(t)
		p.round(t, first)
		require.Contains(t, openJobs[jobs.RoundArgs](t, p), jobs.RoundArgs{Interval: 10, PhaseMS: 3000, Slot: schedule.Next(slot)})

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
		p.exec(t, "UPDATE monitors SET paused_at = now() WHERE id % 400 > 0")
		p.exec(t, "UPDATE monitors SET method = 'POST' WHERE id IN (8000, 28000, 48000)")
		p.round(t, first, rescued)
		parts := workParts(t, p)
		require.Len(t, parts, 2)
		require.Equal(t, "worker_lost", parts[0].Again)
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
		c := config(s.URL+"/"+t.Name(), interval)
		c.Method = method
		monitor, err := jobs.CreateMonitors(t.Context(), p.pool, p.queue, []jobs.MonitorConfig{c}, false, noon)
		require.NoError(t, err)
		return monitor[0].Monitor, scheduleOf(monitor[0].Monitor).SlotAfter(noon)
	}
	// A process like p, by a clock of its own.
	at := func(t *testing.T, now time.Time) *process {
		t.Helper()
		q := newProcessOn(t, p.pool, p.scanner.Prober, jobs.Limits{Probes: 10, ProbesPerHost: 10})
		q.setNow(now)
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
		require.Contains(t, openJobs[jobs.RoundArgs](t, p), roundOf(monitor, scheduleOf(monitor).Next(slot)))
	})

	t.Run("DoesNotRepeatAPost", func(t *testing.T) {
		t.Parallel()
		monitor, slot := newMonitor(t, 3601, http.MethodPost)
		q := at(t, slot.Add(70*time.Second))
		require.EqualValues(t, 0, q.round(t, roundOf(monitor, slot), rescued)["scanned"])
		require.Zero(t, s.hitsOf(path(t)))
		require.Equal(t, []string{"worker_lost 0-0 " + itoa(monitor.ID)}, p.gaps(t, scheduleOf(monitor), slot))
		require.Empty(t, p.scans(t, monitor.ID))
	})

	t.Run("AfterAnErrorOfOurs", func(t *testing.T) {
		t.Parallel()
		monitor, slot := newMonitor(t, 3602, http.MethodPost)
		at(t, slot.Add(70*time.Second)).round(t, roundOf(monitor, slot), rescued, "begin the round: out of luck")
		require.Equal(t, []string{"internal_error 0-0 " + itoa(monitor.ID)}, p.gaps(t, scheduleOf(monitor), slot))
	})

	t.Run("AfterTheDatabaseWasAway", func(t *testing.T) {
		t.Parallel()
		monitor, slot := newMonitor(t, 3607, http.MethodPost)
		q := at(t, slot.Add(70*time.Second))
		pool := q.scanner.Conn
		q.scanner.Conn = dbtest.Open(t, "postgres://127.0.0.1:1/nobody-is-there")
		err := q.tryRound(t, roundOf(monitor, slot))
		require.ErrorContains(t, err, "the database was away: ")
		q.scanner.Conn = pool
		q.round(t, roundOf(monitor, slot), rescued, err.Error())
		require.Equal(t, []string{"service_down 0-0 " + itoa(monitor.ID)}, p.gaps(t, scheduleOf(monitor), slot))
	})

	t.Run("TooLateForItsSlot", func(t *testing.T) {
		t.Parallel()
		monitor, slot := newMonitor(t, 3603, http.MethodGet)
		schedule := scheduleOf(monitor)
		out := at(t, schedule.Next(slot)).round(t, roundOf(monitor, slot), rescued)
		require.Equal(t, "worker_lost", out["gap"])
		require.Zero(t, s.hitsOf(path(t)))
		require.Equal(t, []string{"worker_lost 0-0"}, p.gaps(t, schedule, slot))
		require.Contains(t, openJobs[jobs.RoundArgs](t, p), roundOf(monitor, schedule.Next(slot)), "in case it was not there")
	})

	t.Run("AStaleRoundDeclaresWhatWasMissedAndRunsThePresentSlotOnce", func(t *testing.T) {
		t.Parallel()
		monitor, slot := newMonitor(t, 3604, http.MethodGet)
		schedule := scheduleOf(monitor)
		present := schedule.Next(schedule.Next(schedule.Next(slot)))
		now := present.Add(20 * time.Minute)
		q := at(t, now)
		require.Equal(t, "service_down", q.round(t, roundOf(monitor, slot))["gap"])
		require.Zero(t, s.hitsOf(path(t)))
		require.Equal(t, []string{"service_down 0-2"}, p.gaps(t, schedule, slot))

		starts := column[time.Time](t, p, `SELECT scheduled_at FROM river_job WHERE (args ->> 'interval')::int = 3604
			AND (args ->> 'slot')::timestamptz = $1`, present)
		require.Len(t, starts, 1)
		require.WithinRange(t, starts[0], now.Add(time.Second), now.Add(time.Minute), "in a moment")

		q.round(t, roundOf(monitor, present))
		require.Equal(t, []string{"round ok"}, p.scans(t, monitor.ID))
		require.Equal(t, 1, s.hitsOf(path(t)))
		require.Zero(t, p.count(t, "unaccounted_slots($1, $2) WHERE monitor_id = $3", noon, now, monitor.ID))

		q.round(t, roundOf(monitor, slot)) // and again, whoever may have run it
		require.Equal(t, []string{"service_down 0-2"}, p.gaps(t, schedule, slot))
	})

	for want, full := range map[string]time.Duration{"overloaded": time.Second, "service_down": -time.Second} {
		t.Run("AStaleOneOfAWorkerThatWasFullOrNot/"+want, func(t *testing.T) {
			t.Parallel()
			monitor, slot := newMonitor(t, 3620+int(full/time.Second), http.MethodGet)
			q := at(t, scheduleOf(monitor).Next(slot))
			q.scanner.WasFull(slot.Add(full))
			require.Equal(t, want, q.round(t, roundOf(monitor, slot))["gap"])
		})
	}

	t.Run("TwoStaleRoundsDeclareEachSlotOnce", func(t *testing.T) {
		t.Parallel()
		monitor, slot := newMonitor(t, 3608, http.MethodGet)
		schedule := scheduleOf(monitor)
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
		schedule := scheduleOf(monitor)
		at(t, slot).round(t, roundOf(monitor, slot))
		lost := schedule.Next(slot) // River gave it to a worker that died
		last := schedule.Next(lost)
		require.Contains(t, openJobs[jobs.RoundArgs](t, p), roundOf(monitor, last))
		at(t, last).round(t, roundOf(monitor, last))
		at(t, last).round(t, roundOf(monitor, lost), rescued)
		require.Equal(t, []string{"round ok", "round ok"}, p.scans(t, monitor.ID))
		require.Equal(t, []string{"worker_lost 1-1"}, p.gaps(t, schedule, slot))
	})

	t.Run("AStalePartIsOfItsSlotAlone", func(t *testing.T) {
		t.Parallel()
		monitor, slot := newMonitor(t, 3605, http.MethodGet)
		schedule := scheduleOf(monitor)
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
		require.Equal(t, []string{"round ok"}, p.scans(t, monitor.ID))
		require.Len(t, column[int](t, p, `SELECT 1 FROM river_job WHERE kind = 'round' AND (args ->> 'interval')::int = 3606
			AND (args ->> 'slot')::timestamptz = $1`, scheduleOf(monitor).Next(slot)), 1, "and one successor")
	})
}

func TestRoundInTrouble(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	var interval atomic.Int32
	interval.Store(3600)
	// A process with a prober, and n monitors of one schedule, in time for a slot.
	newRound := func(t *testing.T, prober jobs.Prober, limits jobs.Limits, n int) (*process, jobs.RoundArgs) {
		t.Helper()
		p := newProcessOn(t, pool, prober, limits)
		schedule := uptime.Schedule{Interval: int(interval.Add(1)), PhaseMS: 5000}
		slot := schedule.SlotAfter(noon)
		p.exec(t, `INSERT INTO monitors (id, created_at, updated_at, interval_seconds, phase_ms, timeout_ms, max_redirects,
				failure_threshold, success_threshold, retry_interval_seconds, regexp_invert, name, method, url,
				accepted_statuses, tags)
			SELECT $1 * 100 + n, $3, $3, $1, $2, 1000, 0, 3, 2, 20, false, 'many', 'GET',
				'http://' || n || '.example/' || $1, '{200}', '{}'
			FROM generate_series(1, $4::int) AS n`, schedule.Interval, schedule.PhaseMS, noon, n)
		p.exec(t, `INSERT INTO monitor_states SELECT id, 'up', $2, $2, 0, 0 FROM monitors WHERE interval_seconds = $1`,
			schedule.Interval, noon)
		p.exec(t, `INSERT INTO monitor_schedules SELECT id, $2, NULL, $1, phase_ms FROM monitors WHERE interval_seconds = $1`,
			schedule.Interval, noon)
		p.inTime(slot)
		return p, jobs.RoundArgs{Interval: schedule.Interval, PhaseMS: schedule.PhaseMS, Slot: slot}
	}
	id := func(args jobs.RoundArgs, n int) string { return itoa(int64(args.Interval*100 + n)) }
	gaps := func(t *testing.T, p *process, args jobs.RoundArgs) []string {
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
		require.Contains(t, p.logs.all(), "panic in a scan")
	})

	t.Run("AURLThatIsNone", func(t *testing.T) {
		t.Parallel()
		p, args := newRound(t, &tally{}, plenty, 2)
		p.exec(t, "UPDATE monitors SET url = '%zz' WHERE id = $1", args.Interval*100+1)
		require.EqualValues(t, 1, p.round(t, args)["good"])
		require.Equal(t, []string{"internal_error 0-0 " + id(args, 1)}, gaps(t, p, args))
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
		require.Contains(t, p.logs.all(), "scan cannot be recorded")
		require.Equal(t, "up", one[string](t, p, "SELECT status FROM monitor_states WHERE monitor_id = $1",
			args.Interval*100+1))
	})

	t.Run("AClockThatJumps", func(t *testing.T) {
		t.Parallel()
		p, args := newRound(t, proberFunc(func(_ context.Context, target probe.Target) probe.Result {
			result := well()
			result.Start = noon.AddDate(1, 0, 0)
			if strings.HasPrefix(target.URL, "http://1.") {
				result.Start = noon.AddDate(-1, 0, 0)
			}
			return result
		}), plenty, 2)
		require.EqualValues(t, 2, p.round(t, args)["good"])
		require.Equal(t, []int{-1 << 31, 1<<31 - 1}, column[int](t, p,
			"SELECT late_ms FROM monitor_log WHERE slot = $1 AND monitor_id / 100 = $2 ORDER BY monitor_id",
			args.Slot, args.Interval))
	})

	t.Run("WhoCouldNotStartInTimeIsAGap", func(t *testing.T) {
		t.Parallel()
		busy := &flight{release: make(chan struct{}), ofHost: map[string]int{}}
		p, args := newRound(t, busy, jobs.Limits{Probes: 1, ProbesPerHost: 1}, 3)
		p.scanner.SetStartWithin(20 * time.Millisecond)
		p.exec(t, "UPDATE monitors SET url = 'http://same.example/' || id WHERE interval_seconds = $1 AND id % 100 < 3",
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
		require.Equal(t, 1, p.count(t, "monitor_log WHERE slot = $1 AND monitor_id / 100 = $2", args.Slot, args.Interval))
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
			return probe.Result{Start: noon, Outcome: uptime.Inconclusive}
		}), jobs.Limits{Probes: 1, ProbesPerHost: 1}, 2)
		worker := &stoppedWorker[jobs.RoundArgs]{Worker: &jobs.RoundWorker{Scanner: p.scanner}, stop: probing}
		require.NoError(t, tryWork(t, p, worker, args))
		// One of them had begun, and is recorded; the other is a gap.
		require.Equal(t, 1, p.count(t, "monitor_log WHERE slot = $1 AND monitor_id / 100 = $2 AND outcome = 'inconclusive'",
			args.Slot, args.Interval))
		require.Len(t, gaps(t, p, args), 1)
		require.Contains(t, gaps(t, p, args)[0], "worker_lost 0-0")
	})

	t.Run("WhenTheDatabaseIsAwayTheJobIsTriedAgain", func(t *testing.T) {
		t.Parallel()
		p, args := newRound(t, &tally{}, plenty, 1)
		closed := dbtest.Open(t, pool.Config().ConnString())
		closed.Close()
		p.scanner.Conn = closed
		require.ErrorContains(t, p.tryRound(t, args), "begin the round: ")
		p.setNow(args.Slot.Add(3 * time.Hour))
		require.ErrorContains(t, p.tryRound(t, args), "ask the database for the time: ")
	})
}

func TestLimits(t *testing.T) {
	t.Parallel()
	schedule := uptime.Schedule{Interval: 3600, PhaseMS: 1000}
	slot := schedule.SlotAfter(noon)
	args := jobs.RoundArgs{Interval: 3600, PhaseMS: 1000, Slot: slot}

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
			p.exec(t, "UPDATE monitors SET url = 'http://' || id % 5 || '.example/' || id") // five hosts
			p.inTime(slot)
			done := make(chan error, 1)
			go func() { done <- p.tryRound(t, args) }()
			require.Eventually(t, func() bool { return flight.reached() == test.most }, 10*time.Second, time.Millisecond)
			close(flight.release)
			require.NoError(t, <-done)
			require.Equal(t, test.most, flight.reached())
			require.LessOrEqual(t, flight.mostOfHost, test.ofHost)
			require.Equal(t, 300, p.count(t, "monitor_log WHERE outcome = 'ok'"))
		})
	}

	t.Run("ASlowHostBlocksNoOther", func(t *testing.T) {
		t.Parallel()
		release := make(chan struct{})
		slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
		defer slow.Close()
		fast := newTarget(t)
		real := newProcess(t)
		p := newProcessOn(t, real.pool, real.scanner.Prober, jobs.Limits{Probes: 3, ProbesPerHost: 2})
		p.insertMonitors(t, 20, 1, schedule, slot)
		p.exec(t, "UPDATE monitors SET timeout_ms = 30000, url = CASE WHEN id <= 1010 THEN $1 ELSE $2 END || '/' || id",
			slow.URL, fast.URL)
		p.inTime(slot)
		done := make(chan error, 1)
		go func() { done <- p.tryRound(t, args) }()
		require.Eventually(t, func() bool { return p.count(t, "monitor_log") == 10 }, 10*time.Second,
			time.Millisecond, "those of the fast host are recorded while the slow one holds its two")
		close(release)
		require.NoError(t, <-done)
		require.Equal(t, 20, p.count(t, "monitor_log"))
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
