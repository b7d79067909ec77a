package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"riverwatch/db/dbtest"
)

// otlpCollector is a collector that keeps what it is sent.
type otlpCollector struct {
	*httptest.Server

	mu    sync.Mutex
	paths map[string]int
	names map[string]int // how many spans of a name
	spans map[string]*tracepb.Span
	from  map[string]string // attributes of the process
}

func newCollector(t *testing.T) *otlpCollector {
	t.Helper()
	c := &otlpCollector{
		paths: map[string]int{}, names: map[string]int{}, spans: map[string]*tracepb.Span{}, from: map[string]string{},
	}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := c.take(r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *otlpCollector) take(r *http.Request) error {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if r.Header.Get("Content-Encoding") == "gzip" {
		reader, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return err
		}
		if raw, err = io.ReadAll(reader); err != nil {
			return err
		}
	}
	var request collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(raw, &request); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paths[r.URL.Path]++
	for _, process := range request.GetResourceSpans() {
		for _, a := range process.GetResource().GetAttributes() {
			c.from[a.GetKey()] = a.GetValue().GetStringValue()
		}
		for _, scope := range process.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				c.names[span.GetName()]++
				c.spans[string(span.GetSpanId())] = span
			}
		}
	}
	return nil
}

// parents gives the names of the parents that the spans of a name have.
func (c *otlpCollector) parents(name string) map[string]bool {
	parents := map[string]bool{}
	for _, span := range c.spans {
		if span.GetName() == name {
			parents[c.spans[string(span.GetParentSpanId())].GetName()] = true
		}
	}
	return parents
}

// scanned runs the program, which has scanned a target.
func scanned(t *testing.T, settings map[string]string) *running {
	t.Helper()
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(target.Close)
	environment := map[string]string{
		"DATABASE_URL": dbtest.EmptyURL(t), "RIVERWATCH_LISTEN": "127.0.0.1:0", "RIVERWATCH_ALLOW_CIDRS": "127.0.0.0/8",
		"RIVERWATCH_METRICS_LISTEN": "off",
	}
	maps.Copy(environment, settings)
	r := start(t, environment, "serve").answers()
	status, raw := r.request(http.MethodPost, "/api/v1/monitors", fmt.Sprintf(`{"url":%q,"interval_seconds":10}`, target.URL))
	require.Equal(t, http.StatusCreated, status, raw)
	var created struct{ ID int64 }
	require.NoError(t, json.Unmarshal([]byte(raw), &created))
	require.Eventually(t, func() bool {
		_, raw := r.request(http.MethodGet, fmt.Sprintf("/api/v1/monitors/%d/scans", created.ID), "")
		return bytes.Contains([]byte(raw), []byte(`"reason":"asked"`))
	}, 30*time.Second, 100*time.Millisecond)
	return r
}

func TestTraces(t *testing.T) {
	t.Parallel()

	t.Run("AreSent", func(t *testing.T) {
		t.Parallel()
		c := newCollector(t)
		r := scanned(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL})
		require.Eventually(t, func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			parents := c.parents("probe")
			return parents["river.work/scan"] && parents["river.work/round"]
		}, 30*time.Second, 100*time.Millisecond)
		require.NoError(t, r.stop())

		c.mu.Lock()
		defer c.mu.Unlock()
		require.Equal(t, []string{"/v1/traces"}, slices.Collect(maps.Keys(c.paths)))
		require.Equal(t, "riverwatch", c.from["service.name"])
		require.Equal(t, version, c.from["service.version"])
		require.Equal(t, 1, c.names["POST /api/v1/monitors"])
		require.NotZero(t, c.names["record"])
		require.Contains(t, c.parents("river.insert_many"), "POST /api/v1/monitors")
		require.Contains(t, c.parents("river.insert_many"), "river.work/round", "the next one")
	})

	t.Run("AreNotSentUnlessAskedFor", func(t *testing.T) {
		t.Parallel()
		c := newCollector(t)
		r := scanned(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_SDK_DISABLED": "true"})
		require.NoError(t, r.stop())
		require.Empty(t, c.paths)
	})

	t.Run("ACollectorThatRefusesIsLoggedAndHindersNothing", func(t *testing.T) {
		t.Parallel()
		c := httptest.NewServer(http.NotFoundHandler())
		t.Cleanup(c.Close)
		r := scanned(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL})
		require.Eventually(t, func() bool { return strings.Contains(r.stderr.String(), "traces are lost") },
			20*time.Second, 20*time.Millisecond)
		require.NoError(t, r.stop())
	})

	t.Run("ACollectorThatHangsHindersNothing", func(t *testing.T) {
		t.Parallel()
		stopped := make(chan struct{})
		c := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stopped }))
		t.Cleanup(c.Close)
		defer close(stopped)
		r := scanned(t, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": c.URL + "/v1/traces"})
		require.NoError(t, r.stop())
		require.Contains(t, r.stderr.String(), "the last traces are lost")
	})
}

