package probe_test

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/egress"
	"riverwatch/probe"
	"riverwatch/probe/hostile"
	"riverwatch/uptime"
)

func TestTCP(t *testing.T) {
	t.Parallel()
	sending := func(text string) func(*probe.Target) {
		return func(target *probe.Target) { target.Request.Body = text }
	}
	flood := func(tb testing.TB) string { return hostile.As("tcp", hostile.EarlyHintsFlood(tb)) }
	for name, row := range map[string]struct {
		server  func(testing.TB) string
		change  []func(*probe.Target)
		outcome uptime.Outcome
	}{
		"Connects":          {func(tb testing.TB) string { return hostile.Talk(tb, "", "") }, nil, uptime.OK},
		"IsRefused":         {func(tb testing.TB) string { return hostile.As("tcp", hostile.Refused(tb)) }, nil, uptime.ConnectRefused},
		"HearsABanner":      {func(tb testing.TB) string { return hostile.Talk(tb, "220 mail\r\n", "") }, change(matching("^220 ")), uptime.OK},
		"SendsAndHears":     {func(tb testing.TB) string { return hostile.Talk(tb, "hello\n", "+PONG\n") }, change(sending("PING\n"), matching("PONG")), uptime.OK},
		"HearsSomethingBad": {func(tb testing.TB) string { return hostile.HangsUpTCP(tb, "500 no\n") }, change(matching("^220 ")), uptime.RegexpMismatch},
		"WaitsForMore":      {func(tb testing.TB) string { return hostile.Talk(tb, "500 no\n", "") }, change(matching("^220 "), within(300*time.Millisecond)), uptime.RegexpMismatch},
		"HearsNothing":      {func(tb testing.TB) string { return hostile.Talk(tb, "", "") }, change(matching("^220 "), within(300*time.Millisecond)), uptime.TimeoutHeader},
		"IsHungUpOn":        {func(tb testing.TB) string { return hostile.HangsUpTCP(tb, "") }, change(matching("^220 ")), uptime.ConnectionClosed},
		"IsFlooded":         {flood, change(sending("GET / HTTP/1.1\r\n\r\n"), matching("^220 ")), uptime.RegexpMismatch},
		"HasABadRegexp":     {func(tb testing.TB) string { return hostile.Talk(tb, "220 mail\r\n", "") }, change(matching("(")), uptime.Inconclusive},
		"HangsUpOnABadOne":  {func(tb testing.TB) string { return hostile.HangsUpTCP(tb, "220 mail\r\n") }, change(matching("(")), uptime.Inconclusive},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result := probeURL(t, row.server(t), row.change...)

			require.Equal(t, row.outcome, result.Outcome, result.Error)
			require.Nil(t, result.HTTPStatus)
			if result.Outcome.Good() {
				require.Positive(t, *result.Connect)
			}
			if result.Outcome == uptime.RegexpMismatch {
				require.NotEmpty(t, result.BodyExcerpt)
			}
		})
	}
}

func change(changes ...func(*probe.Target)) []func(*probe.Target) { return changes }

