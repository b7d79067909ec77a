//go:build linux

package chaos_test

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// Why slots are missed when workers die, and it may be that none is there for a moment.
var lostWithWorkers = []string{"worker_lost", "service_down"}

// A chain that stood still begins again in the middle of a slot, and so late by up to an interval, and what a busy
// machine adds.
const lateAgain = (interval + 5) * time.Second

// afterDeath is the setup of a fault that kills a worker: only the slots are at stake whose rounds it had.
func afterDeath(workers int) setup {
	return setup{workers: workers, gaps: []string{"worker_lost"}}
}

// afterSleep is that of faults that freeze workers, whose scans go on where they were.
func afterSleep(workers int) setup {
	return setup{workers: workers, gaps: lostWithWorkers, late: 3 * time.Minute}
}

// Faults of our own processes: killed, frozen, stopped.
func processFaults() []fault {
	return []fault{
		{"F01", "a worker is killed in the middle of scans", true, afterDeath(2), killWorker},
		{"F02", "all workers are dead for a while", false, setup{monitors: 200, noClient: true, gaps: lostWithWorkers, late: lateAgain}, killAllWorkers},
		{"F03", "workers are killed again and again", false, setup{workers: 3, gaps: lostWithWorkers, late: lateAgain}, killStorm},
		{"F04", "a worker is frozen past its rescue", false, afterSleep(2), freezeWorker},
		{"F05", "a worker is asked to stop", true, setup{}, stopWorker},
		{"F31", "River's leader dies", false, afterDeath(3), killLeader},
		{"F32", "an old leader wakes up", false, afterSleep(3), freezeLeader},
	}
}

func killWorker(t *testing.T, w *world) {
	t.Helper()
	w.target.answers(answerAfter(3 * time.Second))
	time.Sleep(w.between(3*time.Second, 4*time.Second)) // some scans are open now, whichever second it is
	victim := w.busiest(t)
	victim.kill(t)
	killed := time.Now()
	w.calm = killed
	w.target.answers(answerAtOnce)
	w.requireOnTime(t, killed, time.Second)
	if !*longRun {
		return
	}
	require.Eventually(t, func() bool {
		return len(w.ask(t, "SELECT slot::text FROM unaccounted_slots(@since, @until)",
			pgx.NamedArgs{"since": w.began.Add(-time.Minute), "until": killed})) == 0
	}, 95*time.Second, time.Second, "what the worker had open is not declared: 60 s until it is lost, 30 s until somebody looks")
	require.NotEmpty(t, w.ask(t, "SELECT reason FROM scan_gaps WHERE reason = 'worker_lost'", nil))
}

// busiest gives the worker with the most jobs: River does not deal them out evenly.
func (w *world) busiest(t *testing.T) *process {
	t.Helper()
	var names []string
	require.Eventually(t, func() bool {
		names = w.ask(t, `SELECT attempted_by[array_length(attempted_by, 1)] AS worker FROM river_job
			WHERE state = 'running' AND kind = 'round' GROUP BY worker ORDER BY count(*) DESC, worker`, nil)
		return len(names) > 0
	}, 20*time.Second, 10*time.Millisecond, "nobody has a round")
	i := slices.IndexFunc(w.workers, func(p *process) bool { return p.name(t) == names[0] })
	require.GreaterOrEqual(t, i, 0)
	return w.workers[i]
}

// requireOnTime looks at an interval from a moment after an instant on: every chain of rounds goes on. How soon is a matter of
// the long run. In the short one, on a busy machine, it is before anybody is rescued, which takes a minute: by itself.
func (w *world) requireOnTime(t *testing.T, from time.Time, slack time.Duration) {
	t.Helper()
	slots := pgx.NamedArgs{"from": from.Add(slack), "until": from.Add(slack + interval*time.Second)}
	var missing []string
	look := func() bool {
		missing = w.ask(t, `SELECT DISTINCT 'monitor ' || u.monitor_id || ' at ' || u.slot FROM unaccounted_slots(@from, @until) AS u`, slots)
		return len(missing) == 0
	}
	time.Sleep(time.Until(from.Add(interval*time.Second + slack)))
	require.Eventually(t, look, full(40*time.Second, 2*time.Second), 200*time.Millisecond, "others are not scanned on time: %v", &missing)
}

func killAllWorkers(t *testing.T, w *world) {
	t.Helper()
	w.hurt(func() {
		for _, p := range w.workers {
			p.kill(t)
		}
		time.Sleep(full(23*time.Second, time.Minute))
		for range w.workers {
			w.workers = append(w.workers, w.startWorker(t))
		}
	})
	back := time.Now()
	time.Sleep(interval * time.Second)
	w.requireNoBurst(t, back)
	overlapping := w.ask(t, `
		SELECT 'phase ' || a.phase_ms FROM scan_gaps AS a
		JOIN scan_gaps AS b ON b.interval_seconds = a.interval_seconds AND b.phase_ms = a.phase_ms AND b.ctid > a.ctid
			AND a.reason = 'service_down' AND b.reason = 'service_down'
			AND a.from_slot <= b.to_slot AND b.from_slot <= a.to_slot`, nil)
	require.Empty(t, overlapping, "one gap says it")
}

