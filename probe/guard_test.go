package probe_test

import (
	"fmt"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/egress"
	"riverwatch/probe"
	"riverwatch/probe/hostile"
	"riverwatch/uptime"
)

var (
	loopback = egress.Policy{Allow: prefixes("127.0.0.0/8", "::1/128"), PrivateWrites: true}
	lan      = egress.Policy{Allow: prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")}

	lanAt8080 = egress.Policy{AllowAt: []egress.PrefixPort{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Port: 8080}}}
)

func prefixes(texts ...string) []netip.Prefix {
	var parsed []netip.Prefix
	for _, text := range texts {
		parsed = append(parsed, netip.MustParsePrefix(text))
	}
	return parsed
}

// resolving makes a prober for whom DNS holds these hosts.
func resolving(tb testing.TB, policy egress.Policy, hosts map[string][]string) *probe.Prober {
	tb.Helper()
	return patient(probe.Settings{Policy: policy, Resolver: hostile.DNS(tb, hosts)})
}

// named gives a server's URL with a name in place of its address.
func named(url, name string) string { return strings.Replace(url, "127.0.0.1", name, 1) }

func get(url string) probe.Target {
	return probe.Target{Method: "GET", URL: url, Timeout: 10 * time.Second, MaxRedirects: 10}
}

func serveIPv6(tb testing.TB) string {
	tb.Helper()
	listener, err := net.ListenTCP("tcp6", &net.TCPAddr{IP: net.IPv6loopback})
	require.NoError(tb, err)
	server := &httptest.Server{Listener: listener, Config: httptest.NewUnstartedServer(answer("hello")).Config}
	server.Start()
	tb.Cleanup(server.Close)
	return server.URL + "/"
}

func TestGuard(t *testing.T) {
	t.Parallel()

	t.Run("RefusesANameOfAPrivateAddress", func(t *testing.T) {
		t.Parallel()
		server := hostile.Serve(t, func(*net.TCPConn, string) { t.Error("the guard let a request through") })
		prober := resolving(t, egress.Policy{}, map[string][]string{"evil.test": {"127.0.0.1", "::1", "10.0.0.1"}})

		result := prober.Probe(t.Context(), get(named(server, "evil.test")))

		require.Equal(t, uptime.BlockedByPolicy, result.Outcome)
		require.False(t, result.RemoteIP.IsValid())
		require.Nil(t, result.Connect)
		require.Contains(t, result.Error, "RIVERWATCH_ALLOW_CIDRS")
		require.NotContains(t, result.Error, "127.0.0.1")
	})

	t.Run("RefusesWhateverIsRefusedByName", func(t *testing.T) {
		t.Parallel()
		server := serve(t, answer("hello"))
		addr := netip.MustParseAddrPort(strings.Trim(server, "htp:/"))
		policy := egress.Policy{Allow: loopback.Allow, Refuse: egress.NewAddresses(addr)}

		require.Equal(t, uptime.BlockedByPolicy, patient(probe.Settings{Policy: policy}).Probe(t.Context(), get(server)).Outcome)
	})

	t.Run("PassesOverARefusedAddress", func(t *testing.T) {
		t.Parallel()
		prober := resolving(t, loopback, map[string][]string{"mixed.test": {"10.0.0.1", "127.0.0.1"}})

		result := prober.Probe(t.Context(), get(named(serve(t, answer("hello")), "mixed.test")))
		require.Equal(t, uptime.OK, result.Outcome, result.Error)
		require.Positive(t, *result.DNS)

		result = prober.Probe(t.Context(), get(named(hostile.Refused(t), "mixed.test")))
		require.Equal(t, uptime.ConnectRefused, result.Outcome, "the address that was tried counts")
	})

	t.Run("RefusesARedirectToAPrivateAddress", func(t *testing.T) {
		t.Parallel()
		inside := hostile.Serve(t, func(*net.TCPConn, string) { t.Error("the guard let a request through") })
		outside := redirecting(t, named(inside, "127.0.0.2"))
		policy := egress.Policy{Allow: prefixes("127.0.0.1/32")}

		result := patient(probe.Settings{Policy: policy}).Probe(t.Context(), get(outside))

		require.Equal(t, uptime.BlockedByPolicy, result.Outcome)
		require.Equal(t, 302, *result.HTTPStatus)
		require.False(t, result.RemoteIP.IsValid())
	})

	t.Run("RefusesARedirectToANameOfAPrivateAddress", func(t *testing.T) {
		t.Parallel()
		outside := redirecting(t, "http://evil.test/")
		prober := resolving(t, loopback, map[string][]string{"evil.test": {"192.168.0.1"}})

		result := prober.Probe(t.Context(), get(outside))

		require.Equal(t, uptime.BlockedByPolicy, result.Outcome)
		require.Equal(t, 302, *result.HTTPStatus)
	})

	t.Run("StopsAfterEightConnectionsOfOneHost", func(t *testing.T) {
		t.Parallel()
		server := serve(t, answer("hello"))
		var addresses []string
		for i := 2; i <= 9; i++ { // where nothing listens
			addresses = append(addresses, fmt.Sprintf("127.0.0.%d", i))
		}
		prober := resolving(t, loopback, map[string][]string{
			"eight.test": append(addresses[1:], "127.0.0.1"),
			"nine.test":  append(addresses, "127.0.0.1"),
		})

		require.Equal(t, uptime.OK, prober.Probe(t.Context(), get(named(server, "eight.test"))).Outcome)
		require.Equal(t, uptime.ConnectRefused, prober.Probe(t.Context(), get(named(server, "nine.test"))).Outcome)
	})

	t.Run("StopsAfterEightConnectionsOfManyHops", func(t *testing.T) {
		t.Parallel()
		result := patient(onLoopback).Probe(t.Context(), get(hostile.RedirectCounter(t)))

		require.Equal(t, uptime.TooManyRedirects, result.Outcome)
		require.Contains(t, result.Error, "connections")
	})
}

