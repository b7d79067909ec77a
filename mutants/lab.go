package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// wholePackage stands for a test where all pass, and their program fails all the same.
const wholePackage = "all"

// longest is how long a test may take, with what it hangs in when something is broken.
const longest = "5m"

// lab is where breaks are tried: a folder for what is built, and what is known of the tests without a break.
type lab struct {
	root    string            // of the module
	dir     string            // removed at the end
	healthy map[string]string // test programs without a break, by package
	green   map[test]bool     // tests that pass without a break
}

func newLab() (*lab, error) {
	root, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the module: %w", err)
	}
	dir, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	return &lab{root: root, dir: dir, healthy: map[string]string{}, green: map[test]bool{}}, nil
}

func (l *lab) close() { _ = os.RemoveAll(l.dir) }

// try breaks the program and says which test turned red for it. It is an error if none did, or if the same test is red
// without the break.
func (l *lab) try(ctx context.Context, b deliberate) (string, error) {
	overlay, err := l.overlay(ctx, b)
	if err != nil {
		return "", err
	}
	tests := []test{b.test}
	if b.test.pkg == "" {
		if tests, err = l.reaching(ctx, b.file); err != nil {
			return "", err
		}
	}
	for _, t := range tests {
		red, err := l.runBroken(ctx, t, overlay)
		if err != nil {
			return "", err
		}
		if red == "" {
			continue
		}
		if t.name == "" && red != wholePackage {
			t.name = red
		}
		return "red: " + t.String(), l.mustBeGreen(ctx, t)
	}
	var names []string
	for _, t := range tests {
		names = append(names, t.String())
	}
	return "", errors.New("SURVIVED: green with the break: " + strings.Join(names, ", "))
}

// runBroken runs a test with an overlay and gives the first test that is red; none: all are green.
func (l *lab) runBroken(ctx context.Context, t test, overlay string) (red string, err error) {
	program, err := l.build(ctx, t.pkg, overlay)
	if err != nil {
		return "", fmt.Errorf("with the break: %w", err)
	}
	defer func() { _ = os.Remove(program) }()
	return l.run(ctx, program, t, overlay)
}

// mustBeGreen fails if a test is red without a break, too.
func (l *lab) mustBeGreen(ctx context.Context, t test) error {
	if l.green[t] {
		return nil
	}
	program := l.healthy[t.pkg]
	if program == "" {
		var err error
		if program, err = l.build(ctx, t.pkg, ""); err != nil {
			return err
		}
		l.healthy[t.pkg] = program
	}
	red, err := l.run(ctx, program, t, "")
	if err != nil {
		return err
	}
	if red != "" {
		return fmt.Errorf("%s is red without the break as well", t)
	}
	l.green[t] = true
	return nil
}

// overlay writes the overlay of the go command that is the break. A break of a query is one of the code that sqlc makes of
// it.
func (l *lab) overlay(ctx context.Context, b deliberate) (path string, err error) {
	text, err := os.ReadFile(filepath.Join(l.root, b.file))
	if err != nil {
		return "", fmt.Errorf("read what is to be broken: %w", err)
	}
	broken, err := b.apply(string(text))
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(l.dir, "break-")
	if err != nil {
		return "", fmt.Errorf("make a folder: %w", err)
	}
	copied := filepath.Join(dir, filepath.Base(b.file))
	replace := map[string]string{filepath.Join(l.root, b.file): copied}
	if err := os.WriteFile(copied, []byte(broken), 0o600); err != nil {
		return "", fmt.Errorf("write the break: %w", err)
	}
	if strings.HasPrefix(b.file, "db/queries/") {
		if replace, err = l.generate(ctx, filepath.Join(dir, "module"), b.file, broken); err != nil {
			return "", err
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", fmt.Errorf("encode the overlay: %w", err)
	}
	path = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(path, list, 0o600); err != nil {
		return "", fmt.Errorf("write the overlay: %w", err)
	}
	return path, nil
}

// generate runs sqlc on a copy of what it reads, with one query broken, and gives the files that are others then.
func (l *lab) generate(ctx context.Context, dir, file, broken string) (map[string]string, error) {
	config, err := os.ReadFile(filepath.Join(l.root, "sqlc.yaml"))
	err = errors.Join(err, os.CopyFS(filepath.Join(dir, "db"), os.DirFS(filepath.Join(l.root, "db"))),
		os.WriteFile(filepath.Join(dir, "sqlc.yaml"), config, 0o600), os.WriteFile(filepath.Join(dir, file), []byte(broken), 0o600))
	if err != nil {
		return nil, fmt.Errorf("copy what sqlc reads: %w", err)
	}
	sqlc := exec.CommandContext(ctx, filepath.Join(l.root, "bin", "tools", "sqlc"), "generate")
	sqlc.Dir = dir
	if output, err := sqlc.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("sqlc does not take the break: %w: %s", err, output)
	}
	replace := map[string]string{}
	files, err := filepath.Glob(filepath.Join(dir, "db", "*.go"))
	for _, made := range files {
		there := filepath.Join(l.root, "db", filepath.Base(made))
		before, _ := os.ReadFile(there) // none, if it is new
		after, readErr := os.ReadFile(made)
		err = errors.Join(err, readErr)
		if !bytes.Equal(before, after) {
			replace[there] = made
		}
	}
	if err == nil && len(replace) == 0 {
		err = errors.New("sqlc makes the same code of it")
	}
	return replace, err
}

