//go:build linux

package chaos_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Faults of what a worker needs of its host: memory, files, ports, processor; and of targets that use all of it up.
func resourceFaults() []fault {
	starved := setup{workers: 1, gaps: []string{"overloaded", "service_down"}, late: time.Minute, noClient: true}
	return []fault{
		{"F06", "a worker is short of memory", false, setup{monitors: 100}, floodMemory},
		{"F37", "slow targets fill the pool", false, setup{monitors: 60, workerEnv: []string{"RIVERWATCH_PROBES=40"}}, hangMost},
		{"F38", "ten thousand targets are silent at once", false, setup{noClient: true, workerEnv: []string{
			"RIVERWATCH_PROBES=10000", "RIVERWATCH_PROBES_PER_HOST=10000",
		}, late: 13 * time.Second}, silenceAll},
		{"F43", "files are used up", true, starved, useUpFiles},
		{"F44", "local ports are used up", true, withNetwork(starved), useUpPorts},
		{"F45", "the processor is somewhere else", false, withTimeout(starved, time.Second), starve},
	}
}

// withTimeout gives monitors less time than they have by default.
func withTimeout(s setup, timeout time.Duration) setup {
	s.config = map[string]any{"timeout_ms": timeout.Milliseconds()}
	return s
}

// replaceWorker kills the only worker, between its scans, and starts one under a program that limits it.
func (w *world) replaceWorker(t *testing.T, prefix ...string) *process {
	t.Helper()
	w.workers[0].terminate(t)
	p := w.startWorkerUnder(t, prefix)
	w.workers = append(w.workers, p)
	return p
}

// requireInconclusive looks whether the fault was felt, and whether as our own: the rest is in the checks.
func (w *world) requireInconclusive(t *testing.T, since time.Time) {
	t.Helper()
	felt := w.ask(t, `SELECT coalesce(error, '') FROM monitor_log WHERE outcome = 'inconclusive' AND slot >= @since
		UNION ALL SELECT reason FROM scan_gaps WHERE from_slot >= @since`, map[string]any{"since": since})
	require.NotEmpty(t, felt, "the fault is not felt")
	t.Logf("felt %d times, such as %q", len(felt), felt[0])
}

func useUpFiles(t *testing.T, w *world) {
	t.Helper()
	since := time.Now()
	w.target.answers(answerAfter(4 * time.Second))
	limited := w.replaceWorker(t, "prlimit", "--nofile=22:22")
	time.Sleep(full(12*time.Second, time.Minute))
	w.requireInconclusive(t, since)
	w.target.answers(answerAtOnce)
	limited.terminate(t)
	w.workers = append(w.workers, w.startWorker(t))
}

// cgroup makes a control group of a controller, and gives what runs a program in it.
func cgroup(t *testing.T, controller string, settings map[string]string) (prefix []string) {
	t.Helper()
	dir := fmt.Sprintf("/sys/fs/cgroup/%s/riverwatch-chaos-%d", controller, time.Now().UnixNano())
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("needs cgroups (v1) that it may make: %v", err)
	}
	t.Cleanup(func() {
		require.Eventually(t, func() bool { return os.Remove(dir) == nil }, 10*time.Second, 50*time.Millisecond)
	})
	for name, value := range settings {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o644); err != nil {
			t.Skipf("needs the cgroup setting %s: %v", name, err)
		}
	}
	return []string{"sh", "-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, dir}
}

// starve gives the worker so little of the processor that its deadlines pass while it waits for its turn.
func starve(t *testing.T, w *world) {
	t.Helper()
	since := time.Now()
	prefix := cgroup(t, "cpu", map[string]string{"cpu.cfs_period_us": "1000000", "cpu.cfs_quota_us": "20000"})
	w.workers[0].terminate(t)
	starved := start(t, w.program, w.env(), prefix, "worker")
	w.workers = append(w.workers, starved)
	time.Sleep(full(15*time.Second, time.Minute))
	w.target.answers(answerAtOnce)
	starved.kill(t) // it would take minutes to stop
	w.gaps = append(w.gaps, lostWithWorkers...)
	w.workers = append(w.workers, w.startWorker(t))
	w.calm = time.Now()
	t.Logf("%d scans of a starved worker", len(w.ask(t,
		"SELECT outcome FROM monitor_log WHERE slot >= @since", map[string]any{"since": since})))
}

// floodMemory sends each monitor a megabyte, or a kilobyte that becomes a gigabyte.
func floodMemory(t *testing.T, w *world) {
	t.Helper()
	const limit = 256 << 20
	prefix := cgroup(t, "memory", map[string]string{"memory.limit_in_bytes": itoa(limit)})
	limited := w.startWorkerUnder(t, prefix, "GOMEMLIMIT=200MiB")
	w.workers[0].terminate(t)
	w.workers[1].terminate(t)
	w.workers = append(w.workers, limited)
	w.target.answers(flood())
	time.Sleep(full(11*time.Second, time.Minute))
	require.True(t, limited.alive(), "it was killed for its memory")
	peak := limited.peakMemory(t)
	require.Less(t, peak, limit)
	t.Logf("at most %d MiB", peak>>20)
	w.target.answers(answerAtOnce)
}

func flood() answer {
	plain := bytes.Repeat([]byte("all is well and much of it\n"), 1<<20/27)
	var bomb bytes.Buffer
	packer := gzip.NewWriter(&bomb)
	for range 64 {
		_, _ = packer.Write(make([]byte, 1<<20))
	}
	_ = packer.Close()
	return func(w http.ResponseWriter, r *http.Request) bool {
		body := plain
		if len(r.URL.Path)%2 == 0 {
			w.Header().Set("Content-Encoding", "gzip")
			body = bomb.Bytes()
		}
		_, _ = w.Write(body) // whoever has read enough hangs up
		return true
	}
}

