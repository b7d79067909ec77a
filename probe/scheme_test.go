package probe_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
	"riverwatch/uptime"
)

// TestEveryScheme asks of each row of the table all that a scheme must say. A new one is written here as well.
func TestEveryScheme(t *testing.T) {
	t.Parallel()
	byTLS := func(handler http.Handler) func(testing.TB) string {
		return func(tb testing.TB) string {
			server := httptest.NewUnstartedServer(handler)
			server.EnableHTTP2 = true
			server.StartTLS()
			tb.Cleanup(server.Close)
			return server.URL
		}
	}
	plain := func(handler http.HandlerFunc) func(testing.TB) string {
		return func(tb testing.TB) string { return serve(tb, handler) }
	}
	dns := func(tb testing.TB) string {
		return fmt.Sprintf("dns://%s/shop.test?type=A", hostile.DNS(tb, map[string][]string{"shop.test": {"192.0.2.1"}}))
	}
	rows := map[string]struct {
		url, normal string                  // an address of a stranger, and its normal form
		server      func(testing.TB) string // one that is well, with any scheme
		alpn        []string                // what the TLS handshake offers; nil without TLS
		repeatsBody bool                    // whether a request with a body may be made again
	}{
		"http":  {"http://a.example", "http://a.example/", plain(answer("hello")), nil, false},
		"https": {"https://a.example:443/b?c", "https://a.example/b?c", byTLS(answer("hello")), []string{"http/1.1"}, false},
		"ws":    {"ws://a.example:80", "ws://a.example/", plain(shake), nil, true},
		"wss":   {"wss://a.example/b?c", "wss://a.example/b?c", byTLS(http.HandlerFunc(shake)), []string{"http/1.1"}, true},
		"tcp":   {"tcp://a.example:9000/", "tcp://a.example:9000", plain(answer("hello")), nil, false},
		"tls":   {"tls://a.example:9000/", "tls://a.example:9000", byTLS(answer("hello")), []string{}, true},
		"dns":   {"dns://a.example:53/b.example", "dns://a.example/b.example?type=A", dns, nil, true},
		"icmp":  {"icmp://a.example/", "icmp://a.example", func(testing.TB) string { return "icmp://127.0.0.1" }, nil, true},
		"grpc": {"grpc://a.example:9000/", "grpc://a.example:9000", func(tb testing.TB) string {
			return hostile.GRPC(tb, map[string]byte{"": 1})
		}, nil, true},
		"grpcs": {"grpcs://a.example:9000/b", "grpcs://a.example:9000/b", byTLS(hostile.GRPCHandler(map[string]byte{"": 1})), []string{"h2"}, true},
	}
	manual, err := os.ReadFile("../docs/probe.md")
	require.NoError(t, err)

	for _, name := range probe.Schemes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			row, known := rows[name]
			require.True(t, known, "the scheme has no row in this test")
			require.Contains(t, string(manual), "`"+name+"://", "or the like: see docs/probe.md")

			normal, err := probe.NormalizeURL(row.url, loopback)
			require.NoError(t, err)
			require.Equal(t, row.normal, normal)
			require.Empty(t, get(normal).Check())

			require.True(t, get(normal).MayRepeat())
			sending := get(normal)
			sending.Request.Body = "hello"
			if probe.Uses(normal, "method") {
				sending.Method = http.MethodPost
			}
			require.Equal(t, row.repeatsBody, sending.MayRepeat())
			require.Equal(t, name == "dns", probe.IsNameserver(normal))

			target, err := probe.NormalizeURL(asIs(name, row.server(t)), loopback)
			require.NoError(t, err)
			result := probeURL(t, target, func(target *probe.Target) { target.Request.TLSSkipVerify = true })
			if name != "icmp" || result.Outcome != uptime.NotSupported {
				require.Equal(t, uptime.OK, result.Outcome, result.Error)
			}
			require.Equal(t, row.alpn != nil, result.Certificate != nil)
			refused := patient(probe.Settings{}).Probe(t.Context(), get(target))
			require.Equal(t, uptime.BlockedByPolicy, refused.Outcome, "it connects past the guard")
			if row.alpn != nil {
				require.ElementsMatch(t, row.alpn, offered(t, normal))
			}
		})
	}
	require.Len(t, probe.Schemes(), len(rows))
}

func shake(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
	w.Header().Set("Sec-Websocket-Accept", probe.AcceptOf(r.Header.Get("Sec-Websocket-Key")))
	w.WriteHeader(http.StatusSwitchingProtocols)
}

// asIs gives a URL another scheme, and leaves the rest.
func asIs(scheme, url string) string {
	_, rest, _ := strings.Cut(url, "://")
	return scheme + "://" + rest
}

// offered gives what a probe of a URL of this kind offers to speak.
func offered(t *testing.T, normal string) []string {
	t.Helper()
	hello := make(chan []string, 1)
	server := httptest.NewUnstartedServer(nil)
	server.TLS = &tls.Config{GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
		hello <- info.SupportedProtos
		return nil, http.ErrServerClosed
	}}
	server.StartTLS()
	t.Cleanup(server.Close)
	scheme, _, _ := strings.Cut(normal, "://")
	probeURL(t, hostile.As(scheme, server.URL))
	return <-hello
}