// requireNoBurst looks at an interval after all were away: each monitor was asked for its present slot, at most for the
// next one as well, and not all in one moment. Those that wake are spread over three quarters of an interval, while the
// next slots come: in each second 23 % of all are due, and by chance some more.
func (w *world) requireNoBurst(t *testing.T, from time.Time) {
	t.Helper()
	perPath, perSecond := map[string]int{}, map[int64]int{}
	for _, h := range w.target.hitsSince(from) {
		if h.at.Before(from.Add(interval * time.Second)) {
			perPath[h.path]++
			perSecond[h.at.Unix()]++
		}
	}
	for path, count := range perPath {
		require.LessOrEqual(t, count, 2, "%s: old slots are caught up with", path)
	}
	for second, count := range perSecond {
		require.LessOrEqual(t, count, len(w.created)*35/100, "at %d", second)
	}
}

// killStorm kills thirty workers or so. (In ten minutes they would be two hundred, and no other ones.)
func killStorm(t *testing.T, w *world) {
	t.Helper()
	for until := time.Now().Add(90 * time.Second); time.Now().Before(until); {
		time.Sleep(w.between(time.Second, 5*time.Second))
		w.anyWorker(t).kill(t)
		w.workers = append(w.workers, w.startWorker(t))
	}
	w.calm = time.Now()
	time.Sleep(95 * time.Second) // as after one that is killed
	require.Empty(t, w.ask(t, `SELECT args::text FROM river_job
		WHERE state = 'running' AND attempted_at < now() - INTERVAL '1 minute'`, nil), "what the dead had is never given back")
	living := 5 * len(slices.DeleteFunc(w.processes(), func(p *process) bool { return !p.alive() }))
	require.LessOrEqual(t, len(w.ask(t, `SELECT pid::text FROM pg_stat_activity
		WHERE datname = current_database() AND application_name = 'riverwatch' AND pid <> pg_backend_pid()`, nil)),
		living+int(w.direct.Config().MaxConns), "sessions of the dead stay open")
}

func freezeWorker(t *testing.T, w *world) {
	t.Helper()
	w.target.answers(answerAfter(3 * time.Second))
	time.Sleep(w.between(3*time.Second, 4*time.Second))
	zombie := w.busiest(t)
	zombie.signal(t, syscall.SIGSTOP)
	frozen := time.Now()
	w.target.answers(answerAtOnce)
	time.Sleep(100 * time.Second) // 60 s until a job is stuck, 30 s until the rescuer looks
	states := w.states(t)
	zombie.signal(t, syscall.SIGCONT)
	time.Sleep(5 * time.Second)
	require.Equal(t, states, w.states(t), "what the zombie brought moves no state back")
	require.Greater(t, time.Since(frozen), 100*time.Second)
}

// states gives the status of each of the first monitors.
func (w *world) states(t *testing.T) []string {
	t.Helper()
	return w.ask(t, `SELECT monitor_id || ' ' || status || ' since ' || since FROM monitor_states
		WHERE monitor_id = ANY(@ids) ORDER BY monitor_id`, pgx.NamedArgs{"ids": w.monitors})
}

func stopWorker(t *testing.T, w *world) {
	t.Helper()
	w.target.answers(answerAfter(3 * time.Second))
	time.Sleep(w.between(3*time.Second, 4*time.Second))
	p := w.busiest(t)
	name := p.name(t)
	asked := time.Now()
	took, code := p.terminate(t)
	require.Zero(t, code)
	require.Less(t, took, 25*time.Second)
	w.target.answers(answerAtOnce)
	w.calm = asked

	require.Empty(t, w.ask(t, `SELECT monitor_id || ' at ' || slot FROM monitor_log
		WHERE worker = @name AND slot + late_ms * INTERVAL '1 ms' > @later`,
		pgx.NamedArgs{"name": name, "later": asked.Add(2 * time.Second)}), "it takes nothing new")
	require.Empty(t, w.ask(t, `SELECT args::text FROM river_job
		WHERE state = 'running' AND attempted_by[array_length(attempted_by, 1)] = @name`,
		pgx.NamedArgs{"name": name}), "it leaves no job open")
}

// leader gives the worker that is River's leader.
func (w *world) leader(t *testing.T) *process {
	t.Helper()
	var leader *process
	require.Eventually(t, func() bool {
		ids := w.ask(t, "SELECT leader_id FROM river_leader WHERE expires_at > now()", nil)
		i := slices.IndexFunc(w.workers, func(p *process) bool { return p.alive() && slices.Contains(ids, p.name(t)) })
		if i >= 0 {
			leader = w.workers[i]
		}
		return i >= 0
	}, time.Minute, 100*time.Millisecond, "nobody is the leader")
	return leader
}

func killLeader(t *testing.T, w *world) {
	t.Helper()
	old := w.leader(t)
	old.kill(t)
	killed := time.Now()
	w.calm = killed
	require.NotSame(t, old, w.leader(t))
	took := time.Since(killed)
	t.Logf("a new leader after %s", took.Round(time.Second))
	require.Less(t, took, 21*time.Second, "its term of 15 s, and 6 s until somebody asks")
	w.requireOnTime(t, killed, time.Second)
}

func freezeLeader(t *testing.T, w *world) {
	t.Helper()
	old := w.leader(t)
	old.signal(t, syscall.SIGSTOP)
	time.Sleep(30 * time.Second)
	require.NotSame(t, old, w.leader(t))
	old.signal(t, syscall.SIGCONT)
	time.Sleep(30 * time.Second)
}
