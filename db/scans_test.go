package db_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/uptime"
)

func TestNewestScans(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)

	// A monitor of 10 minutes over two days and nine chunks, with a day's hole, and a scan that somebody asked for
	// between two slots now and then. Another monitor shares its slots.
	schedule := uptime.Schedule{Interval: 600, PhaseMS: 30_000}
	monitor := dbtest.Monitor(t, pool, schedule.Interval, schedule.PhaseMS)
	other := dbtest.Monitor(t, pool, schedule.Interval, schedule.PhaseMS)
	first := schedule.SlotAfter(day)
	require.NoError(t, db.New(pool).OpenSchedules(t.Context(), db.OpenSchedulesParams{
		MonitorIDs: []int64{monitor.ID, other.ID}, FromAts: []time.Time{first, first},
		IntervalsSeconds: []int{600, 600}, PhasesMS: []int{30_000, 30_000},
	}))
	var want []time.Time // newest first
	end := day.Add(60 * time.Hour)
	for slot, n := first, 0; slot.Before(end); slot, n = schedule.Next(slot), n+1 {
		if slot.Before(day.Add(20*time.Hour)) || slot.After(day.Add(44*time.Hour)) {
			dbtest.Insert(t, pool, dbtest.Scan(monitor.ID, slot), dbtest.Scan(other.ID, slot))
			want = append([]time.Time{slot}, want...)
		}
		if n%10 == 0 {
			asked := dbtest.Scan(monitor.ID, slot.Add(90*time.Second+time.Microsecond))
			asked.Reason = "asked"
			dbtest.Insert(t, pool, asked)
			want = append([]time.Time{asked.Slot}, want...)
		}
	}

	for _, limit := range []int{1, 7, 50, len(want), 10 * len(want)} {
		var got []time.Time
		for until := end; ; { // page after page, each from before the last slot of the one before
			page, _, err := db.NewestScans(t.Context(), pool, monitor.ID, day, until, limit)
			require.NoError(t, err)
			got = append(got, slotsOf(page)...)
			if len(page) < limit {
				break
			}
			until = page[len(page)-1].Slot
		}
		require.Equal(t, want, got, "pages of %d", limit)
	}

	t.Run("TheRangeIsHalfOpen", func(t *testing.T) {
		t.Parallel()
		scans, _, err := db.NewestScans(t.Context(), pool, monitor.ID, first, schedule.Next(first), 10)
		require.NoError(t, err)
		require.Len(t, scans, 2) // first, and what was asked for after it
		require.True(t, scans[1].Slot.Equal(first))
	})

	t.Run("NothingInTheRange", func(t *testing.T) {
		t.Parallel()
		scans, _, err := db.NewestScans(t.Context(), pool, monitor.ID, day.Add(22*time.Hour),
			day.Add(22*time.Hour+time.Minute), 10)
		require.NoError(t, err)
		require.Empty(t, scans)
		require.NotNil(t, scans)
	})

	t.Run("AMonitorThatNeverHadASchedule", func(t *testing.T) {
		t.Parallel()
		paused := dbtest.Monitor(t, pool, 10, 5000)
		for i := range 3 {
			asked := dbtest.Scan(paused.ID, day.Add(time.Duration(i)*time.Hour+time.Microsecond))
			asked.Reason = "asked"
			dbtest.Insert(t, pool, asked)
		}
		scans, _, err := db.NewestScans(t.Context(), pool, paused.ID, day.Add(-20000*time.Hour), end, 2)
		require.NoError(t, err)
		require.Len(t, scans, 2)
		require.Equal(t, day.Add(2*time.Hour+time.Microsecond), scans[0].Slot.UTC())
	})

	t.Run("TheDatabaseGoesAway", func(t *testing.T) {
		t.Parallel()
		proxy, proxied := dbtest.NewProxy(t, pool.Config().ConnString())
		require.Greater(t, cuts(t, proxy, func() error {
			conn, err := pgx.Connect(t.Context(), proxied)
			if err != nil {
				return err
			}
			defer conn.Close(t.Context()) //nolint:errcheck // may be cut
			scans, _, err := db.NewestScans(t.Context(), conn, monitor.ID, day, end, 300)
			if err == nil {
				require.Equal(t, want[:min(300, len(want))], slotsOf(scans), "all or none")
			}
			return err
		}), 8)
	})
}

func slotsOf(scans []db.Scan) (slots []time.Time) {
	for _, scan := range scans {
		slots = append(slots, scan.Slot.UTC())
	}
	return slots
}

// A log of a month that is mostly gaps has hundreds of thousands of slots to ask for: each call asks for a part of them.
func TestNewestScansOfALogThatIsMostlyGaps(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	schedule := uptime.Schedule{Interval: 10, PhaseMS: 5000}
	monitor := dbtest.Monitor(t, pool, schedule.Interval, schedule.PhaseMS)
	first := schedule.SlotAfter(day)
	require.NoError(t, db.New(pool).OpenSchedules(t.Context(), db.OpenSchedulesParams{
		MonitorIDs: []int64{monitor.ID}, FromAts: []time.Time{first}, IntervalsSeconds: []int{10}, PhasesMS: []int{5000},
	}))
	dbtest.Insert(t, pool, dbtest.Scan(monitor.ID, first))

	var got []time.Time
	var parts int
	for until := day.Add(31 * 24 * time.Hour); until.After(day); parts++ {
		scans, from, err := db.NewestScans(t.Context(), pool, monitor.ID, day, until, 51)
		require.NoError(t, err)
		require.LessOrEqual(t, until.Sub(from), 50_000*10*time.Second)
		got, until = append(got, slotsOf(scans)...), from
	}
	require.Equal(t, 6, parts)
	require.Equal(t, []time.Time{first}, got)
}
