package jobs_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/jobs"
	"riverwatch/probe"
	"riverwatch/uptime"
)

const sentinel = "https://sentinel.example/"

// network is a prober whose network can be cut.
type network struct {
	cut   atomic.Bool
	looks atomic.Int32 // at the sentinel
}

func (n *network) Probe(_ context.Context, target probe.Target) probe.Result {
	if target.URL == sentinel {
		n.looks.Add(1)
	}
	result := probe.Result{Start: time.Now(), Outcome: uptime.OK, Total: time.Millisecond}
	if n.cut.Load() {
		result.Outcome, result.Error = uptime.ConnectUnreachable, "the address cannot be reached"
	}
	return result
}

// sight gives a process its sight, which does not run yet.
func (p *process) sight(sentinels ...string) *jobs.Sight {
	return jobs.NewSight(p.scanner, sentinels, slog.New(&p.logs))
}

// requireAgreement checks that states are what follows from the log.
func (p *process) requireAgreement(t *testing.T, monitors ...db.Monitor) {
	t.Helper()
	for _, monitor := range monitors {
		want, got := p.replayed(t, monitor), p.state(t, monitor.ID)
		require.Equal(t, fmt.Sprint(want.Status, want.Failures, want.Successes),
			fmt.Sprint(got.Status, got.Failures, got.Successes), "%d: %v", monitor.ID, p.scans(t, monitor.ID))
	}
}

// replayed is the state that follows from a monitor's log.
func (p *process) replayed(t *testing.T, monitor db.Monitor) uptime.State {
	t.Helper()
	state := uptime.Start(monitor.CreatedAt, false)
	scans, err := db.New(p.pool).ListOutcomes(t.Context(), db.ListOutcomesParams{MonitorIDs: []int64{monitor.ID}})
	require.NoError(t, err)
	for _, scan := range scans {
		state = uptime.Decide(state, scan.Slot, scan.Outcome, uptime.Thresholds{
			Failure: monitor.FailureThreshold, Success: monitor.SuccessThreshold,
		})
	}
	return state
}

