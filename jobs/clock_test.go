package jobs_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/jobs"
)

func TestClocksThatDiffer(t *testing.T) {
	t.Parallel()
	for name, skew := range map[string]time.Duration{"Ahead": 5 * time.Minute, "Behind": -3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProcess(t)
			alerts := func() []string {
				return column[string](t, p, `SELECT concat_ws(' ', kind, open_workers, CASE WHEN closed_at IS NULL THEN 'open' END)
					FROM operator_alerts ORDER BY id`)
			}
			renewed := func() time.Time {
				return column[time.Time](t, p, "SELECT coalesce(max(seen_at), 'epoch') FROM operator_alerts")[0]
			}
			attendUntil := func(skew time.Duration, done func() bool) {
				p.setNow(time.Now().Add(skew))
				leave := p.scanner.Attend(t.Context(), slog.New(&p.logs))
				defer leave()
				require.Eventually(t, done, 10*time.Second, time.Millisecond)
			}
			for range 2 { // one alert, however often it is found
				before := renewed()
				attendUntil(skew, func() bool { return renewed().After(before) })
				require.Equal(t, []string{"clock_skew {test} open"}, alerts())
			}
			p.logs.await(t, "the clocks of this worker and of the database differ")
			p.setNow(time.Now().Add(max(skew, 0)))
			p.tend(t) // by a leader whose clock may be the one that is wrong
			require.Equal(t, []string{"clock_skew {test} open"}, alerts())

			attendUntil(time.Second, func() bool { return alerts()[0] == "clock_skew {}" })
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
