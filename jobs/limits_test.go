package jobs

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"riverwatch/probe"
)

// overdue is a context whose deadline has passed, in a process that stood still and has not heard of it.
type overdue struct{ context.Context }

func (overdue) Deadline() (time.Time, bool) { return time.Now().Add(-time.Minute), true }

func testLimiter(limits Limits) *limiter {
	return newLimiter(limits, newMetrics(prometheus.NewRegistry()))
}

func TestNobodyStartsAfterHisTime(t *testing.T) {
	t.Parallel()
	l := testLimiter(Limits{Probes: 1, ProbesPerHost: 1})
	_, err := l.acquire(overdue{t.Context()}, "host", candidate{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	release, err := l.acquire(t.Context(), "host", candidate{})
	require.NoError(t, err, "nothing was taken")
	release(probe.Result{})
	require.Empty(t, l.hosts)
}

func TestHostsWithCrowds(t *testing.T) {
	t.Parallel()
	l := testLimiter(Limits{Probes: 10, ProbesPerHost: 1})
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	want := func(host string) {
		_, err := l.acquire(ctx, host, candidate{})
		left <- err
	}
	waiting := func(n int) {
		t.Helper()
		require.Eventually(t, func() bool {
			l.hostsMu.Lock()
			defer l.hostsMu.Unlock()
			return l.waitForHosts == n
		}, 10*time.Second, time.Millisecond)
	}
	hosts := 2
	for host := range hosts + 1 {
		_, err := l.acquire(t.Context(), fmt.Sprint(host), candidate{}) // the only place of each
		require.NoError(t, err)
	}
	for n := range maxWaitingForHosts {
		go want(fmt.Sprint(n % hosts))
	}
	waiting(maxWaitingForHosts)
	_, err := l.acquire(ctx, "0", candidate{})
	require.ErrorIs(t, err, errCrowded)
	go want(fmt.Sprint(hosts)) // a host without a crowd
	waiting(maxWaitingForHosts + 1)

	leave()
	for range maxWaitingForHosts + 1 {
		require.ErrorIs(t, <-left, context.Canceled)
	}
	waiting(0)
}
