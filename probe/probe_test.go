package probe_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
	"riverwatch/uptime"
)

// probeURL makes a probe of a test's server with a target that is otherwise usual.
func probeURL(tb testing.TB, url string, change ...func(*probe.Target)) probe.Result {
	tb.Helper()
	target := probe.Target{Method: "GET", URL: url, Timeout: time.Minute, MaxRedirects: 5}
	for _, set := range change {
		set(&target)
	}
	return patient(onLoopback).Probe(tb.Context(), target)
}

func within(timeout time.Duration) func(*probe.Target) {
	return func(target *probe.Target) { target.Timeout = timeout }
}

func method(method string) func(*probe.Target) {
	return func(target *probe.Target) { target.Method = method }
}

func serve(tb testing.TB, handler http.HandlerFunc) string {
	tb.Helper()
	server := httptest.NewServer(handler)
	tb.Cleanup(server.Close)
	return server.URL + "/"
}

func answer(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

func TestProbe(t *testing.T) {
	t.Parallel()

	t.Run("MeasuresAGoodAnswer", func(t *testing.T) {
		t.Parallel()
		before := time.Now()

		result := probeURL(t, serve(t, answer("hello")))

		require.Equal(t, uptime.OK, result.Outcome)
		require.Equal(t, 200, *result.HTTPStatus)
		require.EqualValues(t, 5, *result.BodyBytes)
		require.Equal(t, netip.MustParseAddr("127.0.0.1"), result.RemoteIP)
		require.Empty(t, result.Error)
		require.Nil(t, result.RegexpMatched)
		require.Nil(t, result.DNS, "an address needs no DNS")
		require.Nil(t, result.TLS)
		require.Positive(t, *result.Connect)
		require.GreaterOrEqual(t, *result.Wait, time.Duration(0))
		require.Positive(t, *result.Transfer)
		require.GreaterOrEqual(t, result.Total, *result.Connect+*result.Wait+*result.Transfer)
		require.WithinRange(t, result.Start, before, time.Now())
	})

	t.Run("SaysWhoAsks", func(t *testing.T) {
		t.Parallel()
		result := probeURL(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprint(w, r.Method, " ", r.RequestURI, " ", r.Proto, " ", r.UserAgent())
		})+"a%20b?q=%2F", method("OPTIONS"), matching(`^OPTIONS /a%20b\?q=%2F HTTP/1.1 Riverwatch/1.0 \(uptime monitor\)$`))

		require.Equal(t, uptime.OK, result.Outcome, result.Error)
	})

	t.Run("ReadsGzip", func(t *testing.T) {
		t.Parallel()
		result := probeURL(t, hostile.GzipBomb(t))

		require.Equal(t, uptime.OKTruncated, result.Outcome)
		require.EqualValues(t, 1<<20, *result.BodyBytes, "the cap counts decoded bytes")
		require.Empty(t, result.Error)
	})

	t.Run("ReadsNoMoreThanASmallCap", func(t *testing.T) {
		t.Parallel()
		target := get(serve(t, answer(strings.Repeat("a", 4<<10))))
		result := patient(probe.Settings{Policy: loopback, MaxBodyBytes: 1 << 10}).Probe(t.Context(), target)

		require.Equal(t, uptime.OKTruncated, result.Outcome)
		require.EqualValues(t, 1<<10, *result.BodyBytes)
	})

	t.Run("ReadsABodyOfExactlyTheCap", func(t *testing.T) {
		t.Parallel()
		result := probeURL(t, serve(t, answer(strings.Repeat("a", 1<<20))))

		require.Equal(t, uptime.OK, result.Outcome)
		require.EqualValues(t, 1<<20, *result.BodyBytes)
	})

	t.Run("ReadsNoBodyOfHEAD", func(t *testing.T) {
		t.Parallel()
		result := probeURL(t, serve(t, answer("hello")), method("HEAD"), matching("absent"))

		require.Equal(t, uptime.OK, result.Outcome)
		require.Nil(t, result.RegexpMatched)
		require.Zero(t, *result.BodyBytes)
	})

	t.Run("AcceptsTheStatusesAskedFor", func(t *testing.T) {
		t.Parallel()
		result := probeURL(t, serve(t, http.NotFound), func(target *probe.Target) {
			target.AcceptedStatuses = []string{"204", "400-499"}
		})
		require.Equal(t, uptime.OK, result.Outcome)
	})

	t.Run("FailsABrokenBodyWhateverTheStatusRuleSays", func(t *testing.T) {
		t.Parallel()
		result := probeURL(t, hostile.Raw(t, []byte("HTTP/1.1 500 E\r\nContent-Length: 9\r\n\r\nok")))

		require.Equal(t, uptime.BodyIncomplete, result.Outcome)
		require.Equal(t, 500, *result.HTTPStatus)
		require.EqualValues(t, 2, *result.BodyBytes)
		require.Nil(t, result.Transfer)
	})

	t.Run("FailsABrokenTrailer", func(t *testing.T) {
		t.Parallel()
		result := probeURL(t, hostile.Raw(t, []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n")))
		require.Equal(t, uptime.BodyIncomplete, result.Outcome)
	})

	t.Run("FailsGzipThatIsNone", func(t *testing.T) {
		t.Parallel()
		notGzip := "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nthis is no gzip at all"
		result := probeURL(t, hostile.Raw(t, []byte(notGzip)))
		require.Equal(t, uptime.HTTPMalformed, result.Outcome)
	})

	t.Run("ConnectsOverIPv6", func(t *testing.T) {
		t.Parallel()
		result := probeURL(t, "http://[::1]:1/", func(target *probe.Target) { target.URL = serveIPv6(t) })

		require.Equal(t, uptime.OK, result.Outcome, result.Error)
		require.Equal(t, netip.IPv6Loopback(), result.RemoteIP)
	})

	t.Run("TellsNoQueryThatTheTargetEchoes", func(t *testing.T) {
		t.Parallel()
		echo := hostile.Serve(t, func(conn *net.TCPConn, request string) { _, _ = io.WriteString(conn, request) })

		result := probeURL(t, echo+"path?token=secret")

		require.Equal(t, uptime.HTTPMalformed, result.Outcome)
		require.Contains(t, result.Error, "/path?…")
		require.NotContains(t, result.Error, "secret")
	})
}

func TestProbeEndsInTime(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		server  func(testing.TB) string
		outcome uptime.Outcome
	}{
		"NoConnection": {hostile.FullBacklog, uptime.TimeoutConnect},
		"NoHandshake":  {hostile.SilentTLS, uptime.TimeoutTLS},
		"NoHeader":     {hostile.NotAccepting, uptime.TimeoutHeader},
		"NoWholeBody":  {hostile.StalledBody, uptime.TimeoutBody},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result := probeURL(t, row.server(t), within(500*time.Millisecond))

			require.Equal(t, row.outcome, result.Outcome, result.Error)
			require.GreaterOrEqual(t, result.Total, 450*time.Millisecond)
			require.Less(t, result.Total, 2*time.Second)
		})
	}
}

