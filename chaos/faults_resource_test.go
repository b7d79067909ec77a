//go:build linux

package chaos_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Faults of what a worker needs of its host: memory, files, ports, processor; and of targets that use all of it up.
func resourceFaults() []fault {
	starved := setup{workers: 1, gaps: []string{"overloaded", "service_down"}, late: time.Minute, noClient: true}
	crowded := withTimeout(starved, 500*time.Millisecond)
	crowded.monitors = 1000 // a hundred scans a second take some 3 % of a processor
	return []fault{
		{"F06", "a worker is short of memory", false, setup{monitors: 300, config: asksForBody}, floodMemory},
		{"F08", "regexps that would take minutes", false, withTimeout(setup{}, 3*time.Second), matchForever},
		{"F37", "slow targets fill the pool", false, setup{
			monitors: 60, workerEnv: []string{"RIVERWATCH_PROBES=15"}, gaps: []string{"overloaded"}, late: 13 * time.Second,
		}, hangMost},
		{"F38", "ten thousand targets are silent at once", false, setup{noClient: true, workerEnv: []string{
			"RIVERWATCH_PROBES=10000", "RIVERWATCH_PROBES_PER_HOST=10000",
		}, late: 13 * time.Second}, silenceAll},
		{"F43", "files are used up", true, starved, useUpFiles},
		{"F44", "local ports are used up", true, withNetwork(starved), useUpPorts},
		{"F45", "the processor is somewhere else", false, crowded, starve},
	}
}

