package history

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"riverwatch/db"
)

// Source is where a step was read from.
type Source string

// Sources.
const (
	FromScans Source = "scans" // the log
	FromHours Source = "hours"
	FromDays  Source = "days"
	FromBoth  Source = "mixed" // some hours, and the log of the rest
)

// Step is the scans of a monitor in some time, summed up.
type Step struct {
	At     time.Time // its beginning
	Source Source    // empty: nothing is kept of this time, or there was no scan
	Sum
}

// Sum is what scans come to. Times are of those that were good, slow ones among them, in microseconds; a scan without a phase
// spent no time in it.
type Sum struct {
	Good, Slow, Failed, Inconclusive int

	TotalUS, DNSUS, ConnectUS, TLSUS, WaitUS, TransferUS *int64 // sums; nil: no scan had it
	MinUS, MaxUS                                         *int
	Histogram                                            Histogram
}

// Scans gives how many there were.
func (s Sum) Scans() int { return s.Good + s.Slow + s.Failed + s.Inconclusive }

// Times gives of how many scans the times are.
func (s Sum) Times() int { return s.Good + s.Slow }

// Add adds another sum.
func (s *Sum) Add(other Sum) {
	s.Good += other.Good
	s.Slow += other.Slow
	s.Failed += other.Failed
	s.Inconclusive += other.Inconclusive
	for _, pair := range []struct {
		to   **int64
		from *int64
	}{
		{&s.TotalUS, other.TotalUS},
		{&s.DNSUS, other.DNSUS},
		{&s.ConnectUS, other.ConnectUS},
		{&s.TLSUS, other.TLSUS},
		{&s.WaitUS, other.WaitUS},
		{&s.TransferUS, other.TransferUS},
	} {
		switch {
		case pair.from == nil:
		case *pair.to == nil:
			*pair.to = pair.from
		default:
			sum := **pair.to + *pair.from
			*pair.to = &sum
		}
	}
	if other.MinUS != nil && (s.MinUS == nil || *other.MinUS < *s.MinUS) {
		s.MinUS = other.MinUS
	}
	if other.MaxUS != nil && (s.MaxUS == nil || *other.MaxUS > *s.MaxUS) {
		s.MaxUS = other.MaxUS
	}
	s.Histogram = s.Histogram.plus(other.Histogram)
}

func sumOf(row db.ScanHour) Sum {
	return Sum{
		Good: row.Good, Slow: row.Slow, Failed: row.Failed, Inconclusive: row.Inconclusive,
		TotalUS: row.TotalUS, DNSUS: row.DNSUS, ConnectUS: row.ConnectUS, TLSUS: row.TLSUS, WaitUS: row.WaitUS,
		TransferUS: row.TransferUS, MinUS: row.MinUS, MaxUS: row.MaxUS, Histogram: histogramOf(row.Histogram),
	}
}

// Histogram counts scans by the bucket of their time, of which latency_bucket in db/schema has the rule.
type Histogram map[int]int

const elementBase = 1_000_000 // an element of a stored histogram is so many times its bucket, plus how many scans are in it

func histogramOf(elements []int) Histogram {
	h := make(Histogram, len(elements))
	for _, element := range elements {
		h[element/elementBase] += element % elementBase
	}
	return h
}

func (h Histogram) plus(other Histogram) Histogram {
	sum := make(Histogram, max(len(h), len(other)))
	for _, each := range []Histogram{h, other} {
		for bucket, scans := range each {
			sum[bucket] += scans
		}
	}
	return sum
}

// Percentile gives the time that a part p, from 0 to 1, of the scans did not take longer than: the middle of the bucket in which
// that scan is, and so within 4.5 % of its own time. ok is false if there are none.
func (h Histogram) Percentile(p float64) (took time.Duration, ok bool) {
	total := 0
	for _, scans := range h {
		total += scans
	}
	rank := max(1, int(math.Ceil(p*float64(total))))
	until := 0
	for bucket := range buckets {
		if until += h[bucket]; until >= rank {
			return time.Duration(math.Exp2((float64(bucket)+0.5)/8-13) * float64(time.Second)), true
		}
	}
	return 0, false
}

const buckets = 152

