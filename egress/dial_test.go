package egress_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/egress"
	"riverwatch/probe/hostile"
)

// canary listens on loopback, and nobody may connect to it.
func canary(tb testing.TB) (port string) {
	tb.Helper()
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(tb, err)
	tb.Cleanup(func() {
		require.NoError(tb, listener.SetDeadline(time.Now().Add(50*time.Millisecond)))
		_, err := listener.Accept()
		require.Error(tb, err, "somebody connected")
		_ = listener.Close()
	})
	return portOf(listener.Addr())
}

func portOf(address net.Addr) string {
	_, port, _ := net.SplitHostPort(address.String())
	return port
}

// listen gives the port of a listener on 127.0.0.1 that takes connections.
func listen(tb testing.TB) (port string) {
	tb.Helper()
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = listener.Close() })
	return portOf(listener.Addr())
}

func TestDialer(t *testing.T) {
	t.Parallel()

	t.Run("RefusesAddressesHoweverTheyAreWritten", func(t *testing.T) {
		t.Parallel()
		port := canary(t)
		resolver := hostile.DNS(t, map[string][]string{"evil.test": {"127.0.0.1", "::1"}})
		for _, host := range []string{"127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "0.0.0.0", "::", "localhost", "evil.test"} {
			for _, network := range []string{"tcp", "tcp4", "udp", "udp4"} {
				if strings.HasSuffix(network, "4") && strings.Contains(host, "::") {
					continue
				}
				dialer := egress.Dialer{Resolver: resolver}
				_, err := dialer.DialContext(t.Context(), network, net.JoinHostPort(host, port))
				require.ErrorIs(t, err, egress.ErrRefused, network+" "+host)
				_, err = dialer.DialDNS(t.Context(), network, net.JoinHostPort(host, port))
				require.ErrorIs(t, err, egress.ErrRefused, network+" "+host)
			}
		}
	})

	t.Run("RefusesANameWhoseAddressChanges", func(t *testing.T) {
		t.Parallel()
		port := canary(t)
		dialer := egress.Dialer{Resolver: hostile.DNS(t, nil)}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // for the public address, which may be there
		defer cancel()

		_, first := dialer.DialContext(ctx, "tcp4", net.JoinHostPort("rebind.test", port))
		_, second := dialer.DialContext(t.Context(), "tcp4", net.JoinHostPort("rebind.test", port))

		require.NotErrorIs(t, first, egress.ErrRefused)
		require.ErrorIs(t, second, egress.ErrRefused)
	})

	t.Run("RefusesWhatIsNeitherTCPNorUDP", func(t *testing.T) {
		t.Parallel()
		dialer := egress.Dialer{Policy: loopback}
		for _, path := range []string{"/run/database", "127.0.0.1:8080"} {
			_, err := dialer.DialContext(t.Context(), "unix", path)
			require.ErrorIs(t, err, egress.ErrRefused)
		}
		_, err := dialer.DialContext(t.Context(), "ip4:icmp", "127.0.0.1")
		require.True(t, errors.Is(err, egress.ErrRefused) || errors.Is(err, syscall.EPERM), err) // of the kernel, without root
	})

	t.Run("PassesOverARefusedAddress", func(t *testing.T) {
		t.Parallel()
		resolver := hostile.DNS(t, map[string][]string{"mixed.test": {"127.0.0.2", "127.0.0.1"}}) // asked for in this order
		dialer := egress.Dialer{Policy: egress.Policy{Allow: prefixes("127.0.0.1/32")}, Resolver: resolver}

		conn, err := dialer.DialContext(t.Context(), "tcp", net.JoinHostPort("mixed.test", listen(t)))
		require.NoError(t, err)
		require.Contains(t, conn.RemoteAddr().String(), "127.0.0.1:")
		require.NoError(t, conn.Close())

		_, err = dialer.DialContext(t.Context(), "tcp", "mixed.test:1")
		require.ErrorIs(t, err, egress.ErrRefused, "port 1 is refused at all addresses")
		_, err = dialer.DialContext(t.Context(), "tcp", "mixed.test:2")
		require.ErrorIs(t, err, syscall.ECONNREFUSED, "the address that was tried counts")
	})

	t.Run("MakesEightConnections", func(t *testing.T) {
		t.Parallel()
		dialer, address := egress.Dialer{Policy: loopback}, net.JoinHostPort("127.0.0.1", listen(t))
		for range 8 {
			conn, err := dialer.DialContext(t.Context(), "tcp", address)
			require.NoError(t, err)
			require.NoError(t, conn.Close())
		}
		_, err := dialer.DialContext(t.Context(), "tcp", address)
		require.ErrorIs(t, err, egress.ErrTooManyDials)
		_, err = dialer.DialPing(t.Context(), "ip", "127.0.0.1")
		require.ErrorIs(t, err, egress.ErrTooManyDials)
	})

	t.Run("CountsTheAddressesOfOneHost", func(t *testing.T) {
		t.Parallel()
		var addresses []string
		for i := 2; i <= 9; i++ { // where nothing listens
			addresses = append(addresses, fmt.Sprintf("127.0.0.%d", i))
		}
		resolver := hostile.DNS(t, map[string][]string{"nine.test": append(addresses, "127.0.0.1")})
		dialer := egress.Dialer{Policy: loopback, Resolver: resolver}
		_, err := dialer.DialContext(t.Context(), "tcp", net.JoinHostPort("nine.test", canary(t)))
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	})

	t.Run("GoesToPort53OfADNSServerAlone", func(t *testing.T) {
		t.Parallel()
		dialer := egress.Dialer{Policy: loopback}
		_, err := dialer.DialContext(t.Context(), "udp", "127.0.0.1:53")
		require.ErrorIs(t, err, egress.ErrRefused)
		conn, err := dialer.DialDNS(t.Context(), "udp", "127.0.0.1:53") // which sends nothing
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	})

	t.Run("RefusesToPing", func(t *testing.T) {
		t.Parallel()
		resolver := hostile.DNS(t, map[string][]string{"evil.test": {"127.0.0.1", "169.254.169.254"}})
		dialer := egress.Dialer{Resolver: resolver}
		for _, host := range []string{"127.0.0.1", "::1", "64:ff9b::7f00:1", "evil.test"} {
			_, err := dialer.DialPing(t.Context(), "ip", host)
			require.ErrorIs(t, err, egress.ErrRefused, host)
		}
	})

	t.Run("ServesAClientOfHTTP", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
		t.Cleanup(server.Close)
		get := func(policy egress.Policy) error {
			dialer := egress.Dialer{Policy: policy}
			client := http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
			answer, err := client.Get(server.URL)
			if err == nil {
				_ = answer.Body.Close()
			}
			return err
		}
		require.NoError(t, get(loopback))
		require.ErrorIs(t, get(egress.Policy{}), egress.ErrRefused)
	})
}

