package jobs_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
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
	"riverwatch/wait"
)

const sentinel = "https://sentinel.example/"

// network is a prober whose network can be cut.
type network struct {
	cut   atomic.Bool
	dead  atomic.Bool  // the sentinel alone is
	looks atomic.Int32 // at the sentinel
}

func (n *network) Probe(_ context.Context, target probe.Target) probe.Result {
	if target.URL == sentinel {
		n.looks.Add(1)
	}
	result := probe.Result{Start: time.Now(), Outcome: uptime.OK, Total: time.Millisecond}
	if n.cut.Load() || target.URL == sentinel && n.dead.Load() {
		result.Outcome, result.Error = uptime.ConnectUnreachable, "the address cannot be reached"
	}
	return result
}

// seeing makes a process that sees the network by a sentinel, through n.
func seeing(t *testing.T, pool *pgxpool.Pool, name string, n *network) *process {
	t.Helper()
	return newProcessOf(t, jobs.Config{
		Pool: pool, Name: name, Prober: n, Sentinels: []string{sentinel},
		Limits: jobs.Limits{Probes: 1000, ProbesPerHost: 1000, Results: 10_000, Retries: 100},
	})
}

// goBlind makes the process blind now, that saw the network last at an instant.
func (p *process) goBlind(t *testing.T, n *network, sawAt time.Time) {
	t.Helper()
	now := p.Now()
	p.SetNow(sawAt)
	p.worker.Sight().Look(t.Context())
	p.SetNow(now)
	n.cut.Store(true)
	for range 2 {
		p.worker.Sight().Look(t.Context())
	}
	require.True(t, p.worker.Sight().Blind())
}

// requireAgreement checks that states are what follows from the log.
func (p *process) requireAgreement(t *testing.T, watched ...db.Monitor) {
	t.Helper()
	for _, monitor := range watched {
		want, got := p.replayed(t, monitor), p.State(t, monitor.ID)
		require.Equal(t, fmt.Sprint(want.Status, want.Failures, want.Successes),
			fmt.Sprint(got.Status, got.Failures, got.Successes), "%d: %v", monitor.ID, p.Scans(t, monitor.ID))
	}
}

// replayed is the state that follows from a monitor's log.
func (p *process) replayed(t *testing.T, monitor db.Monitor) uptime.State {
	t.Helper()
	state := uptime.Start(monitor.CreatedAt, false)
	scans, err := db.New(p.Pool).ListOutcomes(t.Context(), db.ListOutcomesParams{MonitorIDs: []int64{monitor.ID}})
	require.NoError(t, err)
	for _, scan := range scans {
		state = uptime.Decide(state, scan.Slot, scan.Outcome, uptime.Thresholds{
			Failure: monitor.FailureThreshold, Success: monitor.SuccessThreshold,
		})
	}
	return state
}

// F63: a sentinel is dead, and everything else answers.
func TestADeadSentinelBlindsNobody(t *testing.T) {
	t.Parallel()
	n := &network{}
	p := seeing(t, dbtest.New(t), "test", n)
	sight := p.worker.Sight()
	look := func(times int) (open []string) {
		for range times {
			p.SetNow(p.Now().Add(5 * time.Second))
			sight.Look(t.Context())
		}
		return dbtest.Column[string](t, p.Pool, "SELECT kind FROM warnings WHERE closed_at IS NULL ORDER BY kind")
	}
	monitor := db.Monitor{ID: 1, URL: "https://shop.example/"}
	sight.Scanned(monitor, probe.Result{Start: p.Now(), Outcome: uptime.OK})

	n.dead.Store(true)
	require.Empty(t, look(3), "one that stumbles is not dead")
	require.Equal(t, []string{"sentinel_silent"}, look(3))
	require.False(t, sight.Blind())
	require.Contains(t, dbtest.One[string](t, p.Pool, "SELECT message FROM warnings"), sentinel)
	p.Logs.Await(t, "sentinels do not answer, though the network is there")

	n.cut.Store(true)
	require.Equal(t, []string{"no_sight"}, look(3), "nor does anybody else")
	require.True(t, sight.Blind())
	n.cut.Store(false)
	require.Equal(t, []string{"sentinel_silent"}, look(1), "it is seen by the hosts of monitors alone")
	require.False(t, sight.Blind())
	n.dead.Store(false)
	require.Empty(t, look(1))
}

