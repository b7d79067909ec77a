package jobs_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"riverwatch/jobs"
)

func TestClocksThatDiffer(t *testing.T) {
	t.Parallel()
	for name, skew := range map[string]time.Duration{"Ahead": 5 * time.Minute, "Behind": -3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProcess(t)
			now := func() time.Time { return time.Now().Add(skew) }
			registry := prometheus.NewRegistry()
			api := jobs.NewClock(registry, p.pool, "api", func() time.Time { return now() }, slog.New(&p.logs))
			worker := jobs.NewClock(prometheus.NewRegistry(), p.pool, "worker", now, slog.New(&p.logs))
			warnings := func() []string {
				return column[string](t, p, `SELECT concat_ws(' ', kind, open_processes, CASE WHEN closed_at IS NULL THEN 'open' END)
					FROM warnings ORDER BY id`)
			}
			tendBy := func(now time.Time) {
				p.setNow(now)
				p.tend(t)
			}

			for range 2 { // one warning, however often it is found
				require.NoError(t, api.Compare(t.Context()))
				require.Equal(t, []string{"clock_skew {api} open"}, warnings())
			}
			p.logs.await(t, "the clocks of this process and of the database differ")
			metrics, err := registry.Gather()
			require.NoError(t, err)
			require.Equal(t, "riverwatch_clock_skew_seconds", metrics[0].GetName())
			require.InDelta(t, skew.Seconds(), metrics[0].GetMetric()[0].GetGauge().GetValue(), 1)

			stop := worker.Watch(t.Context())
			require.Eventually(t, func() bool { return warnings()[0] == "clock_skew {api,worker} open" }, 10*time.Second,
				time.Millisecond)
			stop()
			require.Equal(t, []string{"clock_skew {api} open"}, warnings(), "it is nobody's matter who has ended")

			now = time.Now
			require.NoError(t, api.Compare(t.Context()))
			require.Equal(t, []string{"clock_skew {}"}, warnings())

			// Who raised it is gone without a word. Who tends may be the one whose clock is ahead.
			require.NoError(t, jobs.NewClock(prometheus.NewRegistry(), p.pool, "gone", func() time.Time {
				return time.Now().Add(skew)
			}, slog.New(&p.logs)).Compare(t.Context()))
			tendBy(time.Now().Add(max(skew, 0)))
			require.Equal(t, "clock_skew {gone} open", warnings()[1])
			p.exec(t, "UPDATE warnings SET opened_at = now() - interval '2 min', seen_at = now() - interval '61 s'")
			tendBy(time.Now().Add(max(skew, 0)))
			require.Equal(t, "clock_skew {}", warnings()[1])
			require.Zero(t, p.count(t, "warnings WHERE closed_at > now()"))
		})
	}
}

func TestSkewIsWhatTheAnswersWayDoesNotExplain(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	for _, c := range []struct{ asked, theirs, answered, want int }{
		{0, 0, 0, 0},
		{0, 3, 5, 0},
		{10, 3, 15, 7},
		{0, 9, 5, -4},
	} {
		require.Equal(t, time.Duration(c.want)*time.Second, jobs.SkewOf(at(c.asked), at(c.theirs), at(c.answered)), "%v", c)
	}
}
