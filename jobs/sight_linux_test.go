package jobs_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	neturl "net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/egress"
	"riverwatch/jobs"
	"riverwatch/monitors/monitorstest"
	"riverwatch/probe"
)

// What this binary is told that runs once more, in a network of its own.
var (
	part      = flag.String("part", "", "of TestNetworkLost to play: stage or worker")
	database  = flag.String("database", "", "URL of the database, by a Unix socket")
	sentinels = flag.String("sentinels", "", "of the workers")
	name      = flag.String("worker", "", "name of the worker")
)

const (
	targets     = "198.51.100.0/24" // TEST-NET-2
	targetPort  = 8080
	targetCount = 12

	patience = time.Minute // with a busy machine
)

// TestNetworkLost takes the network from real workers, and leaves them the database, which they reach by a Unix socket.
//
// The test runs this binary once more as a stage, in a network namespace with the targets; the stage does so for each
// worker, in a namespace that a pair of virtual interfaces connects to its own. All of them vanish with their processes.
func TestNetworkLost(t *testing.T) {
	t.Parallel()
	switch *part {
	case "stage":
		playStage(t)
		return
	case "worker":
		playWorker(t)
		return
	}
	for label, sentinel := range map[string]string{
		"WithSentinel":    fmt.Sprintf("tcp://198.51.100.1:%d", targetPort),
		"WithoutSentinel": "",
	} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			stage := inNewNetwork(t.Context(), t, "-part=stage", "-sentinels="+sentinel,
				"-database="+overSocket(t, dbtest.URL(t)))
			output, err := stage.CombinedOutput()
			if errors.Is(err, syscall.EPERM) {
				t.Skip("network namespaces are not permitted here: run this as root, with CAP_SYS_ADMIN and CAP_NET_ADMIN")
			}
			if strings.Contains(string(output), "--- SKIP") {
				t.Skip(string(output))
			}
			require.NoError(t, err, string(output))
			require.Contains(t, string(output), "--- PASS: TestNetworkLost")
		})
	}
}

