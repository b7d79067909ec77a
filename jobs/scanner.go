package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"runtime"
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

// errNotBegun is why a monitor is not scanned: its turn did not come in time.
var errNotBegun = errors.New("no place for a probe was free in time")

// scan waits for the monitor's turn until startCtx is done, probes it, and returns once the result is recorded. A probe that is
// cancelled is recorded too, as inconclusive. Its place is free again once the recorder has the result. Errors: errNotBegun,
// those of record.Recorder.
func (s *scanner) scan(
	ctx, startCtx context.Context, monitor monitors.Monitor, slot time.Time, reason string,
) (uptime.Outcome, error) {
	target, err := url.Parse(monitor.URL)
	if err != nil {
		return "", fmt.Errorf("parse the URL of monitor %d: %w", monitor.ID, err)
	}
	probeCtx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	release, err := s.limiter.acquire(startCtx, target.Host, candidate{monitor.ID, slot, giveUp})
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNotBegun, err)
	}
	taken, outcome, err := s.probe(probeCtx, monitor, slot, reason, release)
	if err != nil {
		return "", err
	}
	return outcome, taken.Await()
}

// probe makes the probe of a scan, and hands its result to the recorder. Then it releases its place.
func (s *scanner) probe(
	ctx context.Context, monitor monitors.Monitor, slot time.Time, reason string, release func(probe.Result),
) (record.Taken, uptime.Outcome, error) {
	growStack()
	result := probe.Result{Outcome: uptime.Inconclusive} // if it panics
	defer func() { release(result) }()
	ctx, span := s.tracer.Start(ctx, "probe", trace.WithSpanKind(trace.SpanKindClient))
	s.metrics.inFlight.Inc()
	result = s.prober.Probe(ctx, monitor.Target())
	s.metrics.inFlight.Dec()
	if result.Outcome == uptime.Inconclusive && errors.Is(context.Cause(ctx), errGivenUp) {
		result.Error = errGivenUp.Error()
	}
	result = s.sight.Scanned(monitor.Monitor, result)
	scan := s.scanOf(monitor, slot, reason, result)
	endProbe(span, scan)
	certificate := result.Certificate
	result.Certificate = nil // it may be large, and does not wait for the database

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeWithin)
	defer cancel()
	taken, err := s.recorder.Take(ctx, scan, certificate)
	return taken, result.Outcome, err
}

// growStack makes a goroutine's stack as large as a probe needs, while there is little on it: else it doubles several times on the
// way down, and each time all that is on it is copied. That was a twentieth of a worker's CPU.
//
//go:noinline
func growStack() {
	var room [12 << 10]byte
	runtime.KeepAlive(&room)
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
