package jobs_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"riverwatch/db/dbtest"
	"riverwatch/sight"
	"riverwatch/wait"
)

func TestClocksThatDiffer(t *testing.T) {
	t.Parallel()
	for name, skew := range map[string]time.Duration{"Ahead": 5 * time.Minute, "Behind": -3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProcess(t)
			now := func() time.Time { return time.Now().Add(skew) }
			registry := prometheus.NewRegistry()
			api := sight.NewClock(registry, p.Pool, "api", func() time.Time { return now() }, slog.New(&p.Logs))
			worker := sight.NewClock(prometheus.NewRegistry(), p.Pool, "worker", now, slog.New(&p.Logs))
			warnings := func() []string {
				return dbtest.Column[string](t, p.Pool, `SELECT concat_ws(' ', kind, open_processes, CASE WHEN closed_at IS NULL THEN 'open' END)
					FROM warnings ORDER BY id`)
			}
			tendBy := func(now time.Time) {
				p.SetNow(now)
				p.tend(t)
			}

			for range 2 { // one warning, however often it is found
				require.NoError(t, api.Compare(t.Context()))
				require.Equal(t, []string{"clock_skew {api} open"}, warnings())
			}
			p.Logs.Await(t, "the clocks of this process and of the database differ")
			metrics, err := registry.Gather()
			require.NoError(t, err)
			require.Equal(t, "riverwatch_clock_skew_seconds", metrics[0].GetName())
			require.InDelta(t, skew.Seconds(), metrics[0].GetMetric()[0].GetGauge().GetValue(), 1)

			stop := wait.Beside(t.Context(), worker.Run)
			require.Eventually(t, func() bool { return warnings()[0] == "clock_skew {api,worker} open" }, 10*time.Second,
				time.Millisecond)
			stop()
			require.Equal(t, []string{"clock_skew {api} open"}, warnings(), "it is nobody's matter who has ended")

			now = time.Now
			require.NoError(t, api.Compare(t.Context()))
			require.Equal(t, []string{"clock_skew {}"}, warnings())

			// Who raised it is gone without a word. Who tends may be the one whose clock is ahead.
			require.NoError(t, sight.NewClock(prometheus.NewRegistry(), p.Pool, "gone", func() time.Time {
				return time.Now().Add(skew)
			}, slog.New(&p.Logs)).Compare(t.Context()))
			tendBy(time.Now().Add(max(skew, 0)))
			require.Equal(t, "clock_skew {gone} open", warnings()[1])
			p.Exec(t, "UPDATE warnings SET opened_at = now() - interval '2 min', seen_at = now() - interval '61 s'")
			tendBy(time.Now().Add(max(skew, 0)))
			require.Equal(t, "clock_skew {}", warnings()[1])
			require.Zero(t, p.Count(t, "warnings WHERE closed_at > now()"))
		})
	}
}
