package probe_test

import (
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
	"riverwatch/uptime"
)

// A header of many lines takes twenty times its size once it is parsed.
func TestHeaderLines(t *testing.T) {
	t.Parallel()
	lines := func(count int, line string) string { return strings.Repeat(line, count) }
	most := probe.MostHeaderLines - 1 // besides the status line
	for name, row := range map[string]struct {
		answer string
		want   uptime.Outcome
	}{
		"AsManyAsAreRead":      {"HTTP/1.1 200 OK\r\n" + lines(most, "a: b\r\n") + "\r\nhello", uptime.OK},
		"OneMore":              {"HTTP/1.1 200 OK\r\n" + lines(most+1, "a: b\r\n") + "\r\nhello", uptime.HeadersTooLarge},
		"TinyOnes":             {"HTTP/1.1 200 OK\n" + lines(16_000, "a:\n") + "\nhello", uptime.HeadersTooLarge},
		"TinyOnesOfAnInterim":  {"HTTP/1.1 103 E\n" + lines(16_000, "a:\n") + "\nHTTP/1.1 200 OK\n\nhello", uptime.HeadersTooLarge},
		"TinyOnesAfterInterim": {"HTTP/1.1 103 E\n\nHTTP/1.1 200 OK\n" + lines(16_000, "a:\n") + "\nhello", uptime.HeadersTooLarge},
		"EmptyLinesOfTheBody":  {"HTTP/1.1 200 OK\r\n" + lines(most, "a: b\r\n") + "\r\n" + lines(100_000, "\n"), uptime.OK},
		"LinesOfTheBody":       {"HTTP/1.1 200 OK\r\n" + lines(most, "a: b\r\n") + "\r\n" + lines(100_000, "a\n"), uptime.OK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result := probeURL(t, hostile.Raw(t, []byte(row.answer)))
			require.Equal(t, row.want, result.Outcome, result.Error)
		})
	}

	t.Run("OneByteAtATime", func(t *testing.T) {
		t.Parallel()
		for count, want := range map[int]uptime.Outcome{most: uptime.OK, most + 1: uptime.HeadersTooLarge} {
			result := probeURL(t, hostile.Serve(t, func(conn *net.TCPConn, _ string) {
				answer := "HTTP/1.1 200 OK\r\n" + lines(count, "a:b\r\n") + "\r\n" + lines(300, "\n")
				for i := range answer {
					if _, err := conn.Write([]byte{answer[i]}); err != nil {
						return
					}
				}
			}))
			require.Equal(t, want, result.Outcome, result.Error)
		}
	})
}

// Certificates of 10,000 names are parsed only a few at a time, and none that is waited for is the target's fault.
func TestLargeCertificates(t *testing.T) {
	t.Parallel()
	template := &x509.Certificate{}
	for n := range 10_000 {
		template.DNSNames = append(template.DNSNames, fmt.Sprintf("shop-%d.example.com", n))
	}
	unverified := func(url string) probe.Target {
		target := get(url)
		target.Request.TLSSkipVerify = true
		return target
	}
	large, small := unverified(hostile.TLS(t, template)), unverified(hostile.TLS(t, &x509.Certificate{}))
	prober := patient(onLoopback)
	_, letGo := prober.OccupyChains()

	result := prober.Probe(t.Context(), small)
	require.Equal(t, uptime.OK, result.Outcome, result.Error)
	waits := large
	waits.Timeout = time.Second
	result = prober.Probe(t.Context(), waits)
	require.Equal(t, uptime.Inconclusive, result.Outcome, result.Error)

	letGo()
	for _, target := range []probe.Target{large, small, large} {
		result = prober.Probe(t.Context(), target)
		require.Equal(t, uptime.OK, result.Outcome, result.Error)
	}
	free, letGo := prober.OccupyChains()
	defer letGo()
	require.EqualValues(t, probe.MostLargeChains, free, "all places are given back")
}