// Latency gives the scans of a monitor from an instant until before another, summed up in steps of some minutes, an hour or a day.
// The first step begins at from, which is the beginning of an hour or a day (UTC) if that is their width. Each is read from the log,
// the hours or the days, whichever holds it; a step of which nothing is kept is empty.
func Latency(ctx context.Context, conn db.DBTX, monitorID int64, from, until time.Time, width time.Duration) ([]Step, error) {
	r := reader{queries: db.New(db.PlanEach(conn)), monitorID: monitorID}
	if err := r.begin(ctx, from, until); err != nil {
		return nil, err
	}
	steps := make([]Step, 0, int(until.Sub(from)/width)+1)
	for at := from; at.Before(until); at = at.Add(width) {
		steps = append(steps, Step{At: at})
	}
	to := func(at time.Time) *Step { return &steps[int(at.Sub(from)/width)] }
	rest := span{from, until}
	var err error
	if width == day {
		if rest, err = r.addDays(ctx, rest, to); err != nil {
			return nil, err
		}
	}
	if width >= time.Hour {
		if rest, err = r.addHours(ctx, rest, to); err != nil {
			return nil, err
		}
	}
	return steps, r.addScans(ctx, rest, min(width, time.Hour), to)
}

// A span is time from an instant until before another.
type span struct{ from, until time.Time }

// reader reads the past of a monitor.
type reader struct {
	queries   *db.Queries
	monitorID int64
	progress  db.HistoryProgress // zero: nothing is rolled up
	stale     []time.Time        // hours that are computed again soon: the log of them is right
}

func (r *reader) begin(ctx context.Context, from, until time.Time) (err error) {
	r.progress, err = r.queries.GetHistoryProgress(ctx)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("get how far roll-ups have come: %w", err)
	}
	r.stale, err = r.queries.ListStaleHours(ctx, db.ListStaleHoursParams{
		MonitorID: r.monitorID, Since: DayOf(from), Until: until,
	})
	if err != nil {
		return fmt.Errorf("list stale hours: %w", err)
	}
	return nil
}

// addDays adds the days that are merged and right, and gives the rest.
func (r *reader) addDays(ctx context.Context, all span, to func(time.Time) *Step) (rest span, err error) {
	until := earliest(DayOf(all.until), r.progress.DaysUntil)
	if len(r.stale) > 0 {
		until = earliest(until, DayOf(r.stale[0]))
	}
	if !all.from.Before(until) {
		return all, nil
	}
	days, err := r.queries.ListDays(ctx, db.ListDaysParams{MonitorID: r.monitorID, Since: all.from, Until: until})
	if err != nil {
		return rest, fmt.Errorf("list days: %w", err)
	}
	for _, row := range days {
		to(row.FromAt).add(FromDays, sumOf(db.ScanHour(row)))
	}
	return span{until, all.until}, nil
}

// addHours adds the hours that are rolled up and right, and gives the rest.
func (r *reader) addHours(ctx context.Context, all span, to func(time.Time) *Step) (rest span, err error) {
	until := earliest(HourOf(all.until), r.progress.RolledUntil)
	if !all.from.Before(until) {
		return all, nil
	}
	hours, err := r.queries.ListHours(ctx, db.ListHoursParams{MonitorID: r.monitorID, Since: all.from, Until: until})
	if err != nil {
		return rest, fmt.Errorf("list hours: %w", err)
	}
	for _, row := range hours {
		if !slices.ContainsFunc(r.stale, row.FromAt.Equal) {
			to(row.FromAt).add(FromHours, sumOf(row))
		}
	}
	for _, hour := range r.stale {
		if !hour.Before(all.from) && hour.Before(until) {
			if err := r.addScans(ctx, span{hour, hour.Add(time.Hour)}, time.Hour, to); err != nil {
				return rest, err
			}
		}
	}
	return span{until, all.until}, nil
}

// addScans adds scans of the log.
func (r *reader) addScans(ctx context.Context, all span, width time.Duration, to func(time.Time) *Step) error {
	if all.from = latest(all.from, r.progress.ScansFrom); !all.from.Before(all.until) {
		return nil
	}
	rows, err := r.queries.SumScans(ctx, db.SumScansParams{
		MonitorIDs: []int64{r.monitorID}, Since: all.from, Until: all.until, StepSeconds: int(width / time.Second),
	})
	if err != nil {
		return fmt.Errorf("sum up scans: %w", err)
	}
	for _, row := range rows {
		to(latest(row.FromAt, all.from)).add(FromScans, sumOf(row))
	}
	return nil
}

// Merge adds another step.
func (s *Step) Merge(other Step) {
	if other.Source != "" {
		s.add(other.Source, other.Sum)
	}
}

func (s *Step) add(source Source, sum Sum) {
	if s.Source != "" && s.Source != source {
		source = FromBoth
	}
	s.Source = source
	s.Add(sum)
}