// build builds the test program of a package, with an overlay if there is one.
func (l *lab) build(ctx context.Context, pkg, overlay string) (program string, err error) {
	file, err := os.CreateTemp(l.dir, "test-")
	if err != nil {
		return "", fmt.Errorf("make a file: %w", err)
	}
	_ = file.Close()
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", file.Name(), pkg)
	build.Dir, build.Env = l.root, environment(overlay)
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("the tests of %s do not compile: %w\n%s", pkg, err, lastOf(output))
	}
	return file.Name(), nil
}

// environment is that of a go command with an overlay, and of tests that run go commands themselves.
func environment(overlay string) []string {
	env := os.Environ()
	if overlay != "" {
		env = append(env, strings.TrimSpace("GOFLAGS="+os.Getenv("GOFLAGS")+" -overlay="+overlay))
	}
	return env
}

var (
	testFailed = regexp.MustCompile(`(?m)^ *--- FAIL: (\S+)`)
	testRan    = regexp.MustCompile(`(?m)^ *--- (?:PASS|FAIL): (\S+)`)
)

// run runs a test of a package's test program and gives the first that is red; none: all are green. It is an error if the
// test that is named did not run.
func (l *lab) run(ctx context.Context, program string, t test, overlay string) (red string, err error) {
	args := []string{"-test.v", "-test.failfast", "-test.timeout=" + longest}
	if t.name != "" {
		args = append(args, "-test.run=^"+strings.ReplaceAll(t.name, "/", "$/^")+"$")
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = filepath.Join(l.root, t.pkg), environment(overlay)
	rapid := filepath.Join(cmd.Dir, "testdata", "rapid") // where rapid keeps what failed, to try it first the next time
	if _, err := os.Stat(rapid); errors.Is(err, fs.ErrNotExist) {
		defer func() {
			_ = os.RemoveAll(rapid)
			_ = os.Remove(filepath.Dir(rapid)) // unless there is more in it
		}()
	}
	output, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", fmt.Errorf("run the tests of %s: %w", t.pkg, err)
	}
	var ran bool
	for _, match := range testRan.FindAllSubmatch(output, -1) {
		ran = ran || strings.HasPrefix(string(match[1]), t.name)
	}
	switch failed := testFailed.FindSubmatch(output); {
	case err == nil && !ran:
		return "", fmt.Errorf("there is no test %s, or it was skipped:\n%s", t, lastOf(output))
	case err == nil:
		return "", nil
	case failed != nil:
		return string(failed[1]), nil
	}
	return cmp.Or(t.name, wholePackage), nil // a panic, a time limit, or what TestMain looks for
}

// lastOf gives the end of what a command printed.
func lastOf(output []byte) string {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// reaching gives the packages whose tests can notice that a file is broken: its own, then those that are built with it, the
// smallest first. The tests of chaos build the program itself.
func (l *lab) reaching(ctx context.Context, file string) ([]test, error) {
	own := "./" + filepath.ToSlash(filepath.Dir(file))
	if strings.HasPrefix(file, "db/") && !strings.HasSuffix(file, ".go") {
		own = "./db"
	}
	list := exec.CommandContext(ctx, "go", "list", "-test", "-f", `{{.ImportPath}} {{join .Deps " "}}`, "./...")
	list.Dir, list.Stderr = l.root, io.Discard
	output, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("list the packages: %w", err)
	}
	module, _, _ := strings.Cut(string(output), " ")
	module, _, _ = strings.Cut(module, "/")
	reached := map[string]int{}
	for line := range strings.Lines(string(output)) {
		built := strings.Fields(line)
		pkg, isTest := strings.CutSuffix(built[0], ".test")
		if isTest && slices.Contains(built, strings.Replace(own, ".", module, 1)) {
			reached[strings.Replace(pkg, module, ".", 1)] = len(built)
		}
	}
	if _, tested := reached[own]; tested {
		reached[own] = 0 // first
	}
	reached["./chaos"] = len(output) // last
	packages := slices.SortedFunc(maps.Keys(reached), func(a, b string) int { return cmp.Compare(reached[a], reached[b]) })
	var tests []test
	for _, pkg := range packages {
		tests = append(tests, test{pkg: pkg})
	}
	return tests, nil
}
