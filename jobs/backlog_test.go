package jobs_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/queue"
	"riverwatch/uptime"
)

// pileUp inserts the rounds of a schedule at slots that lie so many intervals back, due when they were to be.
func (p *process) pileUp(t *testing.T, schedule uptime.Schedule, back ...int) {
	t.Helper()
	var rounds []river.InsertManyParams
	for _, n := range back {
		slot := schedule.SlotAt(p.Now()).Add(-time.Duration(n*schedule.Interval) * time.Second)
		rounds = append(rounds, queue.Round(schedule, slot))
	}
	_, err := p.Queue.InsertMany(t.Context(), rounds)
	require.NoError(t, err)
}

func TestABacklogIsDeclaredAtOnce(t *testing.T) {
	t.Parallel()
	newBacklog := func(t *testing.T) (p *process, watched, unwatched uptime.Schedule) {
		t.Helper()
		p = newProcess(t)
		watched, unwatched = uptime.Schedule{Interval: 60}, uptime.Schedule{Interval: 60, PhaseMS: 1000}
		dbtest.Monitors(t, p.Pool, watched, p.Now().Add(-time.Hour), 3, func(int, *db.Monitor) {})
		return p, watched, unwatched
	}
	open := func(t *testing.T, p *process) (slots []time.Time) {
		t.Helper()
		for _, args := range openJobs[queue.RoundArgs](t, p) {
			slots = append(slots, args.Slot)
		}
		return slots
	}

	t.Run("AsEachRoundWouldByItself", func(t *testing.T) {
		t.Parallel()
		p, watched, unwatched := newBacklog(t)
		p.pileUp(t, watched, 5, 4, 3)
		p.pileUp(t, unwatched, 7, 6)
		// Not stale, or not for this to see to.
		p.pileUp(t, watched, 0)
		p.Exec(t, "DELETE FROM river_job WHERE (args ->> 'slot')::timestamptz = $1", watched.SlotAt(p.Now()))
		other := uptime.Schedule{Interval: 60, PhaseMS: 2000}
		p.pileUp(t, other, 0, 1, 2)
		p.Exec(t, `UPDATE river_job SET attempt = 1 WHERE args ->> 'phase_ms' = '2000' AND (args ->> 'slot')::timestamptz = $1`,
			other.Previous(other.SlotAt(p.Now())))
		p.Exec(t, `UPDATE river_job SET args = args || '{"part": 3}' WHERE args ->> 'phase_ms' = '2000'
			AND (args ->> 'slot')::timestamptz < $1`, other.Previous(other.SlotAt(p.Now())))

		taken, err := p.worker.DeclareBacklog(t.Context())
		require.NoError(t, err)
		require.Equal(t, 5, taken)
		first := watched.SlotAt(p.Now()).Add(-5 * time.Minute)
		require.Equal(t, []string{"service_down 0-4"}, p.gaps(t, watched, first), "one gap, until the slot before the present one")
		require.Empty(t, p.gaps(t, unwatched, first), "nobody was promised anything")
		require.Equal(t, 1, p.missed(t, uptime.ServiceDown))
		require.Equal(t, 5, p.Count(t, `river_job WHERE state = 'completed' AND metadata -> 'output' ->> 'gap' = 'service_down'`))
		slots := open(t, p)
		require.Len(t, slots, 3, "the present slot of who is watched, and what was left alone: %v", slots)
		require.True(t, slices.ContainsFunc(slots, watched.SlotAt(p.Now()).Equal))

		taken, err = p.worker.DeclareBacklog(t.Context())
		require.NoError(t, err)
		require.Zero(t, taken)
	})

	t.Run("OrBecauseThisWorkerHadNoTime", func(t *testing.T) {
		t.Parallel()
		p, watched, _ := newBacklog(t)
		p.pileUp(t, watched, 5)
		p.worker.WasFull(p.Now())
		_, err := p.worker.DeclareBacklog(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"overloaded 0-4"}, p.gaps(t, watched, watched.SlotAt(p.Now()).Add(-5*time.Minute)))
	})

	t.Run("WhatSomebodyElseHasIsLeftToHim", func(t *testing.T) {
		t.Parallel()
		p, watched, unwatched := newBacklog(t)
		p.pileUp(t, watched, 5)
		p.pileUp(t, unwatched, 5)
		tx, err := p.Pool.Begin(t.Context())
		require.NoError(t, err)
		defer tx.Rollback(t.Context()) //nolint:errcheck // nothing is written
		require.NoError(t, db.New(tx).LockRound(t.Context(), db.LockRoundParams{IntervalSeconds: 60, PhaseMS: 0}))
		_, err = p.worker.DeclareBacklog(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, p.Count(t, "river_job WHERE state = 'completed' AND args ->> 'phase_ms' = '1000'"))
		require.Equal(t, 1, p.Count(t, "river_job WHERE state = 'available' AND args ->> 'phase_ms' = '0'"))
	})

	t.Run("ByTheClockThatIsBehind", func(t *testing.T) {
		t.Parallel()
		p, _, _ := newBacklog(t)
		p.SetNow(time.Now().Add(24 * time.Hour)) // the database's is the real one
		schedule := uptime.Schedule{Interval: 3600}
		p.pileUp(t, schedule, 2)
		taken, err := p.worker.DeclareBacklog(t.Context())
		require.NoError(t, err)
		require.Zero(t, taken)
	})
}

// River hands out the oldest first. Rounds of now come before those that have waited all the same, once any have.
func TestRoundsOfNowComeFirst(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	p.RunClock()
	schedule := uptime.Schedule{Interval: 3600}
	insert := func(ago ...time.Duration) {
		t.Helper()
		var rounds []river.InsertManyParams
		for _, d := range ago {
			schedule.PhaseMS += 250
			rounds = append(rounds, queue.RoundAt(schedule, schedule.SlotAt(p.Now()), p.Now().Add(-d)))
		}
		_, err := p.Queue.InsertMany(t.Context(), rounds)
		require.NoError(t, err)
	}
	fetch := func(atMost int) (phases []int) {
		t.Helper()
		taken, err := p.worker.Fetch(t.Context(), atMost)
		require.NoError(t, err)
		for _, job := range taken {
			var args queue.RoundArgs
			require.NoError(t, json.Unmarshal(job.EncodedArgs, &args))
			phases = append(phases, args.PhaseMS)
		}
		slices.Sort(phases)
		return phases
	}
	prioritized := func() int { return p.Count(t, "river_job WHERE priority = 1") }

	insert(6*time.Minute, 5*time.Minute, 4*time.Minute, 3*time.Minute, time.Second) // 250, 500, 750, 1000, 1250
	insert(-time.Hour)                                                              // 1500
	require.Equal(t, []int{250, 1250}, fetch(2), "that of now, and the oldest of the others")
	require.Equal(t, []int{500}, fetch(1))
	require.Equal(t, []int{750}, fetch(1))
	insert(0)
	require.Equal(t, []int{1000, 1750}, fetch(3), "all that is due")
	require.Equal(t, 2, prioritized())

	insert(time.Second)
	require.Equal(t, []int{2000}, fetch(1))
	require.Equal(t, 2, prioritized(), "where none waits, none is changed")
}