// withTimeout gives monitors less time than they have by default.
func withTimeout(s setup, timeout time.Duration) setup {
	s.config = func(int) map[string]any { return map[string]any{"timeout_ms": timeout.Milliseconds()} }
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

// limit is a setting of a control group, in both versions of these.
type limit struct {
	controller string
	v1         map[string]string
	v2         map[string]string
}

// memoryLimit bounds the memory of all in the group, the kernel's for them included.
func memoryLimit(most int) limit {
	return limit{
		"memory",
		map[string]string{"memory.limit_in_bytes": itoa(most)},
		map[string]string{"memory.max": itoa(most), "memory.swap.max": "0"},
	}
}

// processorLimit lets all in the group compute for so much of each second, and then stand still for the rest of it.
func processorLimit(each time.Duration) limit {
	quota := itoa(int(each.Microseconds()))
	return limit{
		"cpu",
		map[string]string{"cpu.cfs_period_us": "1000000", "cpu.cfs_quota_us": quota},
		map[string]string{"cpu.max": quota + " 1000000"},
	}
}

// cgroup makes a control group with a limit, and gives what runs a program in it.
func cgroup(t *testing.T, limit limit) (prefix []string) {
	t.Helper()
	const root = "/sys/fs/cgroup"
	parent, settings := filepath.Join(root, limit.controller), limit.v1
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil { // version 2
		parent, settings = root, limit.v2
		_ = os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+"+limit.controller), 0o644)
	}
	dir := filepath.Join(parent, fmt.Sprintf("riverwatch-chaos-%d", time.Now().UnixNano()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("needs control groups that it may make: %v", err)
	}
	t.Cleanup(func() {
		require.Eventually(t, func() bool { return os.Remove(dir) == nil }, 10*time.Second, 50*time.Millisecond)
	})
	for name, value := range settings {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o644); err != nil {
			t.Skipf("needs a control group with %s: %v", name, err)
		}
	}
	return []string{"sh", "-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, dir}
}

// starve gives the worker 1.5 % of a processor, in one go each second, so that its deadlines pass while it stands still.
func starve(t *testing.T, w *world) {
	t.Helper()
	prefix := cgroup(t, processorLimit(15*time.Millisecond))
	w.workers[0].terminate(t)
	since := time.Now()
	starved := start(t, w.program, w.env(), prefix, "worker")
	w.workers = append(w.workers, starved)
	name := starved.name(t)
	time.Sleep(full(15*time.Second, time.Minute))
	starved.kill(t) // it would take minutes to stop
	w.gaps = append(w.gaps, lostWithWorkers...)
	w.workers = append(w.workers, w.startWorker(t))
	w.calm = time.Now()
	scans := w.ask(t, `SELECT outcome || ' ' || count(*) FROM monitor_log WHERE slot >= @since AND worker = @worker
		GROUP BY outcome`, map[string]any{"since": since, "worker": name})
	t.Logf("scans of a starved worker: %v", scans)
	require.NotEmpty(t, scans, "it makes no scans, so that nothing was tried")
	for _, scan := range scans { // no target is to blame
		require.Regexp(t, "^(ok|inconclusive) ", scan)
	}
	w.requireInconclusive(t, since)
}

// asksForBody lets two monitors in three look at all of their bodies, and the third at the first of one without an end.
func asksForBody(n int) map[string]any {
	switch n % 3 {
	case 0:
		return map[string]any{"regexp": `well"}\s$`}
	case 1:
		return map[string]any{"json": []map[string]any{{"path": "$.all", "op": "equals", "value": "is well"}}}
	}
	return map[string]any{"regexp": `[{0]`}
}

// matchForever lets one monitor in ten look in a megabyte for what takes a processor half a minute to find missing. All others
// are scanned on time.
func matchForever(t *testing.T, w *world) {
	t.Helper()
	text := append(bytes.Repeat([]byte("a"), 1<<20-1), 'b')
	look := func(regexp any) {
		for n := 7; n < len(w.monitors); n += 10 {
			status, err := w.request(t.Context(), http.MethodPatch, fmt.Sprintf("/api/v1/monitors/%d", w.monitors[n]),
				map[string]any{"regexp": regexp}, nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, status)
		}
	}
	w.target.answers(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/first/") || !strings.HasSuffix(r.URL.Path, "7") {
			return answerAtOnce(w, r)
		}
		_, _ = w.Write(text)
		return false
	})
	look("^(.*a){250}$")
	from := time.Now()
	time.Sleep(full(12*time.Second, time.Minute))
	outcomes := func(having string) []string {
		return w.ask(t, `SELECT outcome || ' ' || count(*) FROM monitor_log AS l JOIN monitors AS m ON m.id = l.monitor_id
			WHERE slot > @from AND `+having+` GROUP BY outcome ORDER BY outcome`, map[string]any{"from": from})
	}
	slow := outcomes("m.regexp IS NOT NULL")
	t.Logf("those that match for ever: %v; the others: %v", slow, outcomes("m.regexp IS NULL"))
	require.Contains(t, strings.Join(slow, " "), "regexp_timeout", "the fault is not felt")
	for _, outcome := range slow {
		require.Regexp(t, "^(regexp_timeout|inconclusive) ", outcome)
	}
	for _, outcome := range outcomes("m.regexp IS NULL") {
		require.Regexp(t, "^ok ", outcome)
	}
	look(nil)
	w.target.answers(answerAtOnce)
}

// floodMemory sends each monitor a megabyte, of which the end takes its time, or one that becomes a gigabyte. The worker
// has the memory that is promised: 300 MiB, and 64 MiB for the bodies that it keeps.
func floodMemory(t *testing.T, w *world) {
	t.Helper()
	const limit = (300 + 64) << 20
	limited := w.startWorkerUnder(t, cgroup(t, memoryLimit(limit)), "GOMEMLIMIT=300MiB")
	w.workers[0].terminate(t)
	w.workers[1].terminate(t)
	w.workers = append(w.workers, limited)
	w.target.answers(flood(3 * time.Second))
	from := time.Now()
	time.Sleep(full(11*time.Second, time.Minute))
	require.True(t, limited.alive(), "it was killed for its memory")
	peak := limited.peakMemory(t)
	require.Less(t, peak, limit)
	scans := w.ask(t, `SELECT outcome || ' ' || count(*) FROM monitor_log
		WHERE worker = @worker AND slot > @from AND body_bytes > 1000000 GROUP BY outcome`,
		map[string]any{"from": from, "worker": limited.name(t)})
	require.NotEmpty(t, scans, "no large body was read")
	t.Logf("at most %d MiB; large bodies: %v", peak>>20, scans)
	w.target.answers(answerAtOnce)
}

