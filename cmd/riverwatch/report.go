package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"riverwatch/db"
	"riverwatch/history"
	"riverwatch/uptime"
)

// reportPage is how many monitors are asked for at a time.
const reportPage = 200

type reportFlags struct{ month, tag, format, output string }

func (p *program) reportCommand() *cobra.Command {
	var flags reportFlags
	command := &cobra.Command{
		Use:   "report",
		Short: "Write how a month was: uptime, downtimes and latency of each monitor",
		Long: `Writes a report of a month (UTC), or of as much of it as has passed, from the database that
DATABASE_URL names: of each monitor its uptime, its downtimes, the time that counts neither for
nor against it, its success rate and its latency. Markdown and HTML say at their head how time
counts; CSV has a line for each monitor and nothing else.

` + wrapped(history.UptimeRule, 95),
		Example: `  riverwatch report --month 2026-10
  riverwatch report --month 2026-10 --tag shop --format html --output shop.html`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.report(cmd.Context(), flags, time.Now()) },
	}
	command.Flags().StringVar(&flags.month, "month", "", "which month, such as 2026-10 (required)")
	command.Flags().StringVar(&flags.tag, "tag", "", "only monitors with this tag")
	command.Flags().StringVar(&flags.format, "format", "markdown", "markdown, csv or html")
	command.Flags().StringVar(&flags.output, "output", "", "the file to write, whole or not at all; by default standard output")
	return command
}

// wrapped breaks a text into lines of some characters at most.
func wrapped(text string, width int) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case column == 0:
		case column+1+len(word) > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

// reportHead is what a report is of.
type reportHead struct {
	month, tag, rule string
	from, until      time.Time
	at               time.Time // when it was written
}

// reportRow is what a report says of a monitor. What is nil is not known.
type reportRow struct {
	uptime.Count

	id            int64
	name, url     string
	key           *string
	from, until   time.Time
	uptime        *string // percent
	downtimes     []uptime.Span
	maintenance   time.Duration // none: there are no maintenance windows yet
	scans         int
	successRate   *string  // percent
	p50, p95, p99 *float64 // milliseconds
}

// reportWriter writes a report in some form.
type reportWriter interface {
	begin(out io.Writer, head reportHead) error
	row(out io.Writer, row reportRow) error
	end(out io.Writer) error
}

func reportWriters() map[string]reportWriter {
	return map[string]reportWriter{"markdown": markdownReport{}, "csv": csvReport{}, "html": htmlReport{}}
}

func (p *program) report(ctx context.Context, flags reportFlags, now time.Time) error {
	head, err := flags.head(now)
	writer, known := reportWriters()[flags.format]
	if !known {
		err = errors.Join(err, fmt.Errorf("--format: %q: accepted is %s", flags.format,
			strings.Join(slices.Sorted(maps.Keys(reportWriters())), ", ")))
	}
	if err != nil {
		return usageError(err)
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
	if flags.output == "" {
		return p.writeReport(ctx, pool, writer, head, p.stdout)
	}

	part := flags.output + ".part"
	file, err := os.Create(part)
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	err = p.writeReport(ctx, pool, writer, head, file)
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	if err := os.Rename(part, flags.output); err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	return nil
}

// head gives what the report is of.
func (f reportFlags) head(now time.Time) (reportHead, error) {
	from, err := time.Parse("2006-01", f.month)
	if err != nil {
		return reportHead{}, fmt.Errorf("--month: %q: accepted is a year and a month, such as 2026-10", f.month)
	}
	now = now.UTC()
	if from.Year() < 2000 || !from.Before(now) {
		return reportHead{}, fmt.Errorf("--month: %s: must have begun, after the year 2000", f.month)
	}
	until := from.AddDate(0, 1, 0)
	if now.Before(until) {
		until = now.Truncate(time.Second)
	}
	return reportHead{
		month: f.month, tag: f.tag, rule: history.UptimeRule, from: from, until: until, at: now.Truncate(time.Second),
	}, nil
}

// writeReport writes a report, monitor by monitor.
func (p *program) writeReport(ctx context.Context, pool *pgxpool.Pool, writer reportWriter, head reportHead, to io.Writer) error {
	queries := db.New(db.PlanEach(pool))
	var tag *string
	if head.tag != "" {
		tag = &head.tag
	}
	all, err := queries.CountMonitors(ctx, tag)
	if err != nil {
		return fmt.Errorf("count the monitors: %w", err)
	}
	out := bufio.NewWriter(to)
	if err := writer.begin(out, head); err != nil {
		return err
	}
	bar := p.newProgress("reporting", "monitors")
	defer bar.end()
	var last int64
	for done := 0; ; {
		page, err := queries.ListMonitorsByID(ctx, db.ListMonitorsByIDParams{
			AfterID: last, Status: nil, Tag: tag, Key: nil, Host: nil, Pattern: nil, PageSize: reportPage,
		})
		if err != nil {
			return fmt.Errorf("list monitors: %w", err)
		}
		ids := make([]int64, len(page))
		for i, monitor := range page {
			ids[i] = monitor.Monitor.ID
		}
		uptimes, err := history.Uptimes(ctx, pool, head.from, head.until, ids...)
		if err != nil {
			return fmt.Errorf("uptime of monitors: %w", err)
		}
		for _, monitor := range page {
			row, err := reportOf(ctx, pool, monitor.Monitor, uptimes[monitor.Monitor.ID], head)
			if err != nil {
				return err
			}
			if err := writer.row(out, row); err != nil {
				return err
			}
			last = monitor.Monitor.ID
			done++
			bar.tell(done, max(all, done)) // some may be new
		}
		if len(page) < reportPage {
			break
		}
	}
	if err := writer.end(out); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func reportOf(
	ctx context.Context, pool *pgxpool.Pool, monitor db.Monitor, stretches []uptime.Stretch, head reportHead,
) (row reportRow, err error) {
	steps, err := history.Latency(ctx, pool, monitor.ID, head.from, head.until, 24*time.Hour)
	if err != nil {
		return row, fmt.Errorf("latency of monitor %d: %w", monitor.ID, err)
	}
	var scans history.Sum
	for _, step := range steps {
		scans.Add(step.Sum)
	}
	row = reportRow{
		Count: uptime.CountOf(stretches), id: monitor.ID, name: monitor.Name, url: monitor.URL, key: monitor.Key,
		from: head.from, until: head.until, scans: scans.Scans(),
	}
	up := row.Up + row.Degraded
	row.uptime = percent(up.Microseconds(), (up + row.Down).Microseconds())
	row.successRate = percent(int64(scans.Times()), int64(scans.Times()+scans.Failed))
	for _, stretch := range stretches {
		if stretch.As == uptime.Down {
			row.downtimes = append(row.downtimes, stretch.Span)
		}
	}
	row.p50, row.p95, row.p99 = percentile(scans, 0.5), percentile(scans, 0.95), percentile(scans, 0.99)
	return row, nil
}

// percent gives a part of a whole to three decimals, cut: what is not quite all is not 100.000. Nil: there is no whole.
func percent(part, whole int64) *string {
	if whole == 0 {
		return nil
	}
	thousandths := part * 100_000 / whole // of microseconds of 200 years there is room for
	return new(fmt.Sprintf("%d.%03d", thousandths/1000, thousandths%1000))
}

func percentile(scans history.Sum, p float64) *float64 {
	took, ok := scans.Histogram.Percentile(p)
	if !ok {
		return nil
	}
	return new(float64(took.Microseconds()) / 1000)
}
