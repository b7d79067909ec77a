package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/riverqueue/rivercontrib/otelriver"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"

	"riverwatch/db"
	"riverwatch/uptime"
)

// Traces makes spans of what a process works: jobs, probes, and batches that are recorded. A nil *Traces makes none, and
// costs a scan nothing. Status Error of a span is trouble of ours; that a target is down, its outcome says.
type Traces struct {
	provider trace.TracerProvider
	tracer   trace.Tracer
}

// NewTraces makes spans with a provider; if that is nil, none.
func NewTraces(provider trace.TracerProvider) *Traces {
	if provider == nil {
		return nil
	}
	return &Traces{provider: provider, tracer: provider.Tracer("riverwatch/jobs")}
}

// Middleware makes a span of each job that is worked and of each insertion. They are no family, since a job may wait for
// long: a job links to the span that inserted it, by what that leaves in its metadata.
func (t *Traces) Middleware() []rivertype.Middleware {
	if t == nil {
		return nil
	}
	return []rivertype.Middleware{
		otelriver.NewMiddleware(&otelriver.MiddlewareConfig{
			EnableTracePropagation:      true,
			EnableWorkSpanJobKindSuffix: true,
			MeterProvider:               metricnoop.NewMeterProvider(), // our metrics are Prometheus's
			TracerProvider:              t.provider,
		}),
		&jobSpan{},
	}
}

// jobSpan adds to River's span of a job which one it is, by its args, which hold ids and slots only.
type jobSpan struct{ river.MiddlewareDefaults }

// Work implements rivertype.WorkerMiddleware. A job that is not wanted any more is no trouble: to a span that is Ok,
// River's middleware gives no other status.
func (*jobSpan) Work(ctx context.Context, job *rivertype.JobRow, work func(context.Context) error) error {
	span := trace.SpanFromContext(ctx)
	span.SetAttributes(attribute.String("args", string(job.EncodedArgs)))
	err := work(ctx)
	if errors.Is(err, &river.JobCancelError{}) {
		span.SetStatus(codes.Ok, "")
	}
	return err
}

// startProbe begins the span of a probe; nil: there is none.
func (t *Traces) startProbe(ctx context.Context) (context.Context, trace.Span) {
	if t == nil {
		return ctx, nil
	}
	return t.tracer.Start(ctx, "probe", trace.WithSpanKind(trace.SpanKindClient))
}

// endProbe ends the span of a probe with what the log will say of it. No text of the monitor or of its target is in it:
// a URL's path, query and user may be secrets, and so may what a target echoes.
func endProbe(span trace.Span, scan db.Scan) {
	if span == nil {
		return
	}
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
	for _, phase := range phasesOf(&scan) {
		if phase.us != nil {
			span.SetAttributes(attribute.Int("riverwatch."+phase.name+"_us", *phase.us))
		}
	}
	if scan.Outcome == uptime.Inconclusive {
		span.SetStatus(codes.Error, string(scan.Outcome))
	}
}

// probeOf gives the span of the probe whose result is handed over with ctx; nil: there is none.
func (t *Traces) probeOf(ctx context.Context) trace.Span {
	if t == nil {
		return nil
	}
	return trace.SpanFromContext(ctx)
}

// startRecord begins the span of a batch, which links to the probes in it; nil: there is none.
func (t *Traces) startRecord(ctx context.Context, batch []*record) (context.Context, trace.Span) {
	if t == nil {
		return ctx, nil
	}
	var links []trace.Link
	for _, rec := range batch {
		if probe := rec.probe.SpanContext(); probe.IsSampled() {
			links = append(links, trace.Link{SpanContext: probe})
		}
	}
	return t.tracer.Start(ctx, "record", trace.WithLinks(links...),
		trace.WithAttributes(attribute.Int("riverwatch.batch_size", len(batch))))
}

// endRecord ends the span of a batch. Of an error only its code is told: the text may hold what a target sent.
func endRecord(span trace.Span, err error) {
	if span == nil {
		return
	}
	if err != nil {
		span.SetStatus(codes.Error, "not recorded")
		span.SetAttributes(attribute.String("db.response.status_code", sqlState(err)))
	}
	span.End()
}
