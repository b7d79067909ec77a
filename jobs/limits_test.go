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

// Who waits for a place in the process holds one at his host. When he gives up, the next one of this host gets it.
func TestWhoGivesUpGivesBackWhatHeHad(t *testing.T) {
	t.Parallel()
	l := testLimiter(Limits{Probes: 1, ProbesPerHost: 1})
	release, err := l.acquire(t.Context(), "busy", candidate{})
	require.NoError(t, err)

	impatient, giveUp := context.WithCancel(t.Context())
	gaveUp, got := make(chan error, 1), make(chan error, 1)
	acquire := func(ctx context.Context, result chan<- error) {
		release, err := l.acquire(ctx, "host", candidate{})
		if err == nil {
			release(probe.Result{})
		}
		result <- err
	}
	go acquire(impatient, gaveUp)
	require.Eventually(t, func() bool { return l.waiting() == 1 }, 10*time.Second, time.Millisecond)
	go acquire(t.Context(), got)
	require.Eventually(t, func() bool {
		l.hostsMu.Lock()
		defer l.hostsMu.Unlock()
		return l.waitForHosts == 1
	}, 10*time.Second, time.Millisecond)
	giveUp()
	require.ErrorIs(t, <-gaveUp, context.Canceled)
	release(probe.Result{})
	select {
	case err := <-got:
		require.NoError(t, err)
	case <-time.After(10 * time.Second):
		t.Fatal("the place at the host is gone")
	}
	require.Empty(t, l.hosts)
}
