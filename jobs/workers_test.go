package jobs_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/db/dbtest"
	"riverwatch/jobs"
	"riverwatch/monitors/monitorstest"
	"riverwatch/probe"
	"riverwatch/queue"
	"riverwatch/wait"
)

// crowd is a prober that holds each probe until it is released, and counts those that it holds.
type crowd struct {
	mu      sync.Mutex
	held    int
	release chan struct{}
}

func (c *crowd) Probe(context.Context, probe.Target) probe.Result {
	c.mu.Lock()
	c.held++
	c.mu.Unlock()
	<-c.release
	return well()
}

func (c *crowd) holds(n int) func() bool {
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.held == n
	}
}

// Workers share the places at one host among them, however many there are.
func TestWorkersShareAHost(t *testing.T) {
	t.Parallel()
	const perHost = 6
	for workers, each := range map[int]int{1: 6, 2: 3, 4: 1, 9: 1} {
		t.Run(itoa(int64(workers)), func(t *testing.T) {
			t.Parallel()
			pool := dbtest.New(t)
			c := &crowd{release: make(chan struct{})}
			release := sync.OnceFunc(func() { close(c.release) })
			defer release()
			p := newProcessOn(t, pool, c, jobs.Limits{Probes: 100, ProbesPerHost: perHost})
			for i := range 8 {
				p.Create(t, monitorstest.Of("http://one.example/"+itoa(int64(i)), 60))
			}
			schedule := p.Create(t, monitorstest.Of("http://one.example/", 60)).Schedule()
			p.Exec(t, "UPDATE monitors SET phase_ms = $1", schedule.PhaseMS)
			p.Exec(t, "UPDATE monitor_schedules SET phase_ms = $1, from_at = $2", schedule.PhaseMS, monitorstest.Noon)

			for i := range workers - 1 {
				p.Exec(t, "INSERT INTO workers VALUES ($1, now())", itoa(int64(i)))
			}
			p.Exec(t, "INSERT INTO workers VALUES ('gone', now() - interval '31 seconds')")
			require.Equal(t, 1, p.worker.Workers(), "before it knows")
			leave := wait.Beside(t.Context(), p.worker.Announce)
			require.Eventually(t, func() bool { return p.worker.Workers() == workers }, 10*time.Second, time.Millisecond)
			leave()
			require.Zero(t, p.Count(t, "workers WHERE name = 'test'"))

			slot := schedule.SlotAfter(monitorstest.Noon)
			p.inTime(slot)
			done := make(chan error)
			go func() { done <- p.tryRound(t, queue.RoundArgs{Interval: 60, PhaseMS: schedule.PhaseMS, Slot: slot}) }()
			require.Eventually(t, c.holds(each), 10*time.Second, time.Millisecond)
			require.Never(t, func() bool { return !c.holds(each)() }, 100*time.Millisecond, 10*time.Millisecond)
			release()
			require.NoError(t, <-done)
			require.Equal(t, 9, p.Count(t, "monitor_log"))
		})
	}
}
