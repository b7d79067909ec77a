package uptime_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/uptime"
)

// A fleet that wakes together is spread, and each of its rounds begins before its next slot, within a minute.
func TestStagger(t *testing.T) {
	t.Parallel()
	for _, away := range []time.Duration{6 * time.Second, 20 * time.Second, 50 * time.Second, time.Hour} {
		for _, interval := range []int{10, 60, 300, 3600} {
			now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
			perSecond, waiting := map[time.Duration]int{}, 0
			for quarter := range 4 * interval {
				schedule := uptime.Schedule{Interval: interval, PhaseMS: 250 * quarter}
				slot := schedule.SlotAfter(now.Add(-away))
				if slot.After(now) {
					continue // was not due while the fleet was away
				}
				waiting++
				wait := uptime.Stagger(schedule, slot, now)
				require.LessOrEqual(t, wait, time.Minute)
				require.Less(t, wait, schedule.SlotAfter(now).Sub(now))
				perSecond[wait.Truncate(time.Second)]++
			}
			most := 0
			for _, n := range perSecond {
				most = max(most, n)
			}
			// Besides the four that are due in each second.
			within := min(away, 45*time.Second, time.Duration(interval)*3/4*time.Second)
			require.LessOrEqual(t, most, 2*(4+waiting*int(time.Second)/int(within)), "%s away, every %d s", away, interval)
		}
	}
}