// flood sends two monitors in three a megabyte, the end of it after a while, and the third a megabyte that becomes a
// gigabyte.
func flood(after time.Duration) answer {
	var bomb bytes.Buffer
	packer, _ := gzip.NewWriterLevel(&bomb, gzip.BestSpeed)
	zeros := bytes.Repeat([]byte("0"), 1<<20)
	for range 1024 {
		_, _ = packer.Write(zeros)
	}
	_ = packer.Close()
	large := append(append([]byte(`{"much": "`), bytes.Repeat([]byte("x"), 1<<20-100)...), `", `...)
	return func(w http.ResponseWriter, r *http.Request) bool {
		if n, err := strconv.Atoi(path.Base(r.URL.Path)); err == nil && n%3 == 2 {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes()) // whoever has read enough hangs up
			return true
		}
		_, _ = w.Write(large)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-time.After(after):
		case <-r.Context().Done():
		}
		_, _ = w.Write([]byte(wellBody[1:]))
		return true
	}
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
	// The timeout, 5 s that the fault grants, and as long again, as two cores play ten thousand targets and their worker.
	const within = 20 * time.Second
	time.Sleep(time.Until(slot.Add(within)))
	told := w.ask(t, `SELECT outcome || ' ' || count(*) FROM monitor_log WHERE slot = @slot AND monitor_id >= 1000000
		GROUP BY outcome`, map[string]any{"slot": slot})
	t.Logf("%v", told)
	for _, outcome := range told {
		require.Regexp(t, "^(timeout_header|inconclusive) ", outcome)
	}
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
		w.connectNetwork(t)
	}
	return s
}

// connectNetwork lets packets to and from the worker's network through, and cutNetwork swallows them: nobody acknowledges
// what is sent, and nobody is told.
func (w *world) connectNetwork(t *testing.T) {
	t.Helper()
	mustIP(t, "route", "replace", strings.TrimSuffix(w.host, ".1")+".2/32", "dev", w.link, "src", w.host)
}

func (w *world) cutNetwork(t *testing.T) {
	t.Helper()
	mustIP(t, "route", "replace", "blackhole", strings.TrimSuffix(w.host, ".1")+".2/32")
}

// replaceWorkerByRemote stops the only worker and starts one in a network of its own, which a script may change before it
// is connected.
func (w *world) replaceWorkerByRemote(t *testing.T, script string) *process {
	t.Helper()
	w.workers[0].terminate(t)
	remote := start(t, w.program, w.env(), []string{"unshare", "-n"}, "worker") // it waits until it finds its database
	w.workers = append(w.workers, remote)
	pid := itoa(remote.cmd.Process.Pid)
	require.Eventually(t, func() bool { // unshare has done its work
		ours, _ := os.Readlink("/proc/self/ns/net")
		its, _ := os.Readlink("/proc/" + pid + "/ns/net")
		return its != "" && its != ours
	}, 10*time.Second, 10*time.Millisecond)
	mustIP(t, "link", "set", w.link+"p", "netns", pid)
	out, err := exec.Command("nsenter", "-n", "-t", pid, "sh", "-c", script+`
		ip link set lo up
		ip addr add "${1%.1}.2/30" dev "$2" && ip link set "$2" up`, "-", w.host, w.link+"p").CombinedOutput()
	require.NoError(t, err, string(out))
	remote.name(t)
	return remote
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
	limited := w.replaceWorkerByRemote(t, `echo "40000 40013" >/proc/sys/net/ipv4/ip_local_port_range`)
	time.Sleep(full(12*time.Second, time.Minute))
	w.requireInconclusive(t, since)
	w.target.answers(answerAtOnce)
	limited.signal(t, syscall.SIGTERM)
	<-limited.ended
	w.workers = append(w.workers, w.startWorker(t))
}