// What keeps a process from running counts as lost time from when the probe has joined the pulse, and so does the deadline.
func TestProbeThatIsHeldUpBeforeItBeginsHasAllItsTime(t *testing.T) {
	t.Parallel()
	prober := patient(onLoopback)
	target := probe.Target{Method: "GET", URL: serve(t, answer("")), Timeout: 2 * time.Second}
	goOn := prober.Halt()
	result := make(chan probe.Result)
	go func() { result <- prober.Probe(t.Context(), target) }()
	time.Sleep(target.Timeout + 100*time.Millisecond)
	goOn()
	require.Equal(t, uptime.OK, (<-result).Outcome)
}

// overdue is a context whose deadline has passed, in a process that stood still and has not heard of it.
type overdue struct{ context.Context }

func (overdue) Deadline() (time.Time, bool) { return time.Now().Add(-time.Minute), true }

func TestProbeIsInconclusive(t *testing.T) {
	t.Parallel()
	target := probe.Target{Method: "GET", Timeout: 10 * time.Second}

	t.Run("IfCancelledWhileItWaits", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		target := target
		target.URL = hostile.Serve(t, func(conn *net.TCPConn, _ string) {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
			cancel()
			_, _ = io.Copy(io.Discard, conn)
		})

		result := patient(onLoopback).Probe(ctx, target)

		require.Equal(t, uptime.Inconclusive, result.Outcome)
		require.Less(t, result.Total, target.Timeout)
	})

	t.Run("IfItsCallersDeadlineComesFirst", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		target := target
		target.URL = hostile.NotAccepting(t)

		require.Equal(t, uptime.Inconclusive, patient(onLoopback).Probe(ctx, target).Outcome)
	})

	t.Run("IfItsCallersDeadlineHasPassedAndNobodyWasToldYet", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		target := target
		target.URL = serve(t, answer(""))

		require.Equal(t, uptime.Inconclusive, patient(onLoopback).Probe(overdue{ctx}, target).Outcome)
	})

	t.Run("IfItPanics", func(t *testing.T) {
		t.Parallel()
		prober := patient(onLoopback)
		prober.Break()
		target := target
		target.URL = "http://127.0.0.1/"

		result := prober.Probe(t.Context(), target)

		require.Equal(t, uptime.Inconclusive, result.Outcome)
		require.NotEmpty(t, result.Error)
		require.False(t, result.Start.IsZero())
	})

	t.Run("IfTheTargetWasNeverChecked", func(t *testing.T) {
		t.Parallel()
		for _, target := range []probe.Target{
			{Method: "GET", URL: "http://[", Timeout: time.Second},
			{Method: "GE T", URL: serve(t, answer("")), Timeout: time.Second},
			{Method: "GET", URL: serve(t, answer("")), Timeout: time.Second, Regexp: "("},
		} {
			require.Equal(t, uptime.Inconclusive, patient(onLoopback).Probe(t.Context(), target).Outcome, target)
		}
	})
}
