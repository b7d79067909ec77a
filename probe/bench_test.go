package probe_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
	"riverwatch/uptime"
)

// BenchmarkProbe shows that what a probe allocates does not depend on what it is sent.
func BenchmarkProbe(b *testing.B) {
	for _, row := range []struct {
		name    string
		server  func(testing.TB) string
		outcome uptime.Outcome
	}{
		{"Plain", func(tb testing.TB) string { return serve(tb, answer("hello")) }, uptime.OK},
		{"GzipBombOf1GiB", bomb, uptime.OKTruncated},
		{"EndlessBody", hostile.EndlessBody, uptime.OKTruncated},
	} {
		b.Run(row.name, func(b *testing.B) {
			prober, target := patient(onLoopback), get(row.server(b))
			b.ReportAllocs()
			for b.Loop() {
				require.Equal(b, row.outcome, prober.Probe(b.Context(), target).Outcome)
			}
		})
	}
}

// bomb sends 1 GiB of zeros, packed into 1 MiB. It is packed once, as members of 64 MiB that follow each other.
func bomb(tb testing.TB) string {
	tb.Helper()
	var member bytes.Buffer
	writer := gzip.NewWriter(&member)
	for range 64 {
		_, err := writer.Write(make([]byte, 1<<20))
		require.NoError(tb, err)
	}
	require.NoError(tb, writer.Close())
	packed := bytes.Repeat(member.Bytes(), 16)
	return hostile.Serve(tb, func(conn *net.TCPConn, _ string) {
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n", len(packed))
		_, _ = conn.Write(packed)
	})
}

// BenchmarkManyRegexps matches against more patterns than a cache of 1,000 holds, in turn, as a fleet does.
func BenchmarkManyRegexps(b *testing.B) {
	matcher := probe.NewMatcher()
	text := []byte(`{"status":"ok"}`)
	for i := 0; b.Loop(); i++ {
		_, err := matcher.Match(b.Context(), fmt.Sprintf(`"status":\s*"(ok|healthy|up)".*shop-%d|^\{"status`, i%2000), text)
		require.NoError(b, err)
	}
}

// BenchmarkAuthorities makes the TLS configuration of a target with authorities of its own.
func BenchmarkAuthorities(b *testing.B) {
	_, caPEM := hostile.WantsClientTLS(b)
	target := get("https://127.0.0.1:1/")
	target.Request.CAPEM = caPEM
	prober := patient(onLoopback)
	b.ReportAllocs()
	for b.Loop() {
		prober.PrepareHop(target)
	}
}