func TestLookupError(t *testing.T) {
	t.Parallel()
	dialer := egress.Dialer{Policy: loopback, Resolver: hostile.DNS(t, nil)}
	for host, want := range map[string]egress.LookupError{
		"absent.test":   {},
		"servfail.test": {Failed: true},
		"empty.test":    {Empty: true},
		"loop.test":     {Aliases: true},
	} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			_, dialed := dialer.DialContext(t.Context(), "tcp", host+":80")
			_, pinged := dialer.DialPing(t.Context(), "ip", host)
			for _, err := range []error{dialed, pinged} {
				var lookup *egress.LookupError
				require.ErrorAs(t, err, &lookup)
				require.Equal(t, host, lookup.Name)
				lookup.DNSError = nil
				require.Equal(t, want, *lookup)
			}
		})
	}
}

func TestPermitsHost(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		host    string
		policy  egress.Policy
		permits bool
	}{
		{"example.com", egress.Policy{}, true},
		{"8.8.8.8", egress.Policy{}, true},
		{"10.0.0.1", egress.Policy{}, false},
		{"10.0.0.1", lan, true},
		{"localhost", egress.Policy{}, false},
		{"shop.localhost.", egress.Policy{}, false},
		{"localhost", loopback, true},
		{"localhost", lan, false},
		{"intranet", egress.Policy{}, false},
		{"printer.local", egress.Policy{}, false},
		{"metadata.google.internal.", egress.Policy{}, false},
		{"intranet", lan, true},
		{"intranet", lanAt8080, false},
		{"169.254.169.254", egress.Policy{Allow: prefixes("0.0.0.0/0")}, false},
	} {
		require.Equal(t, row.permits, row.policy.PermitsHost(row.host, 443), row.host)
	}
	require.True(t, lanAt8080.PermitsHost("intranet", 8080))
}

// TestResolverGivesUp sees that no connection to a DNS server outlives the dial: a goroutine that reads from one would be found at
// the end (TestMain).
func TestResolverGivesUp(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"silent.test", "stall.test"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			dialer := egress.Dialer{Policy: loopback, Resolver: hostile.DNS(t, nil)}
			_, err := dialer.DialContext(ctx, "tcp", host+":80")
			var lookup *egress.LookupError
			require.ErrorAs(t, err, &lookup)
			require.True(t, lookup.IsTimeout)
		})
	}
	_, err := (&egress.Dialer{Resolver: netip.MustParseAddrPort("127.0.0.1:1")}).DialContext(t.Context(), "tcp", "a.test:80")
	var lookup *egress.LookupError
	require.ErrorAs(t, err, &lookup)
}