func TestTLSAlone(t *testing.T) {
	t.Parallel()
	insecure := func(target *probe.Target) { target.Request.TLSSkipVerify = true }

	result := probeURL(t, hostile.As("tls", hostile.UntrustedTLS(t)), insecure)
	require.Equal(t, uptime.OK, result.Outcome, result.Error)
	require.Positive(t, *result.TLS)
	require.NotNil(t, result.Certificate)
	require.Nil(t, result.Wait)

	require.Equal(t, uptime.TLSExpired, probeURL(t, hostile.As("tls", hostile.ExpiredTLS(t))).Outcome)
	require.Equal(t, uptime.ConnectRefused, probeURL(t, hostile.As("tls", hostile.Refused(t))).Outcome)
	require.Equal(t, uptime.TimeoutTLS, probeURL(t, hostile.As("tls", hostile.SilentTLS(t)), within(300*time.Millisecond)).Outcome)
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	shaking := func(accept func(key string) string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
			w.Header().Set("Sec-Websocket-Accept", accept(r.Header.Get("Sec-Websocket-Key")))
			w.WriteHeader(http.StatusSwitchingProtocols)
		}
	}
	right := func(key string) string {
		sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		return base64.StdEncoding.EncodeToString(sum[:])
	}
	for name, row := range map[string]struct {
		url     string
		outcome uptime.Outcome
		status  string
	}{
		"Shakes":         {serve(t, shaking(right)), uptime.OK, "101"},
		"ShakesWrongly":  {serve(t, shaking(func(string) string { return "x" })), uptime.HTTPMalformed, "101"},
		"AnswersInstead": {serve(t, answer("hello")), uptime.StatusMismatch, "200"},
		"AnswersInPart":  {hostile.ResetMidBody(t), uptime.BodyIncomplete, "200"},
		"IsNoHTTP":       {hostile.Raw(t, []byte("SSH-2.0-x\r\n")), uptime.HTTPMalformed, ""},
		"HasNoStatus":    {hostile.Raw(t, []byte("HTTP/1.1 999 X\r\n\r\n")), uptime.HTTPMalformed, ""},
		"IsRefused":      {hostile.Refused(t), uptime.ConnectRefused, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result := probeURL(t, hostile.As("ws", row.url)+"/")
			require.Equal(t, row.outcome, result.Outcome, result.Error)
			require.Equal(t, row.status, statusText(result.HTTPStatus))
		})
	}
	require.Equal(t, uptime.TLSUntrusted, probeURL(t, hostile.As("wss", hostile.UntrustedTLS(t))+"/").Outcome)
}

func TestGRPC(t *testing.T) {
	t.Parallel()
	server := hostile.GRPC(t, map[string]byte{"": 1, "shop": 2, "new": 0, "odd": 9})
	for name, row := range map[string]struct {
		path    string
		outcome uptime.Outcome
		text    string
	}{
		"Serves":           {"", uptime.OK, ""},
		"DoesNotServe":     {"/shop", uptime.NotServing, "health: wanted SERVING, found NOT_SERVING"},
		"DoesNotKnowYet":   {"/new", uptime.NotServing, "health: wanted SERVING, found UNKNOWN"},
		"SaysANumber":      {"/odd", uptime.NotServing, "health: wanted SERVING, found 9"},
		"HasNoSuchService": {"/none", uptime.NotServing, "health: wanted SERVING, found the gRPC status 5 unknown service"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result := probeURL(t, server+row.path)
			require.Equal(t, row.outcome, result.Outcome, result.Error)
			require.Equal(t, row.text, result.Error)
		})
	}
	// A server of HTTP/1.1 answers 400 and hangs up, and its reset may overtake its answer.
	require.Contains(t, []uptime.Outcome{uptime.HTTPMalformed, uptime.ConnectionClosed},
		probeURL(t, hostile.As("grpc", serve(t, answer("hello")))).Outcome)
	require.Equal(t, uptime.HTTPMalformed, probeURL(t, hostile.As("grpcs", hostile.H2()["good"](t)), overHTTP2).Outcome)
	odd := probeURL(t, hostile.As("grpcs", hostile.H2()["odd_status"](t)), overHTTP2)
	require.Equal(t, uptime.HTTPMalformed, odd.Outcome)
	require.Nil(t, odd.HTTPStatus, "HTTP has no such status")
	require.Equal(t, uptime.BodyIncomplete, probeURL(t, hostile.As("grpcs", hostile.H2()["rst_mid_body"](t)), overHTTP2).Outcome)
	require.Equal(t, uptime.TLSUntrusted, probeURL(t, hostile.As("grpcs", hostile.H2()["good"](t))).Outcome)
	require.Equal(t, uptime.ConnectRefused, probeURL(t, hostile.As("grpc", hostile.Refused(t))).Outcome)
	declines := probeURL(t, hostile.As("grpcs", hostile.UntrustedTLS(t)), overHTTP2)
	require.Equal(t, uptime.HTTPMalformed, declines.Outcome)
	require.Equal(t, "HTTP/1.1", declines.HTTPVersion)
}

