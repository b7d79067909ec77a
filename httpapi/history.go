package httpapi

import (
	"context"
	"fmt"
	"time"

	"riverwatch/db"
	"riverwatch/history"
	"riverwatch/uptime"
)

const (
	getLatencyDoc = "How long a monitor's scans took, in steps. Each step is read from the log, from hours or from days, whichever " +
		"holds it; source says which. Times are of good scans, slow ones among them. Percentiles are within 4.5 % of the scan's own " +
		"time, whatever they are read from: they come from a histogram of 8 buckets for each doubling of the time."
	getUptimeDoc = "How a monitor's time counts. " + history.UptimeRule

	mostSteps = 2000
	day       = 24 * time.Hour
)

// historyInput is a range of a monitor's past.
type historyInput struct {
	ID   int64   `path:"id" minimum:"1" doc:"The monitor's number." example:"42"`
	From instant `query:"from" doc:"From when on: RFC 3339, Unix seconds, or relative such as now-7d. Default: 24 hours before to." example:"now-24h"`
	To   instant `query:"to" doc:"Until before when. Default, and at most: now." example:"now"`
	Step string  `query:"step" enum:"auto,5m,1h,1d" default:"auto" doc:"The width of a step; days begin at midnight, UTC. auto: 5m up to a day, 1h up to 31 days, 1d beyond. At most 2,000 steps." example:"1h"`
}

// stepRange is a range in steps of the same width.
type stepRange struct {
	from, to time.Time // the first step begins at from, the last one ends at to or has it in it
	width    time.Duration
	name     string
}

var stepWidths = map[string]time.Duration{"5m": 5 * time.Minute, "1h": time.Hour, "1d": day}

// steps gives the range that is asked for. Its beginning is that of a step.
func (a *api) steps(in *historyInput) (r stepRange, err error) {
	from, to, err := a.rangeOf(in.From, in.To)
	if err != nil {
		return r, err
	}
	name := in.Step
	if name == "auto" {
		switch length := to.Sub(from); {
		case length <= day:
			name = "5m"
		case length <= 31*day:
			name = "1h"
		default:
			name = "1d"
		}
	}
	width := stepWidths[name]
	from = from.Truncate(width)
	if steps := (to.Sub(from) + width - 1) / width; steps > mostSteps {
		return r, inputProblem([]InputError{{
			Location: "query.step", Code: "range_too_large",
			Message: fmt.Sprintf("the range has %d steps of %s, and may have %d: ask for wider steps, or a shorter range", steps, name, mostSteps),
		}})
	}
	return stepRange{from, to, width, name}, nil
}

// rangeOf gives the range from an instant until another, which is now at most.
func (a *api) rangeOf(first, last instant) (from, to time.Time, err error) {
	now := a.Now().UTC()
	to = last.Or(now, now).UTC()
	if to.After(now) {
		to = now
	}
	from = first.Or(now, to.Add(-defaultRange)).UTC()
	if !storable(from) || !storable(to) || !from.Before(to) {
		return from, to, inputProblem([]InputError{{
			Location: "query.from", Code: "range_invalid", Message: "must be before to and before now, both between the years 2000 and 2200",
		}})
	}
	return from, to, nil
}

// latencyBody is the latency of a monitor.
type latencyBody struct {
	From  time.Time     `json:"from" doc:"Where the first step begins." example:"2026-11-23T10:00:00Z"`
	To    time.Time     `json:"to" doc:"Where the last step ends." example:"2026-11-24T10:00:00Z"`
	Step  string        `json:"step" enum:"5m,1h,1d" doc:"The width of a step." example:"1h"`
	Total latencyStep   `json:"total" doc:"All steps together."`
	Steps []latencyStep `json:"steps" doc:"In the order of time; one without a scan is there, too."`
}

type latencyStep struct {
	At           time.Time      `json:"at" doc:"Its beginning." example:"2026-11-24T10:00:00Z"`
	Source       history.Source `json:"source" enum:",scans,hours,days,mixed" doc:"What it was read from; empty: there is no scan, or nothing is kept of this time." example:"hours"`
	Good         int            `json:"good" doc:"Scans that were good, and not slow." example:"60"`
	Slow         int            `json:"slow" doc:"Scans that were good, but slower than degraded_after_ms." example:"0"`
	Failed       int            `json:"failed" doc:"Scans that failed." example:"0"`
	Inconclusive int            `json:"inconclusive" doc:"Scans that say nothing of the target." example:"0"`
	AvgMS        *float64       `json:"avg_ms" doc:"Mean time." example:"83.4"`
	MinMS        *float64       `json:"min_ms" doc:"The shortest." example:"60.2"`
	P50MS        *float64       `json:"p50_ms" doc:"Half took no longer; within 4.5 %." example:"81.1"`
	P95MS        *float64       `json:"p95_ms" doc:"95 % took no longer; within 4.5 %." example:"120.7"`
	P99MS        *float64       `json:"p99_ms" doc:"99 % took no longer; within 4.5 %." example:"180.3"`
	MaxMS        *float64       `json:"max_ms" doc:"The longest." example:"201.9"`
	DNSMS        *float64       `json:"dns_ms" doc:"Of the mean: looking up the name. A scan without a phase spent no time in it." example:"2.1"`
	ConnectMS    *float64       `json:"connect_ms" doc:"Of the mean: connecting." example:"11.9"`
	TLSMS        *float64       `json:"tls_ms" doc:"Of the mean: the TLS handshake." example:"25.2"`
	WaitMS       *float64       `json:"wait_ms" doc:"Of the mean: from the request to the first byte of the answer." example:"40.3"`
	TransferMS   *float64       `json:"transfer_ms" doc:"Of the mean: reading the body." example:"3.9"`
}

