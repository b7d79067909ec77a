//go:build linux

package chaos_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/queue"
	"riverwatch/uptime"
)

// Faults of more work than there are processors for.
func overloadFaults() []fault {
	return []fault{
		{"F59", "there is more to scan than the processor carries", false, setup{
			alone: true, workers: 1, noClient: true, gaps: []string{"overloaded", "service_down"}, late: interval * time.Second,
		}, overload},
	}
}

const (
	// The worker's share of a processor, in periods such as control groups have by default.
	overloadShare = 0.25
	// It has its share though many others compute beside it, as processes of a whole run do.
	overloadWeight = "10000"
)

// overload gives a worker a quarter of a processor, by which it scans over TLS, at first three quarters of what it can, and
// then twice as much. What a scan costs in the first tells what the processor carries.
func overload(t *testing.T, w *world) {
	t.Helper()
	quota := strconv.Itoa(int(overloadShare * 100_000))
	group := limit{
		"cpu",
		map[string]string{"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": quota, "cpu.shares": overloadWeight},
		map[string]string{"cpu.max": quota + " 100000", "cpu.weight": overloadWeight},
	}
	prefix := cgroup(t, group)
	w.workers[0].terminate(t)
	worker := start(t, w.program, w.env(
		"RIVERWATCH_PROBES_PER_HOST=2000", "RIVERWATCH_DB_CONNECTIONS=10", "RIVERWATCH_METRICS_LISTEN=off",
	), prefix, "worker")
	w.workers = append(w.workers, worker)
	name := worker.name(t)
	s := httptest.NewUnstartedServer(http.HandlerFunc(w.target.serve))
	s.Config.ErrorLog = w.target.Config.ErrorLog
	s.StartTLS()
	t.Cleanup(s.Close)

	measure := func(what string, monitors int, d time.Duration) load {
		time.Sleep(2 * interval * time.Second) // it settles
		from, before := time.Now(), cpuOf(t, worker)
		time.Sleep(d)
		l := w.loadOf(t, name, from, time.Now(), cpuOf(t, worker)-before)
		t.Logf("%s, %d monitors: %s", what, monitors, l)
		return l
	}
	count := 400
	w.insertFleet(t, s.URL, 0, count)
	first := measure("a little", count, 2*interval*time.Second)
	more := int(0.75*overloadShare/first.each.Seconds()*interval) - count
	if more > 0 {
		w.insertFleet(t, s.URL, count, more)
		count += more
	}
	carried := measure("three quarters", count, 3*interval*time.Second)
	require.Empty(t, carried.gaps, "it carries this")
	capacity := overloadShare / carried.each.Seconds()

	wanted := int(2 * capacity * interval)
	var over load
	w.hurt(func() {
		w.insertFleet(t, s.URL, count, wanted-count)
		over = measure("twice what it carries", wanted, 6*interval*time.Second)
	})
	t.Logf("it carries %.0f scans a second, and does %.0f: %.0f %%", capacity, over.perSecond, 100*over.perSecond/capacity)
	require.NotEmpty(t, over.gaps, "the fault is not felt")
	require.Greater(t, over.perSecond, 0.9*capacity)
	require.Less(t, over.lateP99, interval*time.Second)

	// With all of a processor it is on time again, within two intervals.
	lift(t, prefix[len(prefix)-1])
	w.calm = time.Now()
	time.Sleep(2 * interval * time.Second)
	from := time.Now()
	time.Sleep(3 * interval * time.Second)
	after := w.loadOf(t, name, from, time.Now(), 0)
	t.Logf("after it: %s", after)
	require.Empty(t, after.gaps)
	require.Less(t, after.lateP99, full(lateAgain, time.Second))
}

// load is what a worker did in some time.
type load struct {
	perSecond float64       // good scans
	each      time.Duration // of a processor
	lateP99   time.Duration
	outcomes  []string
	gaps      []string
}

func (l load) String() string {
	return fmt.Sprintf("%.0f good scans a second, %s each, p99 %s late, %v, gaps %v", l.perSecond, l.each, l.lateP99, l.outcomes, l.gaps)
}

func (w *world) loadOf(t *testing.T, worker string, from, until time.Time, cpu time.Duration) (l load) {
	t.Helper()
	args := pgx.NamedArgs{"worker": worker, "from": from, "until": until.Add(-interval * time.Second / 2)}
	l.outcomes = w.ask(t, `SELECT outcome || ' ' || count(*) FROM monitor_log
		WHERE worker = @worker AND slot >= @from AND slot < @until GROUP BY outcome`, args)
	l.gaps = w.ask(t, "SELECT reason || ' ' || count(*) FROM scan_gaps WHERE from_slot >= @from AND from_slot < @until GROUP BY reason", args)
	var good int
	var lateMS float64
	require.NoError(t, w.direct.QueryRow(t.Context(), `
		SELECT count(*) FILTER (WHERE outcome = 'ok'), coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY late_ms), 0)
		FROM monitor_log
		WHERE worker = @worker AND reason = 'round' AND slot + make_interval(secs => late_ms / 1e3) BETWEEN @began AND @ended`,
		pgx.NamedArgs{"worker": worker, "began": from, "ended": until}).Scan(&good, &lateMS))
	l.perSecond, l.lateP99 = float64(good)/until.Sub(from).Seconds(), time.Duration(lateMS*float64(time.Millisecond))
	l.each = cpu / time.Duration(max(1, good))
	return l
}

// insertFleet inserts monitors with ids and paths from first on, in all phases of an interval.
func (w *world) insertFleet(t *testing.T, url string, first, count int) {
	t.Helper()
	const phases = interval * 4
	var rounds []river.InsertManyParams
	for phase := range phases {
		schedule := uptime.Schedule{Interval: interval, PhaseMS: 250 * phase}
		slot := schedule.SlotAfter(time.Now().Add(3 * time.Second))
		size := count*(phase+1)/phases - count*phase/phases
		dbtest.Monitors(t, w.direct, schedule, slot, size, func(n int, m *db.Monitor) {
			n = first + count*phase/phases + n
			m.ID, m.URL, m.TimeoutMS = int64(1_000_001+n), fmt.Sprintf("%s/fleet/%d", url, n), 5000
			m.FailureThreshold, m.SuccessThreshold, m.RetryIntervalSeconds = 1, 1, 86400
			m.AcceptedStatuses, m.MaxRedirects, m.Request = []string{"200"}, 0, []byte(`{"tls_skip_verify": true}`)
		})
		rounds = append(rounds, queue.Round(schedule, slot))
	}
	_, err := newQueue(t, w.direct).InsertMany(t.Context(), rounds)
	require.NoError(t, err)
}

// cpuOf gives the processor time that a process has used.
func cpuOf(t *testing.T, p *process) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	require.NoError(t, err)
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')'):]))
	var ticks int
	for _, field := range fields[12:14] { // utime, stime, in hundredths of a second
		n, err := strconv.Atoi(field)
		require.NoError(t, err)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// lift takes the limit of processors from a control group.
func lift(t *testing.T, group string) {
	t.Helper()
	for name, all := range map[string]string{"cpu.cfs_quota_us": "-1", "cpu.max": "max"} {
		path := filepath.Join(group, name)
		if _, err := os.Stat(path); err == nil {
			require.NoError(t, os.WriteFile(path, []byte(all), 0o644))
		}
	}
}