func TestDNSServers(t *testing.T) {
	t.Parallel()
	server := hostile.DNS(t, map[string][]string{"shop.test": {"192.0.2.1", "192.0.2.2", "2001:db8::1"}})
	for name, row := range map[string]struct {
		path    string
		regexp  string
		outcome uptime.Outcome
	}{
		"Answers":          {"shop.test?type=A", `^192\.0\.2\.1\n192\.0\.2\.2$`, uptime.OK},
		"AnswersAAAA":      {"shop.test?type=AAAA", "^2001:db8::1$", uptime.OK},
		"AnswersOtherwise": {"shop.test?type=A", "^10[.]", uptime.RegexpMismatch},
		"HasNoSuchRecord":  {"shop.test?type=MX", "", uptime.DNSEmpty},
		"HasNoSuchName":    {"absent.test?type=A", "", uptime.DNSNXDomain},
		"Fails":            {"servfail.test?type=A", "", uptime.DNSServfail},
		"WillNotSay":       {"refused.test?type=A", "", uptime.DNSError},
		"IsSilent":         {"silent.test?type=A", "", uptime.TimeoutDNS},
		"SpeaksGarbage":    {"garbage.test?type=A", "", uptime.TimeoutDNS},
		"StallsOverTCP":    {"stall.test?type=A", "", uptime.TimeoutDNS},
		"IsLong":           {"many.test?type=A", `127\.1\.1\.244$`, uptime.OK},
		"IsAnAlias":        {"loop.test?type=CNAME", `^loop2\.test\.\nloop\.test\.$`, uptime.OK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timeout := 10 * time.Second
			if row.outcome == uptime.TimeoutDNS {
				timeout = 300 * time.Millisecond
			}
			result := probeURL(t, fmt.Sprintf("dns://%s/%s", server, row.path), matching(row.regexp), within(timeout))

			require.Equal(t, row.outcome, result.Outcome, result.Error)
			if result.Outcome.Good() {
				require.NotNil(t, result.Wait)
				require.Equal(t, "127.0.0.1", result.RemoteIP.String())
			}
		})
	}
	require.Equal(t, uptime.ConnectRefused, probeURL(t, hostile.As("dns", hostile.Refused(t))+"/shop.test?type=A").Outcome)
	refused := patient(probe.Settings{}).Probe(t.Context(), get(fmt.Sprintf("dns://%s/shop.test?type=A", server)))
	require.Equal(t, uptime.BlockedByPolicy, refused.Outcome)
}

