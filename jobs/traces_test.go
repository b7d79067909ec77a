package jobs_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertest"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"riverwatch/db/dbtest"
	"riverwatch/jobs"
	"riverwatch/monitors"
	"riverwatch/monitors/monitorstest"
	"riverwatch/probe"
	"riverwatch/queue"
	"riverwatch/uptime"
)

// traced is a process with traces, which it keeps.
type traced struct {
	*process

	spans *tracetest.InMemoryExporter
}

// newTraced makes one whose probes are made by prober; nil: by a real one.
func newTraced(t *testing.T, prober jobs.Prober) *traced {
	t.Helper()
	if prober == nil {
		prober = newProcess(t).config.Prober
	}
	spans := tracetest.NewInMemoryExporter()
	return &traced{spans: spans, process: newProcessOf(t, jobs.Config{
		Pool: dbtest.New(t), Name: "test", Prober: prober, Logger: discard,
		Limits: jobs.Limits{Probes: 9, ProbesPerHost: 9, Results: 10_000, Retries: 100},
		Traces: sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)),
	})}
}

// workTraced works a job as a client does that has middleware.
func workTraced[T river.JobArgs](t *testing.T, p *traced, worker river.Worker[T], args T) {
	t.Helper()
	tx, err := p.Pool.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(t.Context()) //nolint:errcheck // the job is not kept
	config := &river.Config{Logger: discard, Middleware: queue.Middleware(p.config.Traces)}
	_, _ = rivertest.NewWorker(t, driver, config, worker).Work(t.Context(), t, tx, args, nil)
}

// named gives the spans of a name, in the order in which they ended.
func (p *traced) named(name string) (named tracetest.SpanStubs) {
	for _, span := range p.spans.GetSpans() {
		if span.Name == name {
			named = append(named, span)
		}
	}
	return named
}

// span gives the only span of a name.
func (p *traced) span(t *testing.T, name string) tracetest.SpanStub {
	t.Helper()
	named := p.named(name)
	require.Len(t, named, 1, name)
	return named[0]
}

func attributes(span tracetest.SpanStub) map[string]any {
	all := map[string]any{}
	for _, a := range span.Attributes {
		all[string(a.Key)] = a.Value.AsInterface()
	}
	return all
}

