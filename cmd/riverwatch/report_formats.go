package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"

	"riverwatch/sheet"
	"riverwatch/uptime"
)

// What stands in a table where nothing is known.
const notKnown = "–"

const latencyRule = "Latency is of good scans, slow ones among them: half, 95 % and 99 % took no longer, within 4.5 %. The success rate " +
	"is good scans by those that say anything of the target. Percentages are cut after three decimals, and not rounded. Downtimes are cut " +
	"at the ends of the month."

// The columns of a report for people.
func reportColumns() []string {
	return []string{
		"Monitor", "URL", "Uptime %", "Down", "Downtimes", "Unknown s", "Paused s", "Maintenance s", "Success %", "p50 ms", "p95 ms", "p99 ms",
	}
}

func (h reportHead) title() string {
	if h.tag == "" {
		return "Uptime in " + h.month
	}
	return "Uptime in " + h.month + ", of monitors with the tag " + h.tag
}

func (h reportHead) span() string {
	return fmt.Sprintf("From %s until before %s, written %s.", stamp(h.from), stamp(h.until), stamp(h.at))
}

func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }

func orNotKnown(text *string) string {
	if text == nil {
		return notKnown
	}
	return *text
}

func inMilliseconds(ms *float64) string {
	if ms == nil {
		return notKnown
	}
	return fmt.Sprintf("%.1f", *ms)
}

func seconds(took time.Duration) string { return fmt.Sprintf("%.0f", took.Seconds()) }

func howLong(took time.Duration) string { return took.Round(time.Second).String() }

func downtimes(spans []uptime.Span) (texts []string) {
	for _, span := range spans {
		texts = append(texts, fmt.Sprintf("%s to %s (%s)", stamp(span.From), stamp(span.Until), howLong(span.Until.Sub(span.From))))
	}
	return texts
}

// numbers gives the columns after the downtimes.
func (r reportRow) numbers() []string {
	return []string{
		seconds(r.Unknown), seconds(r.Paused), seconds(r.maintenance), orNotKnown(r.successRate), inMilliseconds(r.p50),
		inMilliseconds(r.p95), inMilliseconds(r.p99),
	}
}

// markdownReport is a table as GitHub has it.
type markdownReport struct{}

func (markdownReport) begin(out io.Writer, head reportHead) error {
	columns := reportColumns()
	_, err := fmt.Fprintf(out, "# %s\n\n%s\n\n%s\n\n%s\n\n| %s |\n|%s\n", markdown(head.title()), head.span(), head.rule, latencyRule,
		strings.Join(columns, " | "), strings.Repeat(" --- |", len(columns)))
	return err
}

func (markdownReport) row(out io.Writer, row reportRow) error {
	_, err := fmt.Fprintf(out, "| %s | %s | %s | %s | %s | %s |\n", markdown(row.name), markdown(row.url), orNotKnown(row.uptime),
		howLong(row.Down), strings.Join(downtimes(row.downtimes), "<br>"), strings.Join(row.numbers(), " | "))
	return err
}

func (markdownReport) end(io.Writer) error { return nil }

// markdown gives a text that Markdown takes for nothing but a text, also within a table.
func markdown(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case unicode.IsControl(r):
			b.WriteByte(' ')
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case strings.ContainsRune("\\`*_[]()>|~#!$", r):
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// csvReport has a line for each monitor, for machines: times in seconds, downtimes as intervals of ISO 8601.
type csvReport struct{}

func (csvReport) begin(out io.Writer, _ reportHead) error {
	return writeRow(out,
		"monitor_id", "name", "key", "url", "from", "until", "uptime_percent", "up_seconds", "degraded_seconds", "down_seconds",
		"unknown_seconds", "paused_seconds", "maintenance_seconds", "downtimes", "downtime_intervals", "scans", "success_percent", "p50_ms",
		"p95_ms", "p99_ms")
}

func (csvReport) row(out io.Writer, row reportRow) error {
	intervals := make([]string, len(row.downtimes))
	for i, span := range row.downtimes {
		intervals[i] = stamp(span.From) + "/" + stamp(span.Until)
	}
	return writeRow(out,
		row.id, row.name, row.key, row.url, row.from, row.until, row.uptime, row.Up.Seconds(), row.Degraded.Seconds(),
		row.Down.Seconds(), row.Unknown.Seconds(), row.Paused.Seconds(), row.maintenance.Seconds(), len(row.downtimes),
		strings.Join(intervals, " "), row.scans, row.successRate, row.p50, row.p95, row.p99)
}

func (csvReport) end(io.Writer) error { return nil }

func writeRow(out io.Writer, cells ...any) error {
	_, err := out.Write(sheet.AppendRow(nil, cells...))
	return err //nolint:wrapcheck // of a buffer, whose Flush says what it was doing
}

//go:embed report.html
var reportPageHTML string

// htmlReport is a page that needs nothing from elsewhere, for screens and paper.
type htmlReport struct{}

// htmlParts are the page before its rows, a row, and what comes after.
var htmlParts = sync.OnceValue(func() *template.Template { return template.Must(template.New("report").Parse(reportPageHTML)) })

func (htmlReport) begin(out io.Writer, head reportHead) error {
	return writePart(out, "begin", struct {
		Title, Span, Rule, LatencyRule string
		Columns                        []string
	}{head.title(), head.span(), head.rule, latencyRule, reportColumns()})
}

func (htmlReport) row(out io.Writer, row reportRow) error {
	return writePart(out, "row", struct {
		Name, URL, Uptime, Down string
		Downtimes, Numbers      []string
	}{row.name, row.url, orNotKnown(row.uptime), howLong(row.Down), downtimes(row.downtimes), row.numbers()})
}

func (htmlReport) end(out io.Writer) error { return writePart(out, "end", nil) }

func writePart(out io.Writer, name string, data any) error {
	if err := htmlParts().ExecuteTemplate(out, name, data); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}