type exporterFunc func(context.Context, []sdktrace.ReadOnlySpan) error

func (f exporterFunc) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	return f(ctx, spans)
}

func (f exporterFunc) Shutdown(context.Context) error { return nil }

func TestTheLastTracesAreFlushed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sent := make(chan []sdktrace.ReadOnlySpan, 1)
		traces, flush := newTraces(t.Context(), exporterFunc(func(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
			sent <- spans
			return nil
		}), resource.Empty(), slog.New(slog.DiscardHandler))
		_, span := traces.Tracer("").Start(t.Context(), "probe")
		span.End()
		flush()
		require.Len(t, <-sent, 1)
	})
}

func TestNobodyWaitsForACollector(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		released := make(chan struct{})
		defer close(released)
		traces, flush := newTraces(t.Context(), exporterFunc(func(context.Context, []sdktrace.ReadOnlySpan) error {
			<-released // whatever its context says
			return nil
		}), resource.Empty(), slog.New(slog.DiscardHandler))
		began := time.Now()
		for range 10 * sdktrace.DefaultMaxQueueSize {
			_, span := traces.Tracer("").Start(t.Context(), "probe")
			span.End()
		}
		require.Zero(t, time.Since(began))
		flush()
		require.Equal(t, flushTimeout, time.Since(began))
	})
}

func TestTracesEndpoint(t *testing.T) {
	t.Parallel()
	const base, full = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	for name, test := range map[string]struct {
		environment map[string]string
		want        string
	}{
		"NothingIsSet":        {map[string]string{}, ""},
		"ABase":               {map[string]string{base: "http://c:4318"}, "http://c:4318/v1/traces"},
		"ABaseWithAPath":      {map[string]string{base: "https://c/otlp/"}, "https://c/otlp/v1/traces"},
		"OneOfTraces":         {map[string]string{full: "http://c/x"}, "http://c/x"},
		"TheOneOfTracesWins":  {map[string]string{base: "http://b", full: "http://c/x"}, "http://c/x"},
		"TheSDKIsDisabled":    {map[string]string{base: "http://c", "OTEL_SDK_DISABLED": "TRUE"}, ""},
		"TheSDKIsNotDisabled": {map[string]string{full: "http://c/x", "OTEL_SDK_DISABLED": "false"}, "http://c/x"},
		"NoExporter":          {map[string]string{base: "http://c", "OTEL_TRACES_EXPORTER": "none"}, ""},
		"NoExporterNoURL":     {map[string]string{base: "c", "OTEL_TRACES_EXPORTER": "none"}, ""},
		"TheExporterAndNoURL": {map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.environment["DATABASE_URL"] = "postgres://u@h/d"
			c, err := loadConfig(func(name string) string { return test.environment[name] })
			require.NoError(t, err)
			require.Equal(t, test.want, c.tracesEndpoint())
		})
	}
}
