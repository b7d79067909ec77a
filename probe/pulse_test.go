package probe

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/uptime"
)

func TestPulse(t *testing.T) {
	t.Parallel()

	t.Run("LosesNothingWhileItRuns", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := &pulse{slack: pulseSlack}
			before := p.join()
			time.Sleep(10 * time.Second)
			require.Zero(t, p.lag()-before)
			p.leave()
		})
	})

	t.Run("NoticesThatItWasKeptFromRunning", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := &pulse{slack: pulseSlack, probes: 1, beat: time.Now(), quit: make(chan struct{})} // no goroutine: none got a processor
			time.Sleep(3 * time.Second)
			require.Equal(t, 3*time.Second-pulseTick-pulseSlack, p.lag())
			p.strike(p.quit)
			require.Equal(t, 3*time.Second-pulseTick-pulseSlack, p.lag())
			p.leave()
			time.Sleep(time.Second)
			p.strike(p.quit)
			require.Zero(t, p.join()-p.lag(), "what was lost between probes does not count")
			p.leave()
		})
	})
}

// A process that was starved says nothing of time, but of what it saw.
func TestStarved(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		lost    time.Duration
		outcome uptime.Outcome
		want    uptime.Outcome
	}{
		{300 * time.Millisecond, uptime.TimeoutHeader, uptime.Inconclusive},
		{300 * time.Millisecond, uptime.TooSlow, uptime.Inconclusive},
		{300 * time.Millisecond, uptime.RegexpTimeout, uptime.RegexpTimeout},
		{600 * time.Millisecond, uptime.RegexpTimeout, uptime.Inconclusive},
		{300 * time.Millisecond, uptime.ConnectRefused, uptime.ConnectRefused},
		{300 * time.Millisecond, uptime.OK, uptime.OK},
		{100 * time.Millisecond, uptime.TimeoutHeader, uptime.TimeoutHeader},
	} {
		p := &Prober{pulse: &pulse{beat: time.Now().Add(time.Hour), lost: row.lost}}
		a := attempt{Prober: p, target: Target{Timeout: time.Second}}
		require.Equal(t, row.want, a.starved(verdict{outcome: row.outcome}).outcome)
	}
}
