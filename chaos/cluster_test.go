//go:build linux

package chaos_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// cluster is a Postgres of one's own, which a fault may stop, kill, freeze or set as it likes.
type cluster struct {
	url string
	dir string
}

// newCluster starts a cluster that goes with the test, also when the test is killed: the script stops it when the pipe
// closes that it reads from. A prefix runs the script under another program.
func newCluster(t *testing.T, prefix ...string) *cluster {
	t.Helper()
	held, hold, err := os.Pipe()
	require.NoError(t, err)
	answer, say, err := os.Pipe()
	require.NoError(t, err)
	args := slices.Concat(prefix, []string{
		postgresScript(t), "throwaway", "sh", "-c", `echo "$TEST_DATABASE_URL" >&4; read -r _ <&3`,
	})
	cmd := exec.Command(args[0], args[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr, cmd.ExtraFiles = &stderr, []*os.File{held, say}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = hold.Close()
		_ = cmd.Wait() // read's own status, at the end of its input
		_ = answer.Close()
	})
	_ = held.Close()
	_ = say.Close()
	line, err := bufio.NewReader(answer).ReadString('\n')
	require.NoError(t, err, "the cluster did not start: %s", &stderr)

	c := &cluster{url: strings.TrimSpace(line)}
	c.dir = one[string](t, c.connect(t), "SHOW data_directory")
	// The script's clusters trade safety for speed; whoever kills servers wants what was committed to be there.
	c.set(t, "synchronous_commit", "on")
	return c
}

func postgresScript(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../scripts/postgres.sh")
	require.NoError(t, err)
	return path
}

// reachableDir gives a folder that the server's user, who is not root, can reach.
func reachableDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "riverwatch-chaos-") //nolint:usetesting // those of t.TempDir are closed to others
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

// connect connects straight to the cluster, for a test's own use.
func (c *cluster) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	var conn *pgx.Conn
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var err error
		conn, err = pgx.Connect(ctx, c.url)
		return err == nil
	}, time.Minute, 100*time.Millisecond)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	})
	return conn
}

func one[T any](t *testing.T, conn interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}, sql string, args ...any,
) T {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	require.NoError(t, err)
	value, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	require.NoError(t, err, sql)
	return value
}

// set sets a setting that holds once the configuration is read again, which it is at once.
func (c *cluster) set(t *testing.T, setting, value string) {
	t.Helper()
	conn := c.connect(t)
	_, err := conn.Exec(t.Context(), "ALTER SYSTEM SET "+setting+" = '"+value+"'")
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "SELECT pg_reload_conf()")
	require.NoError(t, err)
}

// postmaster gives the server's first process.
func (c *cluster) postmaster(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(c.path("postmaster.pid"))
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	require.NoError(t, err)
	return pid
}

// path gives where a file of the cluster is, also if its server has a mount of its own.
func (c *cluster) path(name string) string {
	for _, pid := range processesIn(c.dir) {
		return filepath.Join(fmt.Sprintf("/proc/%d/root", pid), c.dir, name)
	}
	return filepath.Join(c.dir, name)
}

// processesIn gives the processes of Postgres that work in a folder, the first one first.
func processesIn(dir string) (pids []int) {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		if at, err := os.Readlink(link); err != nil || at != dir {
			continue
		}
		pid, _ := strconv.Atoi(strings.Split(link, "/")[2])
		pids = append(pids, pid)
	}
	return pids
}

// signal signals every process of the server, the one that starts the others first.
func (c *cluster) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	require.NoError(t, syscall.Kill(c.postmaster(t), signal))
	for _, pid := range processesIn(c.dir) {
		_ = syscall.Kill(pid, signal) // it may have ended
	}
}

// stop tells the server to stop, as pg_ctl does, and waits for it: SIGINT is a fast stop, SIGQUIT an immediate one.
func (c *cluster) stop(t *testing.T, signal syscall.Signal) {
	t.Helper()
	require.NoError(t, syscall.Kill(c.postmaster(t), signal))
	require.Eventually(t, func() bool { return len(processesIn(c.dir)) == 0 }, time.Minute, 20*time.Millisecond)
}

// start starts the server again, where it was.
func (c *cluster) start(t *testing.T) {
	t.Helper()
	parsed, err := url.Parse(c.url)
	require.NoError(t, err)
	out, err := exec.Command(postgresScript(t), "start", c.dir, parsed.Port()).CombinedOutput()
	require.NoError(t, err, string(out))
}
