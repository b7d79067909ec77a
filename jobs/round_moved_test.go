package jobs_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/monitors"
	"riverwatch/monitors/monitorstest"
	"riverwatch/uptime"
)

// A monitor that moves to another schedule is not promised that schedule's present slot, which it may have been scanned
// at already: a round of it that is late leaves it out.
func TestRoundLeavesOutWhoMovedIn(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	target := newTarget(t)
	monitor := p.Create(t, monitorstest.Of(target.URL+"/moved", 10))
	later := uptime.ScheduleOf(monitor.ID, 20)
	slot := later.SlotAfter(monitorstest.Noon.Add(time.Minute))
	p.SetNow(slot)
	p.round(t, roundOf(monitor, slot))
	require.Equal(t, 1, target.hitsOf("/moved"))

	p.SetNow(slot.Add(2 * time.Second))
	moved := p.Edit(t, monitor.ID, func(c *monitors.Monitor) { c.IntervalSeconds = 20 })
	p.SetNow(slot.Add(3 * time.Second)) // the round of others, who are there already, comes late
	p.round(t, roundOf(moved, slot))
	require.Equal(t, 1, target.hitsOf("/moved"))
}
