// Command mutants breaks the program on purpose, one break after the other, and sees whether a test turns red. A break that no
// test notices is a promise that nobody holds.
//
//	mutants                            tries every break of breaks.txt, each with the test that it names
//	mutants FILE                       tries those of another file of this form
//	mutants 'file|old|new|./pkg Test'  tries one that is given by hand; without the test, all tests that the file can reach,
//	                                   until one of them turns red
//
// The tree stays as it is: a break is an overlay of the go command. The tests use the server of TEST_DATABASE_URL, which
// `make mutants` starts.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// run is the program as a function. It works in the module of the present folder.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	breaks, err := breaksOf(args)
	if err != nil {
		return err
	}
	lab, err := newLab()
	if err != nil {
		return err
	}
	defer lab.close()

	failed := 0
	for i, b := range breaks {
		began := time.Now()
		verdict, err := lab.try(ctx, b)
		if ctx.Err() != nil {
			return errors.New("stopped before the end")
		}
		word := "noticed"
		if err != nil {
			word, verdict = "FAILED ", err.Error()
			failed++
		}
		fmt.Fprintf(stdout, "%3d of %d  %s  %s (%s, %.0f s)\n           %s\n", i+1, len(breaks), word, b.name, b.file,
			time.Since(began).Seconds(), strings.ReplaceAll(verdict, "\n", "\n           "))
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d breaks were not noticed as they should be", failed, len(breaks))
	}
	fmt.Fprintf(stdout, "all %d breaks were noticed\n", len(breaks))
	return nil
}

// breaksOf gives the breaks that the arguments name.
func breaksOf(args []string) ([]deliberate, error) {
	path := "mutants/breaks.txt"
	if len(args) > 0 {
		path = args[0]
		if strings.Contains(path, "|") {
			b, err := parseByHand(path)
			return []deliberate{b}, err
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the breaks: %w", err)
	}
	breaks, err := parseBreaks(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return breaks, nil
}
