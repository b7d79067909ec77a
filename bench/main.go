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
		case "show":
			return show(stdout, args[1:])
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
	began, machine := time.Now().UTC().Truncate(time.Second), thisMachine()
	result, err := modes[options.mode].run(ctx, b)
	if ctx.Err() != nil {
		return errors.New("stopped before the end")
	}
	if err != nil {
		return err
	}
	b.progress.end()
	settings, err := b.postgresSettings(ctx)
	if err != nil {
		return err
	}
	report := report{
		At: began, Mode: options.mode, Args: args, Machine: machine, Postgres: settings, Result: result,
	}
	return report.publish(stdout, options.json)
}

// A mode is one of the things to measure.
type mode struct {
	about  string
	run    func(context.Context, *bench) (result, error)
	decode func(json.RawMessage) (result, error)
}

var modes = map[string]mode{
	"run":        {"a fleet at its ordinary work, beside two loops that only fetch", runFleet, decode[runResult]},
	"saturate":   {"the most scans a second, beside the most fetches", runSaturate, decode[saturateResult]},
	"overload":   {"a fleet with more to do than it can", runOverload, decode[overloadResult]},
	"registered": {"the same scans a second with few and with many monitors", runRegistered, decode[registeredResult]},
	"cold":       {"a fleet that is new, and one whose workers were away", runCold, decode[coldResult]},
	"idle":       {"the memory of a worker with nothing to do", runIdle, decode[idleResult]},
	"memory":     {"the most memory that targets can make a worker take", runMemory, decode[memoryResult]},
	"day":        {"WAL and bytes a row, on top of a day of log", runDay, decode[dayResult]},
	"pages":      {"how long the API takes to read the past", runPages, decode[pagesResult]},
	"pair":       {"two workers of one fleet, with another program or environment", runPair, decode[pairResult]},
	"blackbox":   {"beside Prometheus and blackbox_exporter: see bench/blackbox.sh", runBlackbox, decode[blackboxResult]},
}