func TestDNS(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		host    string
		outcome uptime.Outcome
	}{
		"KnowsNoSuchName": {"absent.test", uptime.DNSNXDomain},
		"Fails":           {"servfail.test", uptime.DNSServfail},
		"WillNotSay":      {"refused.test", uptime.DNSError},
		"IsSilent":        {"silent.test", uptime.TimeoutDNS},
		"IsSilentOverTCP": {"stall.test", uptime.TimeoutDNS},
		"KnowsNoAddress":  {"empty.test", uptime.DNSEmpty},
		"RunsInCircles":   {"loop.test", uptime.DNSError},
		"SpeaksGarbage":   {"garbage.test", uptime.TimeoutDNS},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := get("http://" + row.host + "/")
			target.Timeout = 500 * time.Millisecond

			result := resolving(t, loopback, nil).Probe(t.Context(), target)

			require.Equal(t, row.outcome, result.Outcome, result.Error)
			require.Nil(t, result.Connect)
		})
	}

	t.Run("NamesFiveHundredAddresses", func(t *testing.T) {
		t.Parallel()
		result := resolving(t, loopback, nil).Probe(t.Context(), get("http://many.test:9/")) // 9 is a bad port
		require.Equal(t, uptime.BlockedByPolicy, result.Outcome)
		result = resolving(t, loopback, nil).Probe(t.Context(), get("http://many.test:8/"))
		require.Equal(t, uptime.ConnectRefused, result.Outcome, result.Error)
	})

	t.Run("AnswersSomethingElseTheSecondTime", func(t *testing.T) {
		t.Parallel()
		server := hostile.Serve(t, func(*net.TCPConn, string) { t.Error("the guard let a request through") })
		prober := resolving(t, egress.Policy{}, nil)
		target := get(named(server, "rebind.test"))
		target.Timeout, target.Request.IPVersion = 300*time.Millisecond, 4

		require.NotEqual(t, uptime.BlockedByPolicy, prober.Probe(t.Context(), target).Outcome, "a public address, at first")
		require.Equal(t, uptime.BlockedByPolicy, prober.Probe(t.Context(), target).Outcome)
	})

	t.Run("CannotBeAsked", func(t *testing.T) {
		t.Parallel()
		settings := onLoopback
		settings.Resolver = netip.MustParseAddrPort("127.0.0.1:1")
		prober := patient(settings)

		result := prober.Probe(t.Context(), get("http://shop.test/"))

		require.Equal(t, uptime.Inconclusive, result.Outcome, "our resolver says nothing of the target")
	})
}
