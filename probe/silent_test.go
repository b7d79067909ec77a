package probe_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
	"riverwatch/uptime"
)

// BenchmarkSilentTargets probes 10,000 targets at once that never answer, plain and over TLS, and one that is well. It
// reports the memory that each took, how long after the deadline the last one ended, and how
// long the healthy one took at most.
func BenchmarkSilentTargets(b *testing.B) {
	for _, scheme := range []string{"http", "https"} {
		b.Run(scheme, func(b *testing.B) {
			silent, healthy := silentServers(b), serve(b, answer("hello"))
			prober := patient(onLoopback)
			for b.Loop() {
				before := residentBytes(b)
				peak, late, slowest := probeSilent(b, prober, scheme, silent, healthy)
				b.ReportMetric(float64(peak-before)/silentTargets/1024, "KiB/probe")
				b.ReportMetric(late.Seconds(), "s-late")
				b.ReportMetric(slowest.Seconds()*1000, "ms-healthy")
			}
		})
	}
}

const silentTargets = 10_000

func probeSilent(
	tb testing.TB, prober *probe.Prober, scheme string, silent []string, healthy string,
) (peakBytes int64, late, slowest time.Duration) {
	tb.Helper()
	const timeout = 5 * time.Second
	var wait sync.WaitGroup
	var latest atomic.Int64
	for i := range silentTargets {
		if i%200 == 0 { // as a round spreads its starts
			time.Sleep(20 * time.Millisecond)
		}
		wait.Go(func() {
			target := get(hostile.As(scheme, silent[i%len(silent)]) + "/")
			target.Timeout = timeout
			result := prober.Probe(tb.Context(), target)
			if result.Outcome.Good() {
				tb.Error(result.Outcome)
			}
			for old := latest.Load(); int64(result.Total) > old && !latest.CompareAndSwap(old, int64(result.Total)); {
				old = latest.Load()
			}
		})
	}
	for range 20 {
		result := prober.Probe(tb.Context(), get(healthy))
		require.Equal(tb, uptime.OK, result.Outcome, result.Error)
		slowest = max(slowest, result.Total)
		time.Sleep(50 * time.Millisecond)
	}
	peakBytes = residentBytes(tb)
	wait.Wait()
	return peakBytes, time.Duration(latest.Load()) - timeout, slowest
}

// silentServers are as many as it takes for the kernel to hold all connections, which nobody accepts.
func silentServers(tb testing.TB) (urls []string) {
	tb.Helper()
	for range 5 { // with a backlog of 4096
		urls = append(urls, hostile.NotAccepting(tb))
	}
	return urls
}

var residentLine = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

func residentBytes(tb testing.TB) int64 {
	tb.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", os.Getpid()))
	require.NoError(tb, err)
	kilobytes, err := strconv.ParseInt(string(residentLine.FindSubmatch(status)[1]), 10, 64)
	require.NoError(tb, err)
	return kilobytes << 10
}