func TestICMP(t *testing.T) {
	t.Parallel()

	t.Run("IsGuarded", func(t *testing.T) {
		t.Parallel()
		result := patient(probe.Settings{}).Probe(t.Context(), get("icmp://127.0.0.1"))
		require.Equal(t, uptime.BlockedByPolicy, result.Outcome)
	})

	t.Run("FindsNoSuchName", func(t *testing.T) {
		t.Parallel()
		result := resolving(t, loopback, nil).Probe(t.Context(), get("icmp://absent.test"))
		require.Equal(t, uptime.DNSNXDomain, result.Outcome)
	})

	t.Run("SaysThatTheKernelForbidsIt", func(t *testing.T) {
		t.Parallel()
		inNetwork(t, "1 0")
		result := probeURL(t, "icmp://127.0.0.1")
		require.Equal(t, uptime.NotSupported, result.Outcome)
		require.Contains(t, result.Error, "net.ipv4.ping_group_range")
	})

	t.Run("IsAnswered", func(t *testing.T) {
		t.Parallel()
		inNetwork(t, "0 2147483647")
		for _, address := range []string{"127.0.0.1", "::1"} {
			target := get("icmp://" + address)
			if strings.Contains(address, ":") {
				target.URL = "icmp://[" + address + "]"
			}
			result := patient(onLoopback).Probe(t.Context(), target)
			require.Equal(t, uptime.OK, result.Outcome, result.Error)
			require.Positive(t, *result.Wait)
			require.Equal(t, address, result.RemoteIP.String())
		}
	})

	t.Run("IsNotAnswered", func(t *testing.T) {
		t.Parallel()
		inNetwork(t, "0 2147483647")
		target := get("icmp://127.0.0.1")
		require.NoError(t, os.WriteFile("/proc/sys/net/ipv4/icmp_echo_ignore_all", []byte("1"), 0))
		target.Timeout = 1500 * time.Millisecond

		result := patient(onLoopback).Probe(t.Context(), target)

		require.Equal(t, uptime.TimeoutConnect, result.Outcome, result.Error)
		require.Contains(t, result.Error, "echo")

		require.NoError(t, exec.CommandContext(t.Context(), "ip", "route", "add", "unreachable", "198.51.100.1").Run())
		target.URL = "icmp://198.51.100.1"
		settings := probe.Settings{Policy: egress.Policy{Allow: prefixes("198.51.100.0/24")}}
		require.Equal(t, uptime.ConnectUnreachable, patient(settings).Probe(t.Context(), target).Outcome)
	})
}

// inNetwork gives the rest of the test a network of its own, with nothing but loopback, and the groups that may ping.
func inNetwork(t *testing.T, pingGroups string) {
	t.Helper()
	runtime.LockOSThread() // and the thread ends with the test
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		t.Skipf("no right to make a network: %v", err)
	}
	if err := exec.CommandContext(t.Context(), "ip", "link", "set", "lo", "up").Run(); err != nil {
		t.Skipf("no ip: %v", err)
	}
	require.NoError(t, os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte(pingGroups), 0))
}

func TestUnknownSchemesAreInconclusive(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"ftp://127.0.0.1", "dns://127.0.0.1/a?type=NONE", "http://[", "dns://127.0.0.1/" + strings.Repeat("a", 300) + "?type=A"} {
		require.Equal(t, uptime.Inconclusive, probeURL(t, url).Outcome, url)
	}
}

// TestGuardOfAllSchemes has listeners that must hear nothing.
func TestGuardOfAllSchemes(t *testing.T) {
	t.Parallel()
	canary, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = canary.Close() })
	address := canary.Addr().String()
	for _, url := range []string{
		"http://" + address + "/", "https://" + address + "/", "ws://" + address + "/", "wss://" + address + "/",
		"tcp://" + address, "tls://" + address, "grpc://" + address, "grpcs://" + address,
	} {
		result := patient(probe.Settings{}).Probe(t.Context(), get(url))
		require.Equal(t, uptime.BlockedByPolicy, result.Outcome, url)
		require.False(t, result.RemoteIP.IsValid())
	}
	require.NoError(t, canary.SetDeadline(time.Now().Add(50*time.Millisecond)))
	_, err = canary.Accept()
	require.Error(t, err, "somebody connected")
}

func TestConnectURL(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"http://a.example/path?q":           "tcp://a.example:80",
		"https://a.example/":                "tcp://a.example:443",
		"https://a.example:8443/":           "tcp://a.example:8443",
		"wss://a.example/":                  "tcp://a.example:443",
		"ws://[2001:db8::1]/":               "tcp://[2001:db8::1]:80",
		"grpcs://a.example:50051/svc":       "tcp://a.example:50051",
		"tls://192.0.2.1:993":               "tcp://192.0.2.1:993",
		"dns://192.0.2.1/a.example?type=MX": "dns://192.0.2.1/a.example?type=MX",
		"icmp://a.example":                  "icmp://a.example",
	} {
		require.Equal(t, want, probe.ConnectURL(target))
	}
}
