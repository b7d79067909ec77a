// Command bench measures what Riverwatch costs and how exact it is, beside two loops that only fetch the
// same URLs. It takes the database server of DATABASE_URL or TEST_DATABASE_URL for itself; `make bench` starts one.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Getenv, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is the program as a function. The first of args may be the part of a child process that bench starts of itself.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(args) > 0 {
		switch args[0] {
		case "target":
			return serveTarget(ctx, args[1:], stdout)
		case "worst":
			return serveWorst(ctx, stdout)
		case "floor":
			return runFloor(ctx, args[1:], os.Stdin, stdout)
		}
	}

	options, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, options, getenv, stderr)
	if err != nil {
		return err
	}
	defer b.close()
	result, err := modes[options.mode].run(ctx, b)
	if ctx.Err() != nil {
		return errors.New("stopped before the end")
	}
	if err != nil {
		return err
	}
	b.progress.end()
	report := report{At: time.Now().UTC().Truncate(time.Second), Args: args, Machine: thisMachine(), Result: result}
	return report.publish(stdout, options.json)
}

// A mode is one of the things to measure.
type mode struct {
	about string
	run   func(context.Context, *bench) (result, error)
}

var modes = map[string]mode{
	"run":        {"a fleet at its ordinary work, beside two loops that only fetch", runFleet},
	"saturate":   {"the most scans a second, beside the most fetches", runSaturate},
	"overload":   {"a fleet with more to do than it can: good scans, and scans that blame a target that is well", runOverload},
	"registered": {"the same scans a second with few and with many monitors", runRegistered},
	"cold":       {"a fleet that is new, and one whose workers were away", runCold},
	"idle":       {"the memory of a worker with nothing to do", runIdle},
	"memory":     {"the most memory that targets can make a worker take", runMemory},
	"day":        {"WAL and bytes a row, on top of a day of log", runDay},
}

// A result is what a mode has measured.
type result interface {
	tables() []table
}

// report is what is written as JSON.
type report struct {
	At      time.Time `json:"at"`
	Args    []string  `json:"args"`
	Machine machine   `json:"machine"`
	Result  result    `json:"result"`
}

// publish prints the tables, and writes everything to a file if it has a name.
func (r report) publish(w io.Writer, file string) error {
	fmt.Fprintf(w, "%s\n", r.Machine)
	for _, table := range r.Result.tables() {
		if err := table.write(w); err != nil {
			return err
		}
	}
	if file == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