// inNewNetwork is this test in a process and a network namespace of its own.
func inNewNetwork(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(ctx, self, append([]string{"-test.run=^TestNetworkLost$", "-test.v", "-test.timeout=5m"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// overSocket gives the URL of a database by a Unix socket, which is the same in all network namespaces.
func overSocket(t *testing.T, databaseURL string) string {
	t.Helper()
	parsed, err := neturl.Parse(databaseURL)
	require.NoError(t, err)
	folder, err := os.MkdirTemp("", "pg") //nolint:usetesting // a socket's path has 107 bytes at most
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	listener, err := net.Listen("unix", filepath.Join(folder, ".s.PGSQL.5432"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	server := parsed.Host
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("tcp", server)
			if err != nil {
				_ = client.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{client, upstream}, {upstream, client}} {
				go func() {
					_, _ = io.Copy(way[0], way[1])
					_ = way[0].Close()
				}()
			}
		}
	}()
	query := parsed.Query()
	query.Set("host", folder)
	query.Set("port", "5432")
	parsed.Host, parsed.RawQuery = "", query.Encode()
	return parsed.String()
}

// playWorker is a worker until its input ends.
func playWorker(t *testing.T) {
	t.Helper()
	var start [3]byte
	_, err := io.ReadFull(os.Stdin, start[:]) // when its network is there
	require.NoError(t, err)
	prober := probe.NewProber(probe.Settings{Policy: egress.Policy{Allow: []netip.Prefix{netip.MustParsePrefix(targets)}}}, discard)
	worker, err := jobs.NewWorker(jobs.Config{
		Pool: dbtest.Open(t, *database), Name: *name, Prober: prober, Sentinels: split(*sentinels), SoftStop: time.Second,
		Limits: jobs.Limits{Probes: 1000, ProbesPerHost: 1000, Results: 10_000, Retries: 100}, Now: time.Now,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Quiet: discard, Registry: prometheus.NewRegistry(),
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	_, err = io.Copy(io.Discard, os.Stdin)
	stop()
	require.NoError(t, errors.Join(err, <-ended))
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

// stage is where workers play.
type stage struct {
	*process
}

// shell runs commands. Where they are not permitted, the test cannot be.
func (s *stage) shell(t *testing.T, format string, args ...any) {
	t.Helper()
	script := fmt.Sprintf(format, args...)
	output, err := exec.CommandContext(t.Context(), "sh", "-ec", "PATH=$PATH:/usr/sbin:/sbin\n"+script).CombinedOutput()
	if err != nil {
		t.Skipf("networks cannot be set up here: %s: %s", script, output)
	}
}

// worker is a worker in a network of its own.
type worker struct {
	pid, number int
}

func (s *stage) startWorker(t *testing.T, number int) worker {
	t.Helper()
	cmd := inNewNetwork(t.Context(), t, "-part=worker", fmt.Sprintf("-worker=w%d", number), "-database="+*database,
		"-sentinels="+*sentinels)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	w := worker{pid: cmd.Process.Pid, number: number}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	s.shell(t, `
		ip link add veth%[1]d type veth peer name eth0 netns %[2]d
		ip addr add 192.0.2.%[3]d/30 dev veth%[1]d
		ip link set veth%[1]d up
		nsenter -t %[2]d -n ip link set lo up
		nsenter -t %[2]d -n ip addr add 192.0.2.%[4]d/30 dev eth0
		nsenter -t %[2]d -n ip link set eth0 up`, number, w.pid, 4*number+1, 4*number+2)
	s.restore(t, w)
	_, err = io.WriteString(stdin, "go\n")
	require.NoError(t, err)
	return w
}

func (s *stage) restore(t *testing.T, w worker) {
	t.Helper()
	s.shell(t, "nsenter -t %d -n ip route replace %s via 192.0.2.%d", w.pid, targets, 4*w.number+1)
}

func (s *stage) lose(t *testing.T, w worker) {
	t.Helper()
	s.shell(t, "nsenter -t %d -n ip route replace unreachable %s", w.pid, targets)
}

// askAll asks for a scan of each monitor.
func (s *stage) askAll(t *testing.T, monitors []db.Monitor) {
	t.Helper()
	for _, monitor := range monitors {
		_, _, err := s.Store().Scan(t.Context(), monitor.ID)
		require.NoError(t, err)
	}
}

// await waits until a query counts so many rows.
func (s *stage) await(t *testing.T, want int, from string, args ...any) {
	t.Helper()
	got := -1
	for end := time.Now().Add(patience); got != want && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		got = s.Count(t, from, args...)
	}
	require.Equal(t, want, got, "%s, and warnings are %v", from, s.warnings(t))
}

// awaitWarning waits until there is one warning, as warnings gives it, and no other.
func (s *stage) awaitWarning(t *testing.T, want string) {
	t.Helper()
	require.Eventually(t, func() bool { return slices.Equal(s.warnings(t), []string{want}) }, patience, 20*time.Millisecond, want)
}

// awaitTruth waits until the log blames no target for what was ours, and the states agree.
func (s *stage) awaitTruth(t *testing.T) {
	t.Helper()
	s.await(t, 0, "monitor_log WHERE outcome = 'connect_unreachable'")
	s.await(t, targetCount, "monitor_states WHERE status = 'up' AND failures = 0")
}

// warnings gives all warnings, as the processes that they were about and those that they are about.
func (s *stage) warnings(t *testing.T) []string {
	t.Helper()
	return dbtest.Column[string](t, s.Pool, `SELECT (SELECT string_agg(w, ',' ORDER BY w) FROM unnest(processes) AS w)
		|| ' ' || cardinality(open_processes) FROM warnings ORDER BY id`)
}

func playStage(t *testing.T) {
	t.Helper()
	s := &stage{newProcessOn(t, dbtest.Open(t, *database), nil, jobs.Limits{Probes: 1, ProbesPerHost: 1})}
	s.RunClock()
	s.shell(t, `ip link set lo up; for n in $(seq 0 %d); do ip addr add 198.51.100.$((n + 1))/32 dev lo; done`, targetCount)
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", targetPort))
	require.NoError(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	var monitors []db.Monitor
	for i := range targetCount {
		c := monitorstest.Of(fmt.Sprintf("http://198.51.100.%d:%d/", 2+i, targetPort), 10)
		monitors = append(monitors, s.Create(t, c))
	}

	t.Log("all is well")
	w1 := s.startWorker(t, 1)
	s.await(t, targetCount, "monitor_states WHERE status = 'up'")

	t.Log("one worker loses its network (F40)")
	lost := s.Now()
	s.lose(t, w1)
	s.askAll(t, monitors)
	s.awaitWarning(t, "w1 1")
	s.awaitTruth(t)
	require.Positive(t, s.Count(t, "monitor_log WHERE outcome = 'inconclusive'"))
	blind := s.Now()

	t.Log("another one sees")
	w2 := s.startWorker(t, 2)
	s.await(t, 0, `(
			SELECT monitor_id FROM monitor_log WHERE worker = 'w1' AND outcome = 'inconclusive' AND slot < $1
			EXCEPT SELECT monitor_id FROM monitor_log WHERE worker = 'w2' AND reason = 'retry' AND outcome = 'ok'
		) AS not_scanned_again`, blind)
	s.await(t, targetCount, "(SELECT DISTINCT monitor_id FROM monitor_log WHERE worker = 'w2' AND outcome = 'ok') AS m")
	require.Eventually(t, func() bool {
		return s.Count(t, "monitor_log WHERE worker = 'w2' AND reason = 'round' AND outcome = 'ok'") > 2
	}, patience, 20*time.Millisecond, "rounds go on")
	require.Zero(t, s.Count(t, "monitor_log WHERE worker = 'w1' AND slot > $1", blind.Add(time.Second)), "the blind one takes none")
	require.Equal(t, []string{"w1 1"}, s.warnings(t))

	t.Log("all workers have lost their network (F41)")
	s.lose(t, w2)
	s.askAll(t, monitors)
	s.awaitWarning(t, "w1,w2 2")
	s.awaitTruth(t)

	t.Log("it is back")
	back := s.Now()
	s.restore(t, w1)
	s.restore(t, w2)
	s.awaitWarning(t, "w1,w2 0")
	s.askAll(t, monitors)
	s.await(t, targetCount, "(SELECT DISTINCT monitor_id FROM monitor_log WHERE slot > $1 AND outcome = 'ok') AS m", back)
	s.awaitTruth(t)
	require.Equal(t, targetCount, s.Count(t, "monitor_states WHERE since < $1", lost), "none was ever down")
}