func newLatencyStep(step history.Step) latencyStep {
	mean := func(sum *int64) *float64 {
		if sum == nil || step.Times() == 0 {
			return nil
		}
		return new(float64(*sum) / float64(step.Times()) / 1000)
	}
	return latencyStep{
		At: step.At.UTC(), Source: step.Source,
		Good: step.Good, Slow: step.Slow, Failed: step.Failed, Inconclusive: step.Inconclusive,
		AvgMS: mean(step.TotalUS), MinMS: milliseconds(step.MinUS), MaxMS: milliseconds(step.MaxUS),
		P50MS: percentileMS(step.Histogram, 0.5), P95MS: percentileMS(step.Histogram, 0.95), P99MS: percentileMS(step.Histogram, 0.99),
		DNSMS: mean(step.DNSUS), ConnectMS: mean(step.ConnectUS), TLSMS: mean(step.TLSUS), WaitMS: mean(step.WaitUS),
		TransferMS: mean(step.TransferUS),
	}
}

type getLatencyOutput struct{ Body latencyBody }

func (a *api) getLatency(ctx context.Context, in *historyInput) (*getLatencyOutput, error) {
	r, err := a.steps(in)
	if err != nil {
		return nil, err
	}
	if _, err := db.New(a.Pool).GetMonitor(ctx, in.ID); err != nil {
		return nil, fmt.Errorf("get monitor %d: %w", in.ID, err)
	}
	steps, err := history.Latency(ctx, a.Pool, in.ID, r.from, r.to, r.width)
	if err != nil {
		return nil, fmt.Errorf("latency of monitor %d: %w", in.ID, err)
	}
	total := history.Step{At: r.from}
	body := latencyBody{From: r.from, To: r.to, Step: r.name, Steps: make([]latencyStep, len(steps))}
	for i, step := range steps {
		total.Merge(step)
		body.Steps[i] = newLatencyStep(step)
	}
	body.Total = newLatencyStep(total)
	return &getLatencyOutput{body}, nil
}

// uptimeBody is how a monitor's time counts.
type uptimeBody struct {
	From  time.Time    `json:"from" doc:"Where the first step begins." example:"2026-11-23T10:00:00Z"`
	To    time.Time    `json:"to" doc:"Where the last step ends." example:"2026-11-24T10:00:00Z"`
	Step  string       `json:"step" enum:"5m,1h,1d" doc:"The width of a step." example:"1h"`
	Total uptimeStep   `json:"total" doc:"All steps together."`
	Steps []uptimeStep `json:"steps" doc:"In the order of time."`
}

type uptimeStep struct {
	At                 time.Time          `json:"at" doc:"Its beginning." example:"2026-11-24T10:00:00Z"`
	UpSeconds          float64            `json:"up_seconds" doc:"Time in which the target was up; degraded is counted by itself." example:"3540"`
	DegradedSeconds    float64            `json:"degraded_seconds" doc:"Time in which it was up, but slower than degraded_after_ms." example:"0"`
	DownSeconds        float64            `json:"down_seconds" doc:"Time in which it was down, by as many failed scans in a row as the monitor asks for." example:"60"`
	UnknownSeconds     float64            `json:"unknown_seconds" doc:"Time of which we cannot tell." example:"0"`
	UnknownReasons     map[string]float64 `json:"unknown_reasons" doc:"Of unknown_seconds, by why scans were missed: service_down, worker_lost, overloaded, internal_error, unaccounted; no_verdict: no scan had told anything yet." example:"{\"service_down\": 120}"`
	PausedSeconds      float64            `json:"paused_seconds" doc:"Time for which no scan was promised." example:"0"`
	MaintenanceSeconds float64            `json:"maintenance_seconds" doc:"Time of maintenance windows." example:"0"`
	Ratio              *float64           `json:"ratio" doc:"Up and degraded, by these and down: from 0 to 1. Null: nothing is known." example:"0.98333"`
	SuccessRate        *float64           `json:"success_rate" doc:"Good scans by those that say anything of the target, from 0 to 1: another number than the ratio, as a failure that was not confirmed counts in it. Null: there was none." example:"0.99"`
}

