package httpapi_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"riverwatch/db/dbtest"
	"riverwatch/httpapi"
	"riverwatch/queue"
)

func TestTraces(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	newTracedAPI := func(t *testing.T) (*testAPI, *tracetest.InMemoryExporter) {
		t.Helper()
		spans := tracetest.NewInMemoryExporter()
		provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
		inserts, err := queue.New(pool, slog.New(slog.DiscardHandler), provider)
		require.NoError(t, err)
		return &testAPI{t: t, handler: httpapi.New(httpapi.Config{
			Pool: pool, Queue: inserts, Version: "test", Now: time.Now, Logger: slog.New(slog.DiscardHandler), Traces: provider,
		})}, spans
	}

	t.Run("ACallHasTheJobsThatItInserts", func(t *testing.T) {
		t.Parallel()
		a, spans := newTracedAPI(t)
		require.Equal(t, http.StatusCreated, a.post(monitorsPath, `{"url":"http://example.com/?token=s3cret"}`).status)
		ended := spans.GetSpans()
		require.Len(t, ended, 3, "its round, its scan, and itself")
		insert, call := ended[1], ended[2]
		require.Equal(t, "river.insert_many", insert.Name)
		require.Equal(t, "POST /api/v1/monitors", call.Name)
		require.Equal(t, call.SpanContext.SpanID(), insert.Parent.SpanID())
		require.Contains(t, call.Attributes, attribute.String("http.route", "/api/v1/monitors"))
		require.Contains(t, call.Attributes, attribute.Int("http.response.status_code", http.StatusCreated))
		require.NotContains(t, fmt.Sprint(ended), "s3cret")
	})

	t.Run("ItIsPartOfItsCallersTrace", func(t *testing.T) {
		t.Parallel()
		a, spans := newTracedAPI(t)
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, monitorsPath+"?q=s3cret", http.NoBody)
		request.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		request.Header.Set("Authorization", "Bearer s3cret")
		a.serve(request)
		call := spans.GetSpans()[0]
		require.Equal(t, "0af7651916cd43dd8448eb211c80319c", call.SpanContext.TraceID().String())
		require.Equal(t, "b7ad6b7169203331", call.Parent.SpanID().String())
		require.NotContains(t, fmt.Sprint(call), "s3cret")
	})

	t.Run("WhatItsCallerDidWrongIsNoErrorOfOurs", func(t *testing.T) {
		t.Parallel()
		a, spans := newTracedAPI(t)
		require.Equal(t, http.StatusNotFound, a.get(monitorsPath+"/4711").status)
		call := spans.GetSpans()[0]
		require.Equal(t, "GET /api/v1/monitors/:id", call.Name)
		require.Equal(t, codes.Unset, call.Status.Code)
	})

	t.Run("APanicIs", func(t *testing.T) {
		t.Parallel()
		spans := tracetest.NewInMemoryExporter()
		a := &testAPI{t: t, handler: httpapi.New(httpapi.Config{ // no pool: whoever asks for it panics
			Version: "test", Now: time.Now, Logger: slog.New(slog.DiscardHandler),
			Traces: sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)),
		})}
		require.Equal(t, http.StatusInternalServerError, a.get(monitorsPath).status)
		require.Equal(t, codes.Error, spans.GetSpans()[0].Status.Code)
	})

	t.Run("HealthAndDocumentationHaveNone", func(t *testing.T) {
		t.Parallel()
		a, spans := newTracedAPI(t)
		for _, path := range []string{"/livez", "/readyz", "/docs/", "/openapi.json"} {
			require.Equal(t, http.StatusOK, a.get(path).status, path)
		}
		require.Empty(t, spans.GetSpans())
	})
}