func TestSight(t *testing.T) {
	t.Parallel()

	t.Run("ABlindWorkerTakesNothingAndTakesBackWhatItWrote", func(t *testing.T) {
		t.Parallel()
		n := &network{}
		p := seeing(t, dbtest.New(t), "test", n)
		p.start(t, time.Second)
		t.Cleanup(wait.Beside(t.Context(), p.worker.Sight().Run))
		var watched []db.Monitor
		for i := range 8 {
			c := monitorstest.Of(monitorstest.URL("m%d", i), 86400)
			c.FailureThreshold = 1
			watched = append(watched, p.Create(t, c))
		}
		all := func(from string) func() bool {
			return func() bool { return p.Count(t, from) == len(watched) }
		}
		require.Eventually(t, all("monitor_states WHERE status = 'up'"), 10*time.Second, 10*time.Millisecond)

		// Right after a look, so that the scans fail before the next one.
		looks := n.looks.Load()
		require.Eventually(t, func() bool { return n.looks.Load() > looks }, 10*time.Second, time.Millisecond)
		n.cut.Store(true)
		for _, monitor := range watched {
			_, _, err := p.Store().Scan(t.Context(), monitor.ID)
			require.NoError(t, err)
		}
		require.Eventually(t, all("monitor_states WHERE status = 'down'"), 10*time.Second, time.Millisecond,
			"before it is known that the worker is blind")
		p.Logs.Await(t, "worker cannot see the network: it scans nothing until it does")
		require.Eventually(t, all("monitor_states WHERE status = 'up'"), 10*time.Second, 10*time.Millisecond)
		require.Equal(t, len(watched), p.Count(t, "monitor_log WHERE outcome = 'inconclusive' AND error = 'this worker cannot see the network'"))
		require.Zero(t, p.Count(t, "monitor_log WHERE outcome = 'connect_unreachable'"))
		p.requireAgreement(t, watched...)
		require.Equal(t, []string{"no_sight test"}, dbtest.Column[string](t, p.Pool,
			"SELECT kind || ' ' || array_to_string(processes, ',') FROM warnings WHERE closed_at IS NULL"))
		again := "river_job WHERE kind = 'scan' AND (args ->> 'in_place_of_blind')::boolean AND state = 'available'"
		require.Never(t, func() bool { return !all(again)() }, time.Second, 50*time.Millisecond, "they wait for one that sees")
		tend, err := p.worker.Queue().Insert(t.Context(), queue.TendArgs{}, nil)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return p.Count(t, "river_job WHERE id = $1 AND state = 'completed'", tend.Job.ID) == 1 },
			10*time.Second, 10*time.Millisecond, "it does the upkeep, which needs no network")

		n.cut.Store(false)
		p.Logs.Await(t, "worker sees the network again")
		require.Eventually(t, all("monitor_log WHERE reason = 'retry' AND outcome = 'ok'"), 10*time.Second, 10*time.Millisecond)
		require.Eventually(t, func() bool { return p.Count(t, "warnings WHERE closed_at IS NOT NULL") == 1 },
			5*time.Second, 10*time.Millisecond)
		require.Equal(t, 1, p.Count(t, "warnings"))
		p.requireAgreement(t, watched...)
	})

	t.Run("WhateverTwoWorkersWroteStatesAgreeWithTheLog", func(t *testing.T) {
		t.Parallel()
		n := &network{}
		p := seeing(t, dbtest.New(t), "w1", n)
		other := p.beside(t, "test", &network{})
		random := rand.New(rand.NewPCG(1, 2))
		outcomes := []uptime.Outcome{
			uptime.OK, uptime.OK, uptime.OK, uptime.TimeoutConnect, uptime.ConnectUnreachable, uptime.DNSServfail,
			uptime.StatusMismatch, uptime.Inconclusive,
		}
		var watched []db.Monitor
		for i := range 40 {
			c := monitorstest.Of(monitorstest.URL("random%d", i), 3600)
			c.FailureThreshold, c.SuccessThreshold = 1+random.IntN(3), 1+random.IntN(2)
			watched = append(watched, p.Create(t, c))
		}
		for second := range 12 {
			at := monitorstest.Noon.Add(time.Duration(second+1) * time.Second)
			p.SetNow(at)
			other.SetNow(at)
			for _, monitor := range watched {
				scan := dbtest.Scan(monitor.ID, at)
				scan.Outcome = outcomes[random.IntN(len(outcomes))]
				recorder := other.worker.Recorder()
				if random.IntN(3) > 0 {
					scan.Worker, recorder = "w1", p.worker.Recorder()
				}
				go func() { _ = recorder.Record(context.Background(), scan, nil) }()
			}
			require.Eventually(t, func() bool {
				return p.Count(t, "monitor_log WHERE slot = $1", at) == len(watched)
			}, 10*time.Second, time.Millisecond)
		}
		p.requireAgreement(t, watched...)

		sawAt := monitorstest.Noon.Add(6 * time.Second)
		p.goBlind(t, n, sawAt)
		require.Zero(t, p.Count(t, `monitor_log WHERE worker = 'w1' AND slot >= $1
			AND outcome IN ('timeout_connect', 'connect_unreachable', 'dns_servfail')`, sawAt))
		require.Positive(t, p.Count(t, "monitor_log WHERE worker = 'w1' AND slot < $1 AND outcome = 'timeout_connect'", sawAt),
			"it saw then")
		require.Positive(t, p.Count(t, "monitor_log WHERE worker = 'test' AND slot > $1 AND outcome = 'timeout_connect'", sawAt),
			"another worker sees")
		p.requireAgreement(t, watched...)
		require.Equal(t, p.Count(t, "(SELECT DISTINCT monitor_id FROM monitor_log WHERE error = 'this worker cannot see the network') AS m"),
			p.Count(t, "river_job WHERE kind = 'scan' AND (args ->> 'in_place_of_blind')::boolean"), "one scan in the place of each monitor's")
		for _, monitor := range watched {
			require.True(t, p.replayed(t, monitor).Since.Equal(p.State(t, monitor.ID).Since))
		}
	})

	t.Run("AChangeThatIsTakenBackIsLoggedLikeAnyOther", func(t *testing.T) {
		t.Parallel()
		n := &network{}
		p := seeing(t, dbtest.New(t), "test", n)
		c := monitorstest.Of(monitorstest.URL("logged"), 3600)
		c.FailureThreshold = 1
		monitor := p.Create(t, c)
		p.record(t, monitor, monitorstest.Noon.Add(time.Second), uptime.OK, uptime.TimeoutConnect)
		changes := func() int { return strings.Count(strings.Join(p.Logs.All(), "\n"), "status changed") }
		before := changes()
		p.goBlind(t, n, monitorstest.Noon)
		require.Equal(t, uptime.Up, p.State(t, monitor.ID).Status)
		require.Equal(t, before+1, changes())
	})

	t.Run("WhatCannotBeAskedForAgainNowIsAllAskedForLater", func(t *testing.T) {
		t.Parallel()
		n := &network{}
		p := seeing(t, dbtest.New(t), "test", n)
		p.goBlind(t, n, monitorstest.Noon)
		for id := range int64(1200) {
			p.worker.Sight().Scanned(db.Monitor{ID: id + 1, URL: "https://shop.example/"},
				probe.Result{Start: p.Now(), Outcome: uptime.ConnectUnreachable})
		}
		again := func() int { return p.Count(t, "river_job WHERE (args ->> 'in_place_of_blind')::boolean") }
		p.Exec(t, "ALTER TABLE river_job ADD CONSTRAINT no_700 CHECK (args ->> 'monitor_id' <> '700')")
		p.worker.Sight().Look(t.Context())
		require.Equal(t, 500, again(), "the first of three statements")
		p.Exec(t, "ALTER TABLE river_job DROP CONSTRAINT no_700")
		p.worker.Sight().Look(t.Context())
		require.Equal(t, 1200, again())
	})

	t.Run("AMonitorThatBeganAnewMeanwhileStaysSo", func(t *testing.T) {
		t.Parallel()
		n := &network{}
		p := seeing(t, dbtest.New(t), "test", n)
		c := monitorstest.Of(monitorstest.URL("anew"), 3600)
		c.FailureThreshold = 1
		monitor := p.Create(t, c)
		p.record(t, monitor, monitorstest.Noon.Add(time.Second), uptime.OK, uptime.TimeoutConnect)
		require.Equal(t, uptime.Down, p.State(t, monitor.ID).Status)
		p.SetNow(monitorstest.Noon.Add(10 * time.Second))
		p.Edit(t, monitor.ID, func(c *monitors.Monitor) { c.URL = monitorstest.URL("elsewhere") })
		p.goBlind(t, n, monitorstest.Noon)
		require.Equal(t, []string{"round ok", "round inconclusive"}, p.Scans(t, monitor.ID))
		state := p.State(t, monitor.ID)
		require.Equal(t, uptime.Pending, state.Status)
		require.True(t, state.Since.Equal(monitorstest.Noon.Add(10*time.Second)))
	})

	t.Run("AStateIsMendedWhoseRowWasTakenBackBeforeTheRecorderTold", func(t *testing.T) {
		t.Parallel()
		n := &network{}
		p := seeing(t, dbtest.New(t), "test", n)
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("told"), 3600))
		p.record(t, monitor, monitorstest.Noon.Add(time.Second), uptime.OK, uptime.TimeoutConnect)
		p.Exec(t, "UPDATE monitor_log SET outcome = 'inconclusive' WHERE outcome = 'timeout_connect'")
		require.Equal(t, 1, p.State(t, monitor.ID).Failures)
		p.goBlind(t, n, monitorstest.Noon)
		p.requireAgreement(t, monitor)
		require.Zero(t, p.State(t, monitor.ID).Failures)
	})

	t.Run("OneWarningForAllWorkers", func(t *testing.T) {
		t.Parallel()
		n1, n2 := &network{}, &network{}
		p := seeing(t, dbtest.New(t), "w1", n1)
		other := seeing(t, p.Pool, "w2", n2)
		first, second := p.worker.Sight(), other.worker.Sight()
		warnings := func() []string {
			return dbtest.Column[string](t, p.Pool, `SELECT concat_ws(' ', array_to_string(processes, ','), array_to_string(open_processes, ','),
				extract(epoch FROM seen_at - opened_at)::int, closed_at IS NOT NULL) FROM warnings ORDER BY id`)
		}
		p.goBlind(t, n1, monitorstest.Noon)
		first.Look(t.Context())
		require.Equal(t, []string{"w1 w1 0 f"}, warnings())
		p.SetNow(monitorstest.Noon.Add(5 * time.Second))
		other.SetNow(monitorstest.Noon.Add(5 * time.Second))
		other.goBlind(t, n2, monitorstest.Noon)
		first.Look(t.Context())
		require.Equal(t, []string{"w1,w2 w1,w2 5 f"}, warnings())
		n1.cut.Store(false)
		first.Look(t.Context())
		require.Equal(t, []string{"w1,w2 w2 5 f"}, warnings())
		p.tend(t)
		require.Equal(t, []string{"w1,w2 w2 5 f"}, warnings(), "it is renewed")

		p.SetNow(monitorstest.Noon.Add(66 * time.Second)) // w2 was killed
		p.tend(t)
		require.Equal(t, []string{"w1,w2  5 t"}, warnings())
		n2.cut.Store(false)
		second.Look(t.Context())
		require.Equal(t, []string{"w1,w2  5 t"}, warnings())
		p.SetNow(monitorstest.Noon.Add(70 * time.Second))
		p.goBlind(t, n1, monitorstest.Noon)
		n1.cut.Store(false)
		first.Look(t.Context())
		require.Equal(t, []string{"w1,w2  5 t", "w1  0 t"}, warnings())
	})

	t.Run("AScanInThePlaceOfOneThatToldNothingIsWantedThoughThereIsNoDoubt", func(t *testing.T) {
		t.Parallel()
		p := newProcessOn(t, dbtest.New(t), &network{}, jobs.Limits{Probes: 1, ProbesPerHost: 1})
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("again"), 3600))
		args := queue.ScanArgs{MonitorID: monitor.ID, At: monitorstest.Noon.Add(time.Microsecond), Reason: queue.ReasonRetry, InPlaceOfBlind: true}
		result, err := work(t, p, p.worker.ScanWorker(), args)
		require.NoError(t, err)
		require.Equal(t, rivertype.JobStateCompleted, result.Job.State)
		require.Equal(t, []string{"retry ok"}, p.Scans(t, monitor.ID))
	})

	t.Run("WithoutDatabaseNothingIsForgotten", func(t *testing.T) {
		t.Parallel()
		n := &network{}
		proxy, databaseURL := dbtest.NewProxy(t, dbtest.URL(t))
		p := seeing(t, dbtest.Open(t, databaseURL), "test", n)
		c := monitorstest.Of(monitorstest.URL("away"), 3600)
		c.FailureThreshold = 1
		monitor := p.Create(t, c)
		p.record(t, monitor, monitorstest.Noon.Add(time.Second), uptime.OK, uptime.TimeoutConnect)
		missed := p.Create(t, monitorstest.Of(monitorstest.URL("missed"), 3600))
		proxy.SetDown(true)
		p.goBlind(t, n, monitorstest.Noon)
		proxy.SetDown(false)
		args := queue.ScanArgs{MonitorID: missed.ID, At: monitorstest.Noon.Add(time.Microsecond), Reason: queue.ReasonAsked}
		_, err := work(t, p, p.worker.ScanWorker(), args)
		require.NoError(t, err)
		require.Equal(t, []string{"asked inconclusive"}, p.Scans(t, missed.ID))

		proxy.SetDown(true)
		p.worker.Sight().Look(t.Context())
		for _, message := range []string{
			"warning is not written", "failures of a blind worker are not taken back yet",
			"scans of a blind worker are not asked for again yet",
		} {
			require.Contains(t, p.Logs.All(), message)
		}
		proxy.SetDown(false)
		inPlaceOfBlind := func() int { return p.Count(t, "river_job WHERE (args ->> 'in_place_of_blind')::boolean") }
		require.Zero(t, inPlaceOfBlind())
		p.worker.Sight().Look(t.Context())
		require.Equal(t, 2, inPlaceOfBlind())
		require.Equal(t, []string{"round ok", "round inconclusive"}, p.Scans(t, monitor.ID))
		require.Equal(t, uptime.Up, p.State(t, monitor.ID).Status)
		require.Equal(t, 1, p.Count(t, "warnings"))
	})
}