func TestSight(t *testing.T) {
	t.Parallel()

	t.Run("ABlindWorkerTakesNothingAndTakesBackWhatItWrote", func(t *testing.T) {
		t.Parallel()
		n := &network{}
		p := newProcessOn(t, dbtest.New(t), n, jobs.Limits{Probes: 1000, ProbesPerHost: 1000})
		p.start(t, time.Second)
		t.Cleanup(p.sight(sentinel).Watch(t.Context()))
		var monitors []db.Monitor
		for i := range 8 {
			c := config(url("m%d", i), 86400)
			c.FailureThreshold = 1
			monitors = append(monitors, p.create(t, c))
		}
		all := func(from string) func() bool {
			return func() bool { return p.count(t, from) == len(monitors) }
		}
		require.Eventually(t, all("monitor_states WHERE status = 'up'"), 10*time.Second, 10*time.Millisecond)

		// Right after a look, so that the scans fail before the next one.
		looks := n.looks.Load()
		require.Eventually(t, func() bool { return n.looks.Load() > looks }, 10*time.Second, time.Millisecond)
		n.cut.Store(true)
		for _, monitor := range monitors {
			_, err := jobs.AskForScan(t.Context(), p.queue, monitor.ID, p.now())
			require.NoError(t, err)
		}
		require.Eventually(t, all("monitor_states WHERE status = 'down'"), 10*time.Second, time.Millisecond,
			"before it is known that the worker is blind")
		p.logs.await(t, "worker cannot see the network: it scans nothing until it does")
		require.Eventually(t, all("monitor_states WHERE status = 'up'"), 10*time.Second, 10*time.Millisecond)
		require.Equal(t, len(monitors), p.count(t, "monitor_log WHERE outcome = 'inconclusive' AND error = 'this worker cannot see the network'"))
		require.Zero(t, p.count(t, "monitor_log WHERE outcome = 'connect_unreachable'"))
		p.requireAgreement(t, monitors...)
		require.Equal(t, []string{"no_sight test"}, column[string](t, p,
			"SELECT kind || ' ' || array_to_string(processes, ',') FROM warnings WHERE closed_at IS NULL"))
		again := "river_job WHERE kind = 'scan' AND (args ->> 'in_place_of_blind')::boolean AND state = 'available'"
		require.Never(t, func() bool { return !all(again)() }, time.Second, 50*time.Millisecond, "they wait for one that sees")

		n.cut.Store(false)
		p.logs.await(t, "worker sees the network again")
		require.Eventually(t, all("monitor_log WHERE reason = 'retry' AND outcome = 'ok'"), 10*time.Second, 10*time.Millisecond)
		require.Eventually(t, func() bool { return p.count(t, "warnings WHERE closed_at IS NOT NULL") == 1 },
			5*time.Second, 10*time.Millisecond)
		require.Equal(t, 1, p.count(t, "warnings"))
		p.requireAgreement(t, monitors...)
	})

	t.Run("WhateverTwoWorkersWroteStatesAgreeWithTheLog", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		other := newProcessOn(t, p.pool, &network{}, jobs.Limits{Probes: 1, ProbesPerHost: 1})
		p.scanner.Worker = "w1"
		random := rand.New(rand.NewPCG(1, 2))
		outcomes := []uptime.Outcome{
			uptime.OK, uptime.OK, uptime.OK, uptime.TimeoutConnect, uptime.ConnectUnreachable, uptime.DNSServfail,
			uptime.StatusMismatch, uptime.Inconclusive,
		}
		var monitors []db.Monitor
		for i := range 40 {
			c := config(url("random%d", i), 3600)
			c.FailureThreshold, c.SuccessThreshold = 1+random.IntN(3), 1+random.IntN(2)
			monitors = append(monitors, p.create(t, c))
		}
		for second := range 12 {
			at := noon.Add(time.Duration(second+1) * time.Second)
			p.setNow(at)
			other.setNow(at)
			for _, monitor := range monitors {
				scan := dbtest.Scan(monitor.ID, at)
				scan.Outcome = outcomes[random.IntN(len(outcomes))]
				recorder := other.recorder
				if random.IntN(3) > 0 {
					scan.Worker, recorder = "w1", p.recorder
				}
				go func() { _ = recorder.Record(context.Background(), scan, nil) }()
			}
			require.Eventually(t, func() bool {
				return p.count(t, "monitor_log WHERE slot = $1", at) == len(monitors)
			}, 10*time.Second, time.Millisecond)
		}
		p.requireAgreement(t, monitors...)

		sight, sawAt := p.sight(sentinel), noon.Add(6*time.Second)
		sight.GoBlind(sawAt)
		sight.Follow(t.Context())
		require.Zero(t, p.count(t, `monitor_log WHERE worker = 'w1' AND slot >= $1
			AND outcome IN ('timeout_connect', 'connect_unreachable', 'dns_servfail')`, sawAt))
		require.Positive(t, p.count(t, "monitor_log WHERE worker = 'w1' AND slot < $1 AND outcome = 'timeout_connect'", sawAt),
			"it saw then")
		require.Positive(t, p.count(t, "monitor_log WHERE worker = 'test' AND slot > $1 AND outcome = 'timeout_connect'", sawAt),
			"another worker sees")
		p.requireAgreement(t, monitors...)
		require.Equal(t, p.count(t, "(SELECT DISTINCT monitor_id FROM monitor_log WHERE error = 'this worker cannot see the network') AS m"),
			p.count(t, "river_job WHERE kind = 'scan' AND (args ->> 'in_place_of_blind')::boolean"), "one scan in the place of each monitor's")
		for _, monitor := range monitors {
			require.True(t, p.replayed(t, monitor).Since.Equal(p.state(t, monitor.ID).Since))
		}
	})

	t.Run("AMonitorThatBeganAnewMeanwhileStaysSo", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		p.scanner.Worker = "test"
		c := config(url("anew"), 3600)
		c.FailureThreshold = 1
		monitor := p.create(t, c)
		p.record(t, monitor, noon.Add(time.Second), uptime.OK, uptime.TimeoutConnect)
		require.Equal(t, uptime.Down, p.state(t, monitor.ID).Status)
		p.setNow(noon.Add(10 * time.Second))
		p.edit(t, monitor.ID, func(c *jobs.MonitorConfig) { c.URL = url("elsewhere") })
		sight := p.sight(sentinel)
		sight.GoBlind(noon)
		sight.Follow(t.Context())
		require.Equal(t, []string{"round ok", "round inconclusive"}, p.scans(t, monitor.ID))
		state := p.state(t, monitor.ID)
		require.Equal(t, uptime.Pending, state.Status)
		require.True(t, state.Since.Equal(noon.Add(10*time.Second)))
	})

	t.Run("AStateIsMendedWhoseRowWasTakenBackBeforeTheRecorderTold", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		monitor := p.create(t, config(url("told"), 3600))
		p.record(t, monitor, noon.Add(time.Second), uptime.OK, uptime.TimeoutConnect)
		p.exec(t, "UPDATE monitor_log SET outcome = 'inconclusive' WHERE outcome = 'timeout_connect'")
		require.Equal(t, 1, p.state(t, monitor.ID).Failures)
		sight := p.sight(sentinel)
		sight.GoBlind(noon)
		sight.Follow(t.Context())
		p.requireAgreement(t, monitor)
		require.Zero(t, p.state(t, monitor.ID).Failures)
	})

	t.Run("OneWarningForAllWorkers", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		first := p.sight(sentinel)
		p.scanner.Worker = "w1"
		other := newProcessOn(t, p.pool, &network{}, jobs.Limits{Probes: 1, ProbesPerHost: 1})
		other.scanner.Worker = "w2"
		second := other.sight(sentinel)
		warnings := func() []string {
			return column[string](t, p, `SELECT concat_ws(' ', array_to_string(processes, ','), array_to_string(open_processes, ','),
				extract(epoch FROM seen_at - opened_at)::int, closed_at IS NOT NULL) FROM warnings ORDER BY id`)
		}
		first.GoBlind(noon)
		first.Follow(t.Context())
		first.Follow(t.Context())
		require.Equal(t, []string{"w1 w1 0 f"}, warnings())
		p.setNow(noon.Add(5 * time.Second))
		other.setNow(noon.Add(5 * time.Second))
		second.GoBlind(noon)
		second.Follow(t.Context())
		first.Follow(t.Context())
		require.Equal(t, []string{"w1,w2 w1,w2 5 f"}, warnings())
		first.SeeAgain(t.Context())
		require.Equal(t, []string{"w1,w2 w2 5 f"}, warnings())
		p.tend(t)
		require.Equal(t, []string{"w1,w2 w2 5 f"}, warnings(), "it is renewed")

		p.setNow(noon.Add(66 * time.Second)) // w2 was killed
		p.tend(t)
		require.Equal(t, []string{"w1,w2  5 t"}, warnings())
		second.SeeAgain(t.Context())
		require.Equal(t, []string{"w1,w2  5 t"}, warnings())
		p.setNow(noon.Add(70 * time.Second))
		first.GoBlind(noon)
		first.Follow(t.Context())
		first.SeeAgain(t.Context())
		require.Equal(t, []string{"w1,w2  5 t", "w1  0 t"}, warnings())
	})

	t.Run("AScanInThePlaceOfOneThatToldNothingIsWantedThoughThereIsNoDoubt", func(t *testing.T) {
		t.Parallel()
		p := newProcessOn(t, dbtest.New(t), &network{}, jobs.Limits{Probes: 1, ProbesPerHost: 1})
		monitor := p.create(t, config(url("again"), 3600))
		args := jobs.ScanArgs{MonitorID: monitor.ID, At: noon.Add(time.Microsecond), Reason: jobs.ReasonRetry, InPlaceOfBlind: true}
		result, err := work(t, p, &jobs.ScanWorker{Scanner: p.scanner}, args)
		require.NoError(t, err)
		require.Equal(t, rivertype.JobStateCompleted, result.Job.State)
		require.Equal(t, []string{"retry ok"}, p.scans(t, monitor.ID))
	})

	t.Run("WithoutDatabaseNothingIsForgotten", func(t *testing.T) {
		t.Parallel()
		n := &network{}
		p := newProcessOn(t, dbtest.New(t), n, jobs.Limits{Probes: 1, ProbesPerHost: 1})
		c := config(url("away"), 3600)
		c.FailureThreshold = 1
		monitor := p.create(t, c)
		p.record(t, monitor, noon.Add(time.Second), uptime.OK, uptime.TimeoutConnect)
		missed := p.create(t, config(url("missed"), 3600))
		sight := p.sight(sentinel)
		sight.GoBlind(noon)
		n.cut.Store(true)
		args := jobs.ScanArgs{MonitorID: missed.ID, At: noon.Add(time.Microsecond), Reason: jobs.ReasonAsked}
		_, err := work(t, p, &jobs.ScanWorker{Scanner: p.scanner}, args)
		require.NoError(t, err)
		require.Equal(t, []string{"asked inconclusive"}, p.scans(t, missed.ID))

		away, leave := context.WithCancel(t.Context())
		leave()
		sight.Follow(away)
		for _, message := range []string{
			"warning is not written", "failures of a blind worker are not taken back yet",
			"scans of a blind worker are not asked for again yet",
		} {
			require.Contains(t, p.logs.all(), message)
		}
		again := func() int { return p.count(t, "river_job WHERE (args ->> 'in_place_of_blind')::boolean") }
		require.Zero(t, again())
		sight.Follow(t.Context())
		require.Equal(t, 2, again())
		require.Equal(t, []string{"round ok", "round inconclusive"}, p.scans(t, monitor.ID))
		require.Equal(t, uptime.Up, p.state(t, monitor.ID).Status)
		require.Equal(t, 1, p.count(t, "warnings"))
	})
}
