package queue

import (
	"context"
	"errors"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/riverqueue/rivercontrib/otelriver"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
)

// Middleware makes a span of each job that is worked and of each insertion; without traces (nil) there is none. They are
// no family, since a job may wait for long: a job links to the span that inserted it, by what that leaves in its
// metadata.
func Middleware(traces trace.TracerProvider) []rivertype.Middleware {
	if traces == nil {
		return nil
	}
	return []rivertype.Middleware{
		otelriver.NewMiddleware(&otelriver.MiddlewareConfig{
			EnableTracePropagation:      true,
			EnableWorkSpanJobKindSuffix: true,
			MeterProvider:               metricnoop.NewMeterProvider(), // our metrics are Prometheus's
			TracerProvider:              traces,
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
