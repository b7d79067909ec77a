package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// options are what the command line says.
type options struct {
	mode       string
	riverwatch string
	json       string

	monitors           int
	interval, duration time.Duration
	workers            int
	tls                bool
	seed               uint64
	env                []string

	rate        int     // registered: scans a second
	few, many   int     // registered: monitors
	first, step float64 // saturate, overload: of what the bare loop reaches
	saturation  float64 // overload: scans a second
	fill        time.Duration

	other                string   // pair: the other worker's program
	otherEnv             []string // pair: what it has besides env
	prometheus, exporter string   // blackbox: their programs
}

// parseOptions reads the mode, which comes first and may be left out, and its flags.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	o := options{mode: "run"}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		o.mode, args = args[0], args[1:]
	}
	if _, ok := modes[o.mode]; !ok {
		return o, fmt.Errorf("%q is no mode: accepted are %s", o.mode, strings.Join(slices.Sorted(maps.Keys(modes)), ", "))
	}
	flags := o.flags(stderr)
	if err := flags.Parse(args); err != nil {
		return o, fmt.Errorf("read the flags: %w", err)
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is neither a flag nor in front", flags.Arg(0))
	}
	var errs []error
	within := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	within(o.monitors >= 1 && o.monitors <= 1_000_000, "--monitors: %d: accepted is 1 to 1000000", o.monitors)
	within(o.interval >= 10*time.Second && o.interval <= 24*time.Hour && o.interval%time.Second == 0,
		"--interval: %s: accepted is 10s to 24h, in whole seconds", o.interval)
	within(o.duration >= time.Second, "--duration: %s: accepted is 1s or more", o.duration)
	within(o.workers >= 1 && o.workers <= 16, "--workers: %d: accepted is 1 to 16", o.workers)
	within(o.mode != "blackbox" || o.prometheus != "" && o.exporter != "", "--prometheus, --exporter: are required")
	within(o.saturation >= 0, "--saturation: accepted is 0 or more")
	within(o.first > 0 && o.step > 0, "--first and --step: accepted is more than 0")
	within(o.rate >= 1 && o.few >= 10*o.rate && o.many >= o.few && o.many <= 1_000_000,
		"--rate, --few, --many: accepted is 10 times the rate or more, up to 1000000")
	return o, errors.Join(errs...)
}

func (o *options) flags(stderr io.Writer) *flag.FlagSet {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: bench [MODE] [flags]")
		for _, name := range slices.Sorted(maps.Keys(modes)) {
			fmt.Fprintf(stderr, "  %-11s %s\n", name, modes[name].about)
		}
		flags.PrintDefaults()
	}
	flags.StringVar(&o.riverwatch, "riverwatch", "bin/riverwatch", "the program to measure")
	flags.StringVar(&o.json, "json", "", "`file` to write everything to, as JSON")
	flags.IntVar(&o.monitors, "monitors", 100_000, "monitors of the fleet (run, cold, idle, day)")
	flags.DurationVar(&o.interval, "interval", time.Minute, "of each monitor (run, cold, day), 10s to 24h")
	flags.DurationVar(&o.duration, "duration", 2*time.Minute, "for how long to measure, after a warm-up of an interval")
	flags.IntVar(&o.workers, "workers", 2, "worker processes")
	flags.BoolVar(&o.tls, "tls", false, "the targets speak TLS")
	flags.Uint64Var(&o.seed, "seed", 1, "of the order in which the bare loop fetches, and of the answers' sizes")
	flags.Func("env", "a `NAME=value` of the workers' environment besides those of bench; repeatable", func(s string) error {
		o.env = append(o.env, s)
		return nil
	})
	flags.IntVar(&o.rate, "rate", 400, "scans a second (registered)")
	flags.IntVar(&o.few, "few", 10_000, "the fewer monitors (registered)")
	flags.IntVar(&o.many, "many", 1_000_000, "the more monitors (registered)")
	flags.Float64Var(&o.first, "first", 0.3, "where to begin, as a part of what the bare loop reaches (saturate, overload)")
	flags.Float64Var(&o.step, "step", 0.05, "by how much to go on (saturate, overload)")
	flags.Float64Var(&o.saturation, "saturation", 0, "scans/s that saturate the fleet; 0: look for it (overload)")
	flags.DurationVar(&o.fill, "fill", 24*time.Hour, "how much log there is before (day)")
	flags.StringVar(&o.other, "other", "", "the other worker's `program`; as --riverwatch unless set (pair)")
	flags.Func("other-env", "a `NAME=value` of the other worker's environment; repeatable (pair)", func(s string) error {
		o.otherEnv = append(o.otherEnv, s)
		return nil
	})
	flags.StringVar(&o.prometheus, "prometheus", "", "the `program` (blackbox)")
	flags.StringVar(&o.exporter, "exporter", "", "the `program` of blackbox_exporter (blackbox)")
	return flags
}
