package jobs

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// overdue is a context whose deadline has passed, in a process that stood still and has not heard of it.
type overdue struct{ context.Context }

func (overdue) Deadline() (time.Time, bool) { return time.Now().Add(-time.Minute), true }

func TestNobodyStartsAfterHisTime(t *testing.T) {
	t.Parallel()
	l := newLimiter(Limits{Probes: 1, ProbesPerHost: 1}, newMetrics(prometheus.NewRegistry()))
	_, err := l.acquire(overdue{t.Context()}, "host")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	release, err := l.acquire(t.Context(), "host")
	require.NoError(t, err, "nothing was taken")
	release()
	require.Empty(t, l.hosts)
}