// hangMost lets 60 % of all monitors wait for their deadlines, at another host than the others.
func hangMost(t *testing.T, w *world) {
	t.Helper()
	hanging := newTarget(t)
	hanging.answers(func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return false
	})
	var configs []map[string]any
	for n := range 90 {
		config := w.monitorConfig("")
		config["url"] = fmt.Sprintf("%s/hang/%d", hanging.URL, n)
		configs = append(configs, config)
	}
	status, err := w.post(t.Context(), "/api/v1/monitors/bulk", map[string]any{"monitors": configs}, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	w.sick = true // the checks know one ledger only
	from := time.Now().Add(interval * time.Second)
	time.Sleep(time.Minute)
	late := w.ask(t, `SELECT percentile_disc(0.99) WITHIN GROUP (ORDER BY late_ms)::text FROM monitor_log
		WHERE monitor_id = ANY(@ids) AND slot >= @from`, map[string]any{"ids": w.monitors, "from": from})
	require.Empty(t, w.ask(t, `SELECT outcome FROM monitor_log
		WHERE monitor_id = ANY(@ids) AND outcome NOT IN ('ok', 'inconclusive')`, map[string]any{"ids": w.monitors}))
	require.Less(t, atoi(t, late[0]), 2000, "healthy monitors wait for the hanging ones")
}

// silenceAll gives one round ten thousand monitors whose targets say nothing.
func silenceAll(t *testing.T, w *world) {
	t.Helper()
	const many = 10_000
	w.sick = true
	w.target.answers(func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return false
	})
	slot := w.insertMany(t, many)
	time.Sleep(time.Until(slot))
	for _, p := range w.workers {
		t.Logf("before: at most %d MiB", p.peakMemory(t)>>20)
	}
	within := 5*time.Second + 5*time.Second + full(0, 10*time.Second) // the timeout, what the fault grants, a busy machine
	time.Sleep(time.Until(slot.Add(within)))
	told := w.ask(t, `SELECT outcome || ' ' || count(*) FROM monitor_log WHERE slot = @slot AND monitor_id >= 1000000
		GROUP BY outcome`, map[string]any{"slot": slot})
	t.Logf("%v", told)
	for _, p := range w.workers {
		t.Logf("after: at most %d MiB", p.peakMemory(t)>>20)
		require.Less(t, p.peakMemory(t), 300<<20+many*64<<10)
	}
	require.Len(t, w.ask(t, `SELECT monitor_id::text FROM monitor_log WHERE slot = @slot AND monitor_id >= 1000000`,
		map[string]any{"slot": slot}), many, "verdicts are missing %s after the slot", within)
	w.target.answers(answerAtOnce)
}

// withNetwork gives the world an address that a worker in a network of its own can reach.
func withNetwork(s setup) setup {
	s.prepare = func(t *testing.T, w *world) {
		t.Helper()
		n := os.Getpid() % 250
		w.host = fmt.Sprintf("10.213.%d.1", n)
		w.link = fmt.Sprintf("rwchaos%d", n)
		if out, err := ip("link", "add", w.link, "type", "veth", "peer", "name", w.link+"p"); err != nil {
			t.Skipf("needs to be allowed to make a network: %s", out)
		}
		t.Cleanup(func() { _, _ = ip("link", "del", w.link) })
		// On the loopback device, because the other one goes with the worker's network.
		mustIP(t, "addr", "add", w.host+"/32", "dev", "lo")
		t.Cleanup(func() { _, _ = ip("addr", "del", w.host+"/32", "dev", "lo") })
		mustIP(t, "link", "set", w.link, "up")
		mustIP(t, "route", "add", strings.TrimSuffix(w.host, ".1")+".2/32", "dev", w.link, "src", w.host)
	}
	return s
}

func ip(args ...string) (string, error) {
	out, err := exec.Command("ip", args...).CombinedOutput()
	return string(out), err
}

func mustIP(t *testing.T, args ...string) {
	t.Helper()
	out, err := ip(args...)
	require.NoError(t, err, "ip %v: %s", args, out)
}

// useUpPorts gives the worker a network in which connections have few ports to come from.
func useUpPorts(t *testing.T, w *world) {
	t.Helper()
	since := time.Now()
	w.target.answers(answerAfter(4 * time.Second))
	w.workers[0].terminate(t)
	limited := start(t, w.program, w.env(), []string{"unshare", "-n"}, "worker") // it waits until it finds its database
	w.workers = append(w.workers, limited)
	pid := itoa(limited.cmd.Process.Pid)
	require.Eventually(t, func() bool { // unshare has done its work
		ours, _ := os.Readlink("/proc/self/ns/net")
		its, _ := os.Readlink("/proc/" + pid + "/ns/net")
		return its != "" && its != ours
	}, 10*time.Second, 10*time.Millisecond)
	mustIP(t, "link", "set", w.link+"p", "netns", pid)
	out, err := exec.Command("nsenter", "-n", "-t", pid, "sh", "-c", `ip link set lo up
		ip addr add "${1%.1}.2/30" dev "$2" && ip link set "$2" up
		echo "40000 40013" >/proc/sys/net/ipv4/ip_local_port_range`, "-", w.host, w.link+"p").CombinedOutput()
	require.NoError(t, err, string(out))
	limited.name(t)
	time.Sleep(full(12*time.Second, time.Minute))
	w.requireInconclusive(t, since)
	w.target.answers(answerAtOnce)
	limited.signal(t, syscall.SIGTERM)
	<-limited.ended
	w.workers = append(w.workers, w.startWorker(t))
}
