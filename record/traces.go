package record

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// startBatch begins the span of a batch, which links to the probes in it.
func (r *Recorder) startBatch(ctx context.Context, batch []*result) (context.Context, trace.Span) {
	var links []trace.Link
	for _, one := range batch {
		if one.probe.IsSampled() {
			links = append(links, trace.Link{SpanContext: one.probe})
		}
	}
	return r.tracer.Start(ctx, "record", trace.WithLinks(links...),
		trace.WithAttributes(attribute.Int("riverwatch.batch_size", len(batch))))
}

// endBatch ends the span of a batch. Of an error only its code is told: the text may hold what a target sent.
func endBatch(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, "not recorded")
		span.SetAttributes(attribute.String("db.response.status_code", sqlState(err)))
	}
	span.End()
}