func TestTraces(t *testing.T) {
	t.Parallel()

	t.Run("ARoundHasItsProbesAndIsLinkedToWhatIsRecorded", func(t *testing.T) {
		t.Parallel()
		headers := make(chan http.Header, 1)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			headers <- r.Header
			w.WriteHeader(http.StatusInternalServerError)
		}))
		t.Cleanup(s.Close)
		p := newTraced(t, nil)
		monitor := p.Create(t, monitorstest.Of(s.URL+"/s3cret?token=s3cret", 10))
		slot := monitor.Schedule().Next(monitorstest.Noon)
		p.SetNow(slot)
		workTraced(t, p, p.worker.RoundWorker(), roundOf(monitor, slot))

		job, probed, recorded := p.span(t, "river.work/round"), p.span(t, "probe"), p.span(t, "record")
		require.Equal(t, codes.Ok, job.Status.Code)
		require.Contains(t, attributes(job)["args"], `"interval": 10`)

		require.Equal(t, job.SpanContext.SpanID(), probed.Parent.SpanID())
		require.Equal(t, job.SpanContext.TraceID(), probed.SpanContext.TraceID())
		require.Equal(t, trace.SpanKindClient, probed.SpanKind)
		require.Equal(t, codes.Unset, probed.Status.Code, "that a target is down is no trouble of ours")
		row := dbtest.One[string](t, p.Pool, `SELECT concat_ws(' ', monitor_id, outcome, http_status, connect_us, wait_us, total_us, late_ms)
			FROM monitor_log`)
		told := attributes(probed)
		require.Equal(t, row, fmt.Sprint(told["riverwatch.monitor_id"], " ", told["riverwatch.outcome"], " ",
			told["http.response.status_code"], " ", told["riverwatch.connect_us"], " ", told["riverwatch.wait_us"], " ",
			told["riverwatch.total_us"], " ", told["riverwatch.late_ms"]))
		require.Equal(t, "round", told["riverwatch.reason"])
		require.Equal(t, slot.Format(time.RFC3339), told["riverwatch.slot"])
		require.NotContains(t, told, "riverwatch.tls_us", "it was not measured")

		require.Contains(t, recorded.Attributes, attribute.Int("riverwatch.batch_size", 1))
		require.Equal(t, codes.Unset, recorded.Status.Code)
		require.False(t, recorded.Parent.IsValid(), "it is of many jobs")
		require.Len(t, recorded.Links, 1)
		require.Equal(t, probed.SpanContext.SpanID(), recorded.Links[0].SpanContext.SpanID())

		inserted := p.named("river.insert_many")
		require.Len(t, inserted, 2, "the round itself, and the next one")
		require.Equal(t, job.SpanContext.SpanID(), inserted[1].Parent.SpanID())
		require.NotContains(t, fmt.Sprint(p.spans.GetSpans()), "s3cret")
		require.NotContains(t, <-headers, "Traceparent", "a target is told of no trace")
	})

	t.Run("AScanIsLinkedToWhatInsertedIt", func(t *testing.T) {
		t.Parallel()
		p, s := newTraced(t, nil), newTarget(t)
		ctx, call := sdktrace.NewTracerProvider().Tracer("").Start(t.Context(), "call")
		store := monitors.Store{Conn: p.Pool, Queue: p.worker.Queue()}
		_, err := store.Create(ctx, []monitors.Monitor{monitorstest.Of(s.URL, 86400)}, false)
		require.NoError(t, err)
		inserted := p.named("river.insert_many")
		require.Len(t, inserted, 2, "its scan, and its rounds")
		require.Equal(t, call.SpanContext().SpanID(), inserted[0].Parent.SpanID())

		stop, stopped := p.start(t, 20*time.Second)
		require.Eventually(t, func() bool { return p.Count(t, "river_job WHERE kind = 'scan' AND state = 'completed'") == 1 },
			20*time.Second, 10*time.Millisecond)
		stop()
		<-stopped
		job := p.span(t, "river.work/scan")
		require.True(t, slices.ContainsFunc(p.named("probe"), func(probed tracetest.SpanStub) bool {
			return probed.Parent.SpanID() == job.SpanContext.SpanID()
		}))
		require.Len(t, job.Links, 1)
		require.Equal(t, inserted[0].SpanContext.SpanID(), job.Links[0].SpanContext.SpanID())
	})

	t.Run("TroubleOfOursIsAnError", func(t *testing.T) {
		t.Parallel()
		p := newTraced(t, proberFunc(func(context.Context, probe.Target) probe.Result {
			return probe.Result{Start: monitorstest.Noon, Outcome: uptime.Inconclusive, Error: "a\x00b"} // the database does not take it
		}))
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("trouble"), 86400))
		p.SetNow(monitorstest.Noon.Add(time.Microsecond))
		workTraced(t, p, p.worker.ScanWorker(),
			queue.ScanArgs{MonitorID: monitor.ID, At: p.Now(), Reason: queue.ReasonAsked})
		for _, name := range []string{"river.work/scan", "probe", "record"} {
			require.Equal(t, codes.Error, p.span(t, name).Status.Code, name)
		}
		require.Equal(t, "22021", attributes(p.span(t, "record"))["db.response.status_code"])
	})

	t.Run("AJobThatIsNotWantedAnyMoreIsNone", func(t *testing.T) {
		t.Parallel()
		p := newTraced(t, nil)
		workTraced(t, p, p.worker.ScanWorker(), queue.ScanArgs{MonitorID: 1, At: monitorstest.Noon, Reason: queue.ReasonAsked})
		job := p.span(t, "river.work/scan")
		require.Equal(t, codes.Ok, job.Status.Code)
		require.Equal(t, true, attributes(job)["cancel"])
	})

	t.Run("ABatchLinksToWhatWasSampledOnly", func(t *testing.T) {
		t.Parallel()
		p := newTraced(t, nil)
		never := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))
		for i, provider := range []*sdktrace.TracerProvider{sdktrace.NewTracerProvider(), never} {
			ctx, _ := provider.Tracer("").Start(t.Context(), "probe")
			require.NoError(t, p.worker.Recorder().Record(ctx, dbtest.Scan(1, monitorstest.Noon.Add(time.Duration(i)*time.Second)), nil))
			require.Len(t, p.span(t, "record").Links, 1-i)
			p.spans.Reset()
		}
	})

	t.Run("WithoutAProviderThereAreNone", func(t *testing.T) {
		t.Parallel()
		require.Empty(t, queue.Middleware(nil))
	})
}