func newUptimeStep(at time.Time, stretches []uptime.Stretch, scans history.Sum) uptimeStep {
	c := uptime.CountOf(stretches)
	step := uptimeStep{
		At: at.UTC(), UpSeconds: c.Up.Seconds(), DegradedSeconds: c.Degraded.Seconds(), DownSeconds: c.Down.Seconds(),
		UnknownSeconds: c.Unknown.Seconds(), PausedSeconds: c.Paused.Seconds(), UnknownReasons: map[string]float64{},
	}
	for reason, took := range c.UnknownBy {
		word := string(reason)
		if word == "" {
			word = "no_verdict"
		}
		step.UnknownReasons[word] = took.Seconds()
	}
	if ratio, ok := c.Ratio(); ok {
		step.Ratio = &ratio
	}
	if told := scans.Good + scans.Slow + scans.Failed; told > 0 {
		step.SuccessRate = new(float64(scans.Good+scans.Slow) / float64(told))
	}
	return step
}

type getUptimeOutput struct{ Body uptimeBody }

func (a *api) getUptime(ctx context.Context, in *historyInput) (*getUptimeOutput, error) {
	r, err := a.steps(in)
	if err != nil {
		return nil, err
	}
	if _, err := db.New(a.Pool).GetMonitor(ctx, in.ID); err != nil {
		return nil, fmt.Errorf("get monitor %d: %w", in.ID, err)
	}
	uptimes, err := history.Uptimes(ctx, a.Pool, r.from, r.to, in.ID)
	if err != nil {
		return nil, fmt.Errorf("uptime of monitor %d: %w", in.ID, err)
	}
	stretches := uptimes[in.ID]
	scans, err := history.Latency(ctx, a.Pool, in.ID, r.from, r.to, r.width)
	if err != nil {
		return nil, fmt.Errorf("scans of monitor %d: %w", in.ID, err)
	}
	var all history.Sum
	body := uptimeBody{From: r.from, To: r.to, Step: r.name, Steps: make([]uptimeStep, len(scans))}
	for i, step := range scans {
		all.Add(step.Sum)
		until := step.At.Add(r.width)
		body.Steps[i] = newUptimeStep(step.At, uptime.Within(stretches, uptime.Span{From: step.At, Until: until}), step.Sum)
	}
	body.Total = newUptimeStep(r.from, stretches, all)
	return &getUptimeOutput{body}, nil
}

const getStorageDoc = "What is kept of the past, from when on, how large it is, how fast it grows, and how long it will last at this " +
	"rate: for the log, its hours and its days."

// storageBody is what is kept.
type storageBody struct {
	Data           []keptBody `json:"data" doc:"The log (scans), hours and days."`
	RolledUpUntil  *time.Time `json:"rolled_up_until" doc:"All hours before this are rolled up. Null: none is." example:"2026-11-24T10:00:00Z"`
	ScansCutBySize bool       `json:"scans_cut_by_size" doc:"Whether the log is cut by RIVERWATCH_KEEP_SCANS_BYTES now, before it is as old as RIVERWATCH_KEEP_SCANS." example:"false"`
}

type keptBody struct {
	Name        string     `json:"name" enum:"scans,hours,days" doc:"Which." example:"scans"`
	From        *time.Time `json:"from" doc:"Of the oldest that is kept. Null: there is nothing." example:"2026-10-25T00:00:00Z"`
	Bytes       int64      `json:"bytes" doc:"On disk, with indexes." example:"4200000000"`
	BytesPerDay *int64     `json:"bytes_per_day" doc:"How fast it grows: of what has come in whole chunks. Null: there is none yet." example:"142000000"`
	DaysLeft    *float64   `json:"days_until_cut" doc:"At this rate, how many days until the log is as large as it may be. Null: never, or nothing says so yet." example:"322.5"`
}

type getStorageOutput struct{ Body storageBody }

func (a *api) getStorage(ctx context.Context, _ *struct{}) (*getStorageOutput, error) {
	stored, err := history.Stored(ctx, a.Pool, a.Now())
	if err != nil {
		return nil, fmt.Errorf("what is kept: %w", err)
	}
	out := &getStorageOutput{}
	out.Body.ScansCutBySize = stored.CutBySize
	if !stored.RolledUntil.IsZero() {
		out.Body.RolledUpUntil = new(stored.RolledUntil.UTC())
	}
	for _, t := range stored.Tables {
		kept := keptBody{Name: t.Name, Bytes: t.Bytes, BytesPerDay: t.BytesPerDay}
		if !t.From.IsZero() {
			kept.From = new(t.From.UTC())
		}
		if days, ok := a.Keep.DaysUntilCut(t); ok && t.Name == "scans" {
			kept.DaysLeft = &days
		}
		out.Body.Data = append(out.Body.Data, kept)
	}
	return out, nil
}
