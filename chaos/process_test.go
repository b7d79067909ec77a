//go:build linux

package chaos_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// buildDir is where the program is built; TestMain removes it.
var buildDir = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "riverwatch-chaos-") })

// riverwatch gives the program, built once.
var riverwatch = sync.OnceValues(func() (string, error) {
	if *program != "" {
		return filepath.Abs(*program)
	}
	dir, err := buildDir()
	if err != nil {
		return "", err
	}
	return build("..", filepath.Join(dir, "riverwatch"))
})

// newer gives the program of the next release, which has migrations more: those of testdata.
var newer = sync.OnceValues(func() (string, error) {
	dir, err := buildDir()
	if err != nil {
		return "", err
	}
	present, err := filepath.Glob("../db/schema/*.sql")
	if err != nil {
		return "", err
	}
	more, err := filepath.Glob("testdata/migrations/*.sql")
	if err != nil {
		return "", err
	}
	schema, err := filepath.Abs("../db/schema")
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for i, path := range more {
		file, err := filepath.Abs(path)
		if err != nil {
			return "", err
		}
		replace[filepath.Join(schema, fmt.Sprintf("%03d_%s", len(present)+i+1, filepath.Base(path)))] = file
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "newer.json")
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		return "", err
	}
	return build("..", filepath.Join(dir, "newer"), "-overlay", overlay)
})

// older gives the oldest program that works on the present schema, with the commit that it is built from: until the first
// release the baseline is rewritten, and a program refuses a database that was made from another one. Right after a
// change of the schema it is the present program.
var older = sync.OnceValues(func() (program [2]string, err error) {
	dir, err := buildDir()
	if err != nil {
		return program, err
	}
	commit, err := gitSays("log", "-1", "--format=%H", "--", "db/schema")
	if err != nil {
		return program, err
	}
	if changed, err := gitSays("status", "--porcelain", "--", "db/schema"); err != nil || changed != "" {
		return program, errors.Join(err, errors.New("no commit has the schema of the working tree"))
	}
	source := filepath.Join(dir, "older-source")
	if err := os.Mkdir(source, 0o755); err != nil {
		return program, err
	}
	unpack := exec.Command("sh", "-c", `git -c safe.directory=* -C .. archive "$0" | tar -x -C "$1"`, commit, source)
	if out, err := unpack.CombinedOutput(); err != nil {
		return program, fmt.Errorf("unpack %s: %w: %s", commit, err, out)
	}
	path, err := build(source, filepath.Join(dir, "older"))
	return [2]string{path, commit}, err
})

// gitSays asks git, also as somebody else than who owns the folder: in CI we are root.
func gitSays(args ...string) (string, error) {
	out, err := exec.Command("git", append([]string{"-c", "safe.directory=*", "-C", ".."}, args...)...).Output()
	return strings.TrimSpace(string(out)), err
}

// build builds the program from the source in a folder.
func build(source, path string, flags ...string) (string, error) {
	args := slices.Concat([]string{"build", "-trimpath", "-buildvcs=false", "-o", path}, flags, []string{"./cmd/riverwatch"})
	build := exec.Command("go", args...)
	build.Dir, build.Stderr = source, os.Stderr
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	return path, build.Run()
}

// process is a riverwatch of some role.
type process struct {
	role   string
	cmd    *exec.Cmd
	ended  chan struct{} // closed once it is gone
	err    error         // how it ended, then
	stdout *lines
	stderr *lines
}

// start starts a riverwatch, which a prefix may run under another program. It dies with the test.
func start(t *testing.T, path string, env, prefix []string, args ...string) *process {
	t.Helper()
	command := slices.Concat(prefix, []string{path}, args)
	p := &process{
		role: args[0], cmd: exec.Command(command[0], command[1:]...), ended: make(chan struct{}),
		stdout: newLines(), stderr: newLines(),
	}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = env, p.stdout, p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("%s %d said:\n%s", p.role, p.cmd.Process.Pid, p.stderr.troubles())
		}
	})
	return p
}

func (p *process) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(signal))
}

// kill ends the process with no warning.
func (p *process) kill(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGKILL)
	<-p.ended
}

func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// terminate asks the process to stop, and gives how long that took and the code with which it exited.
func (p *process) terminate(t *testing.T) (took time.Duration, code int) {
	t.Helper()
	from := time.Now()
	p.signal(t, syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		t.Errorf("%s does not stop within a minute", p.role)
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	return time.Since(from), p.cmd.ProcessState.ExitCode()
}

// name is what the worker calls itself, in the log and to River.
func (p *process) name(t *testing.T) string {
	t.Helper()
	return p.stderr.await(t, regexp.MustCompile(`"msg":"worker started","worker":"([^"]+)"`))
}

// peakMemory gives the most memory that the process has had, in bytes.
func (p *process) peakMemory(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(t, err)
	kilobytes := regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindSubmatch(text)
	require.NotNil(t, kilobytes)
	return atoi(t, string(kilobytes[1])) << 10
}

// lines keeps what a process prints.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func newLines() *lines { return &lines{} }

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits for a line, and gives what the pattern's group matches of it.
func (l *lines) await(t *testing.T, pattern *regexp.Regexp) (match string) {
	t.Helper()
	require.Eventually(t, func() bool {
		found := pattern.FindStringSubmatch(l.String())
		if found == nil {
			return false
		}
		match = found[1]
		return true
	}, 30*time.Second, 10*time.Millisecond, "it never says %s", pattern)
	return match
}

// troubles gives the last lines that say more than that all is well.
func (l *lines) troubles() string {
	var troubles []string
	scanner := bufio.NewScanner(strings.NewReader(l.String()))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		if !strings.Contains(scanner.Text(), `"level":"INFO"`) {
			troubles = append(troubles, scanner.Text()[:min(600, len(scanner.Text()))])
		}
	}
	return strings.Join(troubles[max(0, len(troubles)-25):], "\n")
}
