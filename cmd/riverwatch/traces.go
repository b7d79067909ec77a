package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// tracesEndpoint is where the environment wants traces to be sent; empty: nowhere.
func (c config) tracesEndpoint() string {
	switch {
	case strings.EqualFold(c.OTelDisabled, "true") || c.TracesExporter == "none":
		return ""
	case c.TracesEndpoint != "":
		return c.TracesEndpoint
	case c.OTLPEndpoint != "":
		return strings.TrimSuffix(c.OTLPEndpoint, "/") + "/v1/traces"
	default:
		return ""
	}
}

// startTraces makes the provider of traces that the environment asks for, nil if it asks for none. flush sends what is
// left, at the end.
func startTraces(ctx context.Context, c config, logger *slog.Logger) (traces trace.TracerProvider, flush func(), err error) {
	endpoint := c.tracesEndpoint()
	if endpoint == "" {
		return nil, func() {}, nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint))
	if err != nil {
		return nil, nil, fmt.Errorf("make the exporter of traces: %w", err)
	}
	process, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", "riverwatch"), attribute.String("service.version", version)),
		resource.WithFromEnv(), // last, so that OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win
	)
	if err != nil { // what could be read of it is there
		logger.WarnContext(ctx, "traces lack some attributes of this process", slog.Any("error", err))
	}
	traces, flush = newTraces(ctx, exporter, process, logger)
	return traces, flush, nil
}

// newTraces makes a provider that hands spans to an exporter in batches, from a queue of its own. When that is full, new
// spans are dropped: nobody ever waits for a collector, except flush, and that for flushTimeout at most.
func newTraces(
	ctx context.Context, exporter sdktrace.SpanExporter, process *resource.Resource, logger *slog.Logger,
) (traces trace.TracerProvider, flush func()) {
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&loggedExporter{SpanExporter: exporter, logger: logger}), sdktrace.WithResource(process))
	return provider, func() {
		flushCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
		defer cancel()
		if err := provider.Shutdown(flushCtx); err != nil {
			logger.WarnContext(ctx, "the last traces are lost", slog.Any("error", err))
		}
	}
}

// loggedExporter logs what goes wrong with an exporter, once a minute at most.
type loggedExporter struct {
	sdktrace.SpanExporter

	logger   *slog.Logger
	loggedAt time.Time
}

// ExportSpans implements sdktrace.SpanExporter, whose calls do not overlap. The SDK is told of no error: it would log it
// by a variable of its package.
func (e *loggedExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if err != nil && time.Since(e.loggedAt) >= time.Minute {
		e.loggedAt = time.Now()
		e.logger.WarnContext(ctx, "traces are lost", slog.Int("spans", len(spans)), slog.Any("error", err))
	}
	return nil
}
