package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"riverwatch/db"
	"riverwatch/monitors"
	"riverwatch/probe"
	"riverwatch/record"
	"riverwatch/sight"
	"riverwatch/uptime"
)

const (
	// startWithin is how long a probe may wait for its turn. With it and the longest timeout of a probe, a round ends
	// within its jobTimeout.
	startWithin = 12 * time.Second
	// A frozen database answers nothing, not even its own statement_timeout.
	writeWithin = 10 * time.Second
)

// A Prober makes one request to a target; [*probe.Prober] does.
type Prober interface {
	Probe(ctx context.Context, target probe.Target) probe.Result
}

// scanner makes scans: what the jobs of one process share.
type scanner struct {
	conn     db.Conn
	prober   Prober
	recorder *record.Recorder
	sight    *sight.Sight
	limiter  *limiter
	name     string
	now      func() time.Time
	logger   *slog.Logger
	metrics  *metrics
	tracer   trace.Tracer

	startWithin time.Duration
}

// mayTake reports whether this worker takes rounds and scans: if it sees the network, and keeps up with what it has.
func (s *scanner) mayTake() bool { return !s.sight.Blind() && !s.limiter.full(s.now()) }

// await waits for a place to probe the monitor's host until ctx is done.
func (s *scanner) await(ctx context.Context, monitor monitors.Monitor) (release func(), err error) {
	target, err := url.Parse(monitor.URL)
	if err != nil {
		return nil, fmt.Errorf("parse the URL of monitor %d: %w", monitor.ID, err)
	}
	return s.limiter.acquire(ctx, target.Host)
}

// scan probes a monitor and returns once the result is recorded. A cancelled probe is recorded too, as inconclusive.
func (s *scanner) scan(
	ctx context.Context, monitor monitors.Monitor, slot time.Time, reason string,
) (uptime.Outcome, error) {
	ctx, span := s.tracer.Start(ctx, "probe", trace.WithSpanKind(trace.SpanKindClient))
	s.metrics.inFlight.Inc()
	result := s.prober.Probe(ctx, monitor.Target())
	s.metrics.inFlight.Dec()
	result = s.sight.Scanned(monitor.Monitor, result)
	scan := s.scanOf(monitor, slot, reason, result)
	endProbe(span, scan)

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeWithin)
	defer cancel()
	if err := s.recorder.Record(ctx, scan, result.Certificate); err != nil {
		return "", err
	}
	return result.Outcome, nil
}

// endProbe ends the span of a probe with what the log will say of it. Status Error is trouble of ours; that a target is
// down, its outcome says. No text of the monitor or of its target is in it: a URL's path, query and user may be secrets,
// and so may what a target echoes.
func endProbe(span trace.Span, scan db.Scan) {
	defer span.End()
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(
		attribute.Int64("riverwatch.monitor_id", scan.MonitorID),
		attribute.String("riverwatch.slot", scan.Slot.Format(time.RFC3339Nano)),
		attribute.String("riverwatch.reason", scan.Reason),
		attribute.String("riverwatch.outcome", string(scan.Outcome)),
		attribute.Int("riverwatch.late_ms", scan.LateMS),
	)
	if scan.HTTPStatus != nil {
		span.SetAttributes(attribute.Int("http.response.status_code", *scan.HTTPStatus))
	}
	for _, phase := range scan.Phases() {
		if phase.US != nil {
			span.SetAttributes(attribute.Int("riverwatch."+phase.Name+"_us", *phase.US))
		}
	}
	if scan.Outcome == uptime.Inconclusive {
		span.SetStatus(codes.Error, string(scan.Outcome))
	}
}

func (s *scanner) scanOf(monitor monitors.Monitor, slot time.Time, reason string, result probe.Result) db.Scan {
	scan := db.Scan{
		Slot:           slot,
		MonitorID:      monitor.ID,
		LateMS:         lateMS(result.Start, slot),
		DNSUS:          microseconds(result.DNS),
		ConnectUS:      microseconds(result.Connect),
		TLSUS:          microseconds(result.TLS),
		WaitUS:         microseconds(result.Wait),
		TransferUS:     microseconds(result.Transfer),
		TotalUS:        int(result.Total.Microseconds()),
		MonitorVersion: monitor.Version,
		HTTPStatus:     result.HTTPStatus,
		RegexpMatched:  result.RegexpMatched,
		Outcome:        result.Outcome,
		Reason:         reason,
		Worker:         s.name,
		RemoteIP:       unlessZero(result.RemoteIP),
		Error:          unlessZero(result.Error),
		BodyExcerpt:    unlessZero(result.BodyExcerpt),
		BodyBytes:      nil,
	}
	if result.BodyBytes != nil {
		bytes := int(*result.BodyBytes)
		scan.BodyBytes = &bytes
	}
	return scan
}

// unlessZero gives what the log holds as null if it is the zero value.
func unlessZero[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}

// lateMS gives start minus slot as far as the log holds it, some 24 days: a clock may jump.
func lateMS(start, slot time.Time) int {
	return int(min(max(start.Sub(slot).Milliseconds(), math.MinInt32), math.MaxInt32))
}

func microseconds(d *time.Duration) *int {
	if d == nil {
		return nil
	}
	us := int(d.Microseconds())
	return &us
}
