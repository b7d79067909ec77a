package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"riverwatch/db"
	"riverwatch/history"
)

func (p *program) rollUpCommand() *cobra.Command {
	var from, to string
	command := &cobra.Command{
		Use:   "rollup",
		Short: "Compute hours and days of the log again",
		Long: `Computes the hours from --from until before --to again from the log, and the days that they are
in, in the database that DATABASE_URL names: as far as they are rolled up already, and the log of
them is kept. Riverwatch does that by itself; this is for when somebody has changed the log by
hand. It may run beside workers, and be stopped at any time: an hour is done whole, or not.

Times are RFC 3339 (2026-11-24T10:00:00Z), Unix seconds, or relative (now-24h, now-7d).`,
		Example: `  riverwatch rollup --from now-7d
  riverwatch rollup --from 2026-11-01T00:00:00Z --to 2026-11-02T00:00:00Z`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.rollUp(cmd.Context(), from, to, time.Now()) },
	}
	command.Flags().StringVar(&from, "from", "", "from when on (required)")
	command.Flags().StringVar(&to, "to", "now", "until before when")
	return command
}

// rollUp rolls up again what is in a range.
func (p *program) rollUp(ctx context.Context, from, to string, now time.Time) error {
	since, sinceErr := instantOf("--from", from, now)
	until, untilErr := instantOf("--to", to, now)
	if err := errors.Join(sinceErr, untilErr); err != nil {
		return usageError(err)
	}
	if !since.Before(until) {
		return usageError(fmt.Errorf("--from: %s: must be before --to, which is %s", from, until.Format(time.RFC3339)))
	}
	config, _, err := p.settings()
	if err != nil {
		return err
	}
	pool, err := db.Open(ctx, config.DatabaseURL, config.DBConnections)
	if err != nil {
		return err
	}
	defer pool.Close()

	began, hours := time.Now(), 0
	bar := p.newProgress("rolling up", "hours")
	defer bar.end()
	err = history.Recompute(ctx, pool, since, until, func(done, all int) {
		hours = all
		bar.tell(done, all)
	})
	if err != nil {
		return err
	}
	bar.end()
	if hours == 0 {
		fmt.Fprintln(p.stdout, "nothing to roll up again: no hour of this time is rolled up yet, with its log still kept")
		return nil
	}
	fmt.Fprintf(p.stdout, "rolled up %d hours again in %s\n", hours, time.Since(began).Round(time.Millisecond))
	return nil
}

// instantOf gives the time that a flag names.
func instantOf(flag, text string, now time.Time) (time.Time, error) {
	var instant history.Instant
	if err := instant.UnmarshalText([]byte(text)); err != nil {
		return time.Time{}, fmt.Errorf("%s: %q: %w", flag, text, err)
	}
	return instant.Or(now, now).UTC(), nil
}

const (
	progressWidth = 30 // characters
	progressEvery = 5 * time.Second
)

// progress says on standard error how far something has come: on a terminal as a bar, and else as a line now and then.
type progress struct {
	out         io.Writer
	terminal    bool
	doing, what string
	told        time.Time // the last line
	open        bool      // a bar is on the line
}

func (p *program) newProgress(doing, what string) *progress {
	return &progress{out: p.stderr, terminal: isTerminal(p.stderr), doing: doing, what: what}
}

func (b *progress) tell(done, all int) {
	switch {
	case all == 0:
	case b.terminal:
		b.open = true
		filled := progressWidth * done / all
		fmt.Fprintf(b.out, "\r%s [%s%s] %d/%d %s", b.doing, strings.Repeat("=", filled), strings.Repeat(" ", progressWidth-filled),
			done, all, b.what)
	case done == all || time.Since(b.told) >= progressEvery:
		b.told = time.Now()
		fmt.Fprintf(b.out, "%s: %d/%d %s\n", b.doing, done, all, b.what)
	}
}

// end leaves the bar's line, once.
func (b *progress) end() {
	if b.open {
		fmt.Fprintln(b.out)
		b.open = false
	}
}
