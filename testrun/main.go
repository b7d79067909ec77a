// Command testrun runs `go test` with its arguments and says what it says; and at the end which tests were skipped, and why. A
// test that did not run proves nothing, and go test is silent about it. With RIVERWATCH_TEST_NO_SKIP=1, as in CI, a skip that
// skips.txt does not excuse fails.
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

//go:embed skips.txt
var skipsText string

func main() {
	if err := run(context.Background(), os.Args[1:], os.Getenv, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
		os.Exit(1)
	}
}

// run is the program as a function.
func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	excuses, err := parseExcuses(skipsText)
	if err != nil {
		return err
	}
	test := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	test.Stderr = os.Stderr
	events, err := test.StdoutPipe()
	if err != nil {
		return fmt.Errorf("read what go test says: %w", err)
	}
	if err := test.Start(); err != nil {
		return fmt.Errorf("start go test: %w", err)
	}
	seen := report{out: stdout, all: slices.Contains(args, "-v")}
	err = seen.read(events)
	if err = errors.Join(err, test.Wait()); err != nil {
		err = fmt.Errorf("go test: %w", err)
	}
	return errors.Join(err, seen.tellSkips(excuses, os.Geteuid() == 0, getenv("RIVERWATCH_TEST_NO_SKIP") != ""))
}

// tellSkips says what was skipped, and fails if that is strict and something is not excused.
func (r *report) tellSkips(excuses []excuse, root, strict bool) error {
	if len(r.skips) == 0 {
		return nil
	}
	fmt.Fprintf(r.out, "\n%d tests were SKIPPED:\n", len(r.skips))
	unexcused := 0
	for _, s := range r.skips {
		because := "NOT EXCUSED in testrun/skips.txt"
		for _, e := range excuses {
			if e.covers(s) && (!root || !e.withoutRoot) {
				because = "excused: " + e.because
			}
		}
		if strings.HasPrefix(because, "NOT") {
			unexcused++
		}
		fmt.Fprintf(r.out, "  %s %s: %s\n    %s\n", s.pkg, s.test, s.reason, because)
	}
	if strict && unexcused > 0 {
		return fmt.Errorf("%d tests were skipped without an excuse, and RIVERWATCH_TEST_NO_SKIP is set", unexcused)
	}
	return nil
}
