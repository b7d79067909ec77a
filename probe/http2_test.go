package probe_test

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
	"riverwatch/uptime"
)

func overHTTP2(target *probe.Target) { target.Request.HTTP2, target.Request.TLSSkipVerify = true, true }

func TestHTTP2(t *testing.T) {
	t.Parallel()
	outcomes := map[string]uptime.Outcome{
		"good":               uptime.OK,
		"goaway":             uptime.ConnectionClosed,
		"rst_stream":         uptime.ConnectionClosed,
		"rst_mid_body":       uptime.BodyIncomplete,
		"headers_too_large":  uptime.HeadersTooLarge,
		"continuation_flood": uptime.HTTPMalformed,
		"odd_status":         uptime.HTTPMalformed,
		"interim_flood":      uptime.HeadersTooLarge,
		"endless_body":       uptime.OKTruncated,
		"ping_flood":         uptime.TimeoutHeader,
		"settings_flood":     uptime.TimeoutHeader,
		"push_promise":       uptime.HTTPMalformed,
		"large_frame":        uptime.HTTPMalformed,
		"no_status":          uptime.HTTPMalformed,
		"silent":             uptime.TimeoutHeader,
	}
	for name, server := range hostile.H2() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timeout := 10 * time.Second
			if outcomes[name] == uptime.TimeoutHeader {
				timeout = time.Second
			}

			result := probeURL(t, server(t), overHTTP2, within(timeout))

			require.Equal(t, string(outcomes[name]), string(result.Outcome), result.Error)
			require.Less(t, result.Total, timeout+time.Second)
			if result.Outcome.Good() {
				require.Equal(t, "HTTP/2.0", result.HTTPVersion)
				require.Positive(t, *result.TLS)
				require.NotNil(t, result.Wait)
			}
		})
	}

	t.Run("IsNotSpokenUnasked", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewUnstartedServer(answer("hello"))
		server.EnableHTTP2 = true
		server.StartTLS()
		t.Cleanup(server.Close)

		result := probeURL(t, server.URL+"/", func(target *probe.Target) { target.Request.TLSSkipVerify = true })
		require.Equal(t, "HTTP/1.1", result.HTTPVersion, result.Error)
		require.Equal(t, "HTTP/2.0", probeURL(t, server.URL+"/", overHTTP2).HTTPVersion)
	})

	t.Run("YieldsToATargetWithoutIt", func(t *testing.T) {
		t.Parallel()
		result := probeURL(t, hostile.UntrustedTLS(t), overHTTP2)

		require.Equal(t, uptime.OK, result.Outcome, result.Error)
		require.Equal(t, "HTTP/1.1", result.HTTPVersion)
	})

	t.Run("GoesWithoutTLSByPriorKnowledge", func(t *testing.T) {
		t.Parallel()
		result := probeURL(t, serve(t, answer("hello")), overHTTP2)
		require.Contains(t, []uptime.Outcome{uptime.HTTPMalformed, uptime.ConnectionClosed}, result.Outcome,
			"this server speaks HTTP/1.1: it answers 400 and hangs up, and its reset may overtake its answer")
	})
}
