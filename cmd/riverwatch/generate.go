package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"riverwatch/db"
	"riverwatch/egress"
	"riverwatch/monitors"
	"riverwatch/probe"
	"riverwatch/queue"
)

// generateBatch is how many monitors a transaction creates.
const generateBatch = 1000

type generateFlags struct {
	count    int
	url      string
	interval time.Duration
}

func (p *program) generateCommand() *cobra.Command {
	var flags generateFlags
	command := &cobra.Command{
		Use:   "generate-monitors",
		Short: "Create many dummy monitors, to try how much an installation holds",
		Long: `Creates monitors straight in the database that DATABASE_URL names. {n} in the URL becomes the
monitor's number, from 1 on. Monitors that are there already stay as they are. Each carries the
tag "generated".`,
		Example: `  riverwatch generate-monitors --count 5000 --url 'http://127.0.0.1:9000/page/{n}' --interval 10s`,
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return p.generate(cmd.Context(), flags) },
	}
	command.Flags().IntVar(&flags.count, "count", 0, "how many, 1 to 1000000 (required)")
	command.Flags().StringVar(&flags.url, "url", "", "what they watch; {n} becomes the monitor's number (required)")
	command.Flags().DurationVar(&flags.interval, "interval", time.Minute, "from one scan to the next, 10s to 24h, in whole seconds")
	return command
}

// check finds every flag that is wrong.
func (f generateFlags) check(policy egress.Policy) error {
	var errs []error
	if f.count < 1 || f.count > 1_000_000 {
		errs = append(errs, fmt.Errorf("--count: %d: accepted is 1 to 1000000", f.count))
	}
	if f.interval < 10*time.Second || f.interval > 24*time.Hour || f.interval%time.Second != 0 {
		errs = append(errs, fmt.Errorf("--interval: %s: accepted is 10s to 24h, in whole seconds", f.interval))
	}
	if f.count > 1 && !strings.Contains(f.url, "{n}") {
		errs = append(errs, fmt.Errorf("--url: %q: several monitors need a {n} in it, since no two may watch the same", f.url))
	}
	if _, err := probe.NormalizeURL(f.nth(1), policy); err != nil {
		errs = append(errs, fmt.Errorf("--url: %w", err))
	}
	return errors.Join(errs...)
}

func (f generateFlags) nth(n int) string { return strings.ReplaceAll(f.url, "{n}", strconv.Itoa(n)) }

func (p *program) generate(ctx context.Context, flags generateFlags) error {
	config, logger, err := p.settings()
	if err != nil {
		return err
	}
	policy, err := config.policy(ctx, config.Listen)
	if err != nil {
		return err
	}
	if err := flags.check(policy); err != nil {
		return usageError(err)
	}
	pool, err := db.Open(ctx, config.DatabaseURL, config.DBConnections)
	if err != nil {
		return err
	}
	defer pool.Close()
	inserts, err := queue.New(pool, logger, nil)
	if err != nil {
		return err
	}

	store := monitors.Store{Conn: pool, Queue: inserts}
	created, began := 0, time.Now()
	for first := 1; first <= flags.count; first += generateBatch {
		batch, err := flags.monitors(policy, first, min(flags.count, first+generateBatch-1))
		if err != nil {
			return err
		}
		creations, err := store.Create(ctx, batch, false)
		if err != nil {
			return fmt.Errorf("after %d monitors: %w", first-1, err)
		}
		for _, creation := range creations {
			if creation.Result == monitors.Created {
				created++
			}
		}
		fmt.Fprintf(p.stderr, "\rcreating monitors: %d/%d", first+len(creations)-1, flags.count)
	}
	fmt.Fprintln(p.stderr)
	fmt.Fprintf(p.stdout, "created %d monitors in %s; %d were there already\n",
		created, time.Since(began).Round(time.Millisecond), flags.count-created)
	return nil
}

func (f generateFlags) monitors(policy egress.Policy, first, last int) ([]monitors.Monitor, error) {
	batch := make([]monitors.Monitor, 0, last-first+1)
	for n := first; n <= last; n++ {
		monitor := monitors.New()
		monitor.URL, monitor.IntervalSeconds, monitor.Tags = f.nth(n), int(f.interval/time.Second), []string{"generated"}
		monitor, wrong := monitor.Check(policy)
		if len(wrong) > 0 {
			return nil, fmt.Errorf("%s of monitor %d: %w", wrong[0].Field, n, wrong[0])
		}
		batch = append(batch, monitor)
	}
	return batch, nil
}
