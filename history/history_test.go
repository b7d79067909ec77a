package history_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/history"
	"riverwatch/uptime"
)

// noon is when the tests' past begins: an hour, but not the beginning of a day.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// past is a database with monitors of 10 s, all of one phase, whose log is filled by hand.
type past struct {
	*pgxpool.Pool
	random *rand.Rand
	ids    []int64
}

var schedule = uptime.Schedule{Interval: 10, PhaseMS: 250}

func newPast(t *testing.T, monitors int) *past {
	t.Helper()
	p := &past{Pool: dbtest.New(t), random: rand.New(rand.NewPCG(uint64(monitors), 7))}
	dbtest.Monitors(t, p.Pool, schedule, noon, monitors, func(_ int, m *db.Monitor) { p.ids = append(p.ids, m.ID) })
	return p
}

// fill makes scans of all monitors at the slots from since until before until: some of them missing, some of each kind.
func (p *past) fill(t *testing.T, since, until time.Time) (scans []db.Scan) {
	t.Helper()
	outcomes := []uptime.Outcome{
		uptime.OK, uptime.OK, uptime.OK, uptime.OK, uptime.OKTruncated, uptime.OKSlow, uptime.StatusMismatch, uptime.TimeoutConnect,
		uptime.Inconclusive, uptime.BlockedByPolicy, uptime.NotSupported,
	}
	for slot := schedule.SlotAfter(since); slot.Before(until); slot = schedule.Next(slot) {
		for _, id := range p.ids {
			if p.random.IntN(10) == 0 {
				continue
			}
			scan := dbtest.Scan(id, slot)
			scan.Outcome = outcomes[p.random.IntN(len(outcomes))]
			scan.TotalUS = int(math.Exp(p.random.Float64()*16)) + 1 // up to 8.9 s
			scan.ConnectUS, scan.WaitUS = new(scan.TotalUS/3), new(scan.TotalUS/2)
			if p.random.IntN(2) == 0 {
				scan.DNSUS = new(scan.TotalUS / 7)
			}
			scans = append(scans, scan)
		}
	}
	dbtest.Insert(t, p.Pool, scans...)
	return scans
}

// account says that promises are accounted for until an instant, as tend does.
func (p *past) account(t *testing.T, until time.Time) {
	t.Helper()
	dbtest.Exec(t, p.Pool, "INSERT INTO tend_progress (checked_until) VALUES ($1) ON CONFLICT (only_row) DO UPDATE SET checked_until = $1", until)
}

func (p *past) rollUp(t *testing.T) history.Rolled {
	t.Helper()
	done, err := history.RollUp(t.Context(), p.Pool)
	require.NoError(t, err)
	return done
}

// slowly sums up the log by a query that says what hours and days are, and nothing else.
const slowly = `
	SELECT
		l.from_at, l.monitor_id,
		sum(total_us) FILTER (WHERE good)::bigint, sum(dns_us) FILTER (WHERE good)::bigint,
		sum(connect_us) FILTER (WHERE good)::bigint, sum(tls_us) FILTER (WHERE good)::bigint,
		sum(wait_us) FILTER (WHERE good)::bigint, sum(transfer_us) FILTER (WHERE good)::bigint,
		count(*) FILTER (WHERE outcome IN ('ok', 'ok_truncated'))::integer, count(*) FILTER (WHERE outcome = 'ok_slow')::integer,
		count(*) FILTER (WHERE NOT good AND NOT ours)::integer, count(*) FILTER (WHERE ours)::integer,
		min(total_us) FILTER (WHERE good), max(total_us) FILTER (WHERE good),
		(SELECT coalesce(array_agg(1000000 * bucket + scans ORDER BY bucket), '{}')::integer[] FROM (
			SELECT least(151, greatest(0, floor(log(2, m.total_us / 1e6) * 8 + 104)))::integer AS bucket, count(*) AS scans
			FROM monitor_log AS m
			WHERE m.monitor_id = l.monitor_id AND date_trunc('%[1]s', m.slot, 'UTC') = l.from_at AND m.outcome LIKE 'ok%%'
			GROUP BY 1
		) AS counted)
	FROM (
		SELECT *, date_trunc('%[1]s', slot, 'UTC') AS from_at, outcome LIKE 'ok%%' AS good,
			outcome IN ('inconclusive', 'blocked_by_policy', 'not_supported') AS ours
		FROM monitor_log WHERE slot < $1
	) AS l
	GROUP BY l.from_at, l.monitor_id
	ORDER BY 1, 2`

// requireRight compares all that is rolled up with what the log says.
func (p *past) requireRight(t *testing.T) {
	t.Helper()
	progress, err := db.New(p.Pool).GetHistoryProgress(t.Context())
	require.NoError(t, err)
	for _, of := range []struct {
		table, unit string
		until       time.Time
	}{{"scan_hours", "hour", progress.RolledUntil}, {"scan_days", "day", progress.DaysUntil}} {
		want := dbtest.Column[string](t, p.Pool, "SELECT r::text FROM ("+fmt.Sprintf(slowly, of.unit)+") AS r", of.until)
		got := dbtest.Column[string](t, p.Pool, "SELECT r::text FROM "+of.table+" AS r ORDER BY from_at, monitor_id")
		require.Equal(t, want, got, of.table)
	}
}

func TestRollUp(t *testing.T) {
	t.Parallel()

	t.Run("HoursAndDaysAreWhatTheLogSays", func(t *testing.T) {
		t.Parallel()
		p := newPast(t, 3)
		p.fill(t, noon, noon.Add(26*time.Hour+10*time.Minute))
		require.Equal(t, history.Rolled{}, p.rollUp(t), "promises are not accounted for")
		p.account(t, noon.Add(26*time.Hour+5*time.Minute))
		require.Equal(t, history.Rolled{Hours: 26, Days: 1}, p.rollUp(t))
		p.requireRight(t)
		require.Equal(t, 78, dbtest.Count(t, p.Pool, "scan_hours"))
		require.Equal(t, 3, dbtest.Count(t, p.Pool, "scan_days"))
		require.Equal(t, history.Rolled{}, p.rollUp(t), "there is nothing left")
	})

	t.Run("WhoeverDiesLosesAndDoublesNothing", func(t *testing.T) {
		t.Parallel()
		p := newPast(t, 2)
		p.fill(t, noon, noon.Add(50*time.Hour))
		p.account(t, noon.Add(50*time.Hour))
		for cut := 0; ; cut++ {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(p.random.IntN(12_000))*time.Microsecond)
			_, err := history.RollUp(ctx, p.Pool)
			cancel()
			if err == nil {
				t.Logf("cut off %d times", cut)
				break
			}
			if cut > 300 {
				p.rollUp(t)
				break
			}
		}
		require.True(t, dbtest.One[time.Time](t, p.Pool, "SELECT rolled_until FROM history_progress").Equal(noon.Add(50*time.Hour)))
		p.requireRight(t)
	})

	t.Run("TwoAtATimeDoEachHourOnce", func(t *testing.T) {
		t.Parallel()
		p := newPast(t, 2)
		p.fill(t, noon, noon.Add(6*time.Hour))
		p.account(t, noon.Add(6*time.Hour))
		hours := make(chan int)
		for range 2 {
			go func() {
				done, err := history.RollUp(context.Background(), p.Pool)
				if err != nil {
					t.Error(err)
				}
				hours <- done.Hours
			}()
		}
		require.Equal(t, 6, <-hours+<-hours)
		p.requireRight(t)
	})

	t.Run("AnHourWaitsForWhoMayNotKnowThatItIsClosed", func(t *testing.T) {
		t.Parallel()
		p := newPast(t, 1)
		p.account(t, noon.Add(time.Hour+time.Minute))
		writer, err := p.Begin(t.Context())
		require.NoError(t, err)
		defer writer.Rollback(t.Context()) //nolint:errcheck // it is committed
		writeLateIn(t, writer, dbtest.Scan(p.ids[0], noon.Add(10250*time.Millisecond)))
		require.Equal(t, history.Rolled{}, p.rollUp(t), "its row is not visible, and it has left no mark")
		require.NoError(t, writer.Commit(t.Context()))
		require.Equal(t, history.Rolled{Hours: 1}, p.rollUp(t))
		p.requireRight(t)
		require.Equal(t, 1, dbtest.Count(t, p.Pool, "scan_hours"))
	})

	t.Run("WhatIsMarkedIsComputedAgain", func(t *testing.T) {
		t.Parallel()
		p := newPast(t, 3)
		p.fill(t, noon, noon.Add(15*time.Hour))
		p.account(t, noon.Add(15*time.Hour))
		require.Equal(t, history.Rolled{Hours: 15, Days: 1}, p.rollUp(t))

		late := []db.Scan{
			dbtest.Scan(p.ids[0], noon.Add(90*time.Minute+123*time.Millisecond)), dbtest.Scan(p.ids[1], noon.Add(14*time.Hour+77*time.Millisecond)),
		}
		late[0].Reason, late[1].Reason = "asked", "asked"
		p.writeLate(t, late...)
		require.Equal(t, 2, dbtest.Count(t, p.Pool, "stale_hours"))
		require.Equal(t, history.Rolled{Stale: 2}, p.rollUp(t))
		p.requireRight(t)
		require.Zero(t, dbtest.Count(t, p.Pool, "stale_hours"))
	})

	t.Run("AMarkWaitsForItsWriter", func(t *testing.T) {
		t.Parallel()
		p := newPast(t, 1)
		p.fill(t, noon, noon.Add(time.Hour))
		p.account(t, noon.Add(time.Hour))
		p.rollUp(t)
		p.writeLate(t, asked(p.ids[0], noon.Add(time.Minute)))
		// A second writer touches the mark that is there, and has not committed.
		second, err := p.Begin(t.Context())
		require.NoError(t, err)
		defer second.Rollback(t.Context()) //nolint:errcheck // it is committed
		writeLateIn(t, second, asked(p.ids[0], noon.Add(2*time.Minute)))
		require.Equal(t, history.Rolled{}, p.rollUp(t), "it is left alone until then")
		require.NoError(t, second.Commit(t.Context()))
		require.Equal(t, history.Rolled{Stale: 1}, p.rollUp(t))
		p.requireRight(t)
	})

	t.Run("ByHandAllIsComputedAgain", func(t *testing.T) {
		t.Parallel()
		p := newPast(t, 2)
		p.fill(t, noon, noon.Add(30*time.Hour))
		p.account(t, noon.Add(30*time.Hour))
		p.rollUp(t)
		dbtest.Exec(t, p.Pool, "UPDATE scan_hours SET good = 0")
		dbtest.Exec(t, p.Pool, "UPDATE scan_days SET good = 0")
		var told []int
		require.NoError(t, history.Recompute(t.Context(), p.Pool, noon.Add(time.Minute), noon.Add(99*time.Hour), func(done, all int) {
			require.Equal(t, 30, all)
			told = append(told, done)
		}))
		require.Len(t, told, 31)
		require.True(t, slices.IsSorted(told))
		p.requireRight(t)
	})
}

func asked(id int64, slot time.Time) db.Scan {
	scan := dbtest.Scan(id, slot.Add(time.Microsecond))
	scan.Reason = "asked"
	return scan
}

// writeLate writes rows as the recorder does: with their marks, in one transaction.
func (p *past) writeLate(t *testing.T, scans ...db.Scan) {
	t.Helper()
	tx, err := p.Begin(t.Context())
	require.NoError(t, err)
	writeLateIn(t, tx, scans...)
	require.NoError(t, tx.Commit(t.Context()))
}

func writeLateIn(t *testing.T, conn db.DBTX, scans ...db.Scan) {
	t.Helper()
	dbtest.Insert(t, conn, scans...)
	var mark db.MarkStaleHoursParams
	for _, scan := range scans {
		mark.Slots, mark.MonitorIDs = append(mark.Slots, scan.Slot), append(mark.MonitorIDs, scan.MonitorID)
	}
	require.NoError(t, db.New(conn).MarkStaleHours(t.Context(), mark))
}

// SQL sorts outcomes as Go does.
func TestOutcomeClassIsThatOfGo(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	for _, outcome := range uptime.Outcomes() {
		want := "failed"
		switch {
		case outcome == uptime.OKSlow:
			want = "slow"
		case outcome.Good():
			want = "good"
		case !outcome.Conclusive():
			want = "inconclusive"
		}
		require.Equal(t, want, dbtest.One[string](t, pool, "SELECT outcome_class($1)", string(outcome)), outcome)
	}
}

// Percentiles are those of the scans themselves, within the bound that is promised, in Go and in SQL.
func TestPercentilesAreWithinTheirBound(t *testing.T) {
	t.Parallel()
	p := newPast(t, 1)
	p.fill(t, noon, noon.Add(3*time.Hour))
	steps, err := history.Latency(t.Context(), p.Pool, p.ids[0], noon, noon.Add(3*time.Hour), 3*time.Hour)
	require.NoError(t, err)
	require.Len(t, steps, 1)
	for _, part := range []float64{0.001, 0.01, 0.25, 0.5, 0.75, 0.95, 0.99, 1} {
		exact := dbtest.One[float64](t, p.Pool, `SELECT percentile_disc($1::double precision) WITHIN GROUP (ORDER BY total_us)::double precision / 1000
			FROM monitor_log WHERE outcome LIKE 'ok%'`, part)
		took, ok := steps[0].Histogram.Percentile(part)
		require.True(t, ok)
		ms := float64(took.Nanoseconds()) / 1e6
		if exact > 0.2 { // the first bucket holds all that is shorter
			require.InEpsilon(t, exact, ms, 0.045, part)
		}
		require.InEpsilon(t, ms, dbtest.One[float64](t, p.Pool, `SELECT percentile_of(histogram_sum(h.histogram), $1)
			FROM summed_scans($2, $3, INTERVAL '5 minutes', 0, 0, $4) AS h`, part, noon, noon.Add(3*time.Hour), p.ids), 1e-4, part)
	}
	_, ok := history.Histogram{}.Percentile(0.5)
	require.False(t, ok)
}

// A step says the same whatever it is read from.
func TestLatencyAgreesAcrossItsSources(t *testing.T) {
	t.Parallel()
	p := newPast(t, 2)
	from, until := noon.Add(-12*time.Hour), noon.Add(40*time.Hour+20*time.Minute)
	p.fill(t, noon, until)
	read := func(width time.Duration) (steps []history.Step) {
		steps, err := history.Latency(t.Context(), p.Pool, p.ids[1], from, until, width)
		require.NoError(t, err)
		return steps
	}
	sources := func(steps []history.Step) (all []history.Source) {
		for i := range steps {
			if source := steps[i].Source; source != "" && !slices.Contains(all, source) {
				all = append(all, source)
			}
			steps[i].Source = ""
		}
		return all
	}
	hours, days := read(time.Hour), read(24*time.Hour)
	require.Equal(t, []history.Source{history.FromScans}, sources(hours))
	require.Equal(t, []history.Source{history.FromScans}, sources(days))
	require.Len(t, hours, 53)
	require.Len(t, days, 3)

	p.account(t, noon.Add(38*time.Hour))
	p.rollUp(t)
	p.writeLate(t, asked(p.ids[0], noon.Add(2*time.Hour))) // of the other monitor
	rolledHours, rolledDays := read(time.Hour), read(24*time.Hour)
	require.Equal(t, []history.Source{history.FromHours, history.FromScans}, sources(rolledHours))
	require.Equal(t, []history.Source{history.FromDays, history.FromBoth}, sources(rolledDays))
	require.Equal(t, hours, rolledHours)
	require.Equal(t, days, rolledDays)

	// An hour that is stale is read from the log at once.
	p.writeLate(t, asked(p.ids[1], noon.Add(3*time.Hour)))
	require.Equal(t, hours[15].Scans()+1, read(time.Hour)[15].Scans())
	require.Equal(t, days[0].Scans()+1, read(24 * time.Hour)[0].Scans())

	var sum history.Sum
	for _, step := range read(5 * time.Minute) {
		sum.Add(step.Sum)
	}
	var whole history.Sum
	for _, step := range read(24 * time.Hour) {
		whole.Add(step.Sum)
	}
	require.Equal(t, whole, sum)
}

// A glance tells of each of the last slots what came of it, of days, weeks and a month how the time counts, and how long scans took.
func TestGlances(t *testing.T) {
	t.Parallel()
	p := newPast(t, 3)
	now := noon.Add(2*time.Hour + 5*time.Minute)
	scans := p.fill(t, noon, now.Add(-30*time.Second))
	sick, missed := p.ids[0], schedule.SlotAt(now.Add(-3*time.Minute))
	for at, status := range map[time.Duration]uptime.Status{0: uptime.Up, time.Hour: uptime.Down} {
		dbtest.Exec(t, p.Pool, "INSERT INTO status_changes (monitor_id, at, status) VALUES ($1, $2, $3)", sick, noon.Add(at), string(status))
	}
	dbtest.Exec(t, p.Pool, "DELETE FROM monitor_log WHERE slot IN ($1, $2)", missed, schedule.Next(missed))
	dbtest.Exec(t, p.Pool, "INSERT INTO scan_gaps VALUES (10, 250, NULL, $1, $1, 'service_down', now())", missed)
	dbtest.Exec(t, p.Pool, "INSERT INTO scan_gaps VALUES (10, 250, $2, $1, $1, 'overloaded', now())", schedule.Next(missed), sick)
	created := now.Add(-5 * time.Minute)
	dbtest.Exec(t, p.Pool, "UPDATE monitor_schedules SET from_at = $1 WHERE monitor_id = $2", created, p.ids[2])
	dbtest.Exec(t, p.Pool, "DELETE FROM monitor_log WHERE slot < $1 AND monitor_id = $2", created, p.ids[2])
	monitors, err := db.New(p.Pool).ListMonitors(t.Context(), p.ids)
	require.NoError(t, err)

	glance := func() []history.Glance {
		glances, err := history.Glances(t.Context(), p.Pool, now, history.Parts{Slots: true, Uptime: true, Latency: true}, monitors...)
		require.NoError(t, err)
		return glances
	}
	young := glance()
	came := map[int64]map[time.Time]history.Slot{}
	for i, m := range monitors {
		require.Len(t, young[i].Slots, history.GlanceSlots)
		require.Equal(t, schedule.SlotAt(now), young[i].Slots[59].At.UTC())
		came[m.ID] = map[time.Time]history.Slot{}
		for _, slot := range young[i].Slots {
			came[m.ID][slot.At.UTC()] = slot
		}
	}
	for _, scan := range scans {
		slot, ok := came[scan.MonitorID][scan.Slot]
		deleted := scan.Slot.Equal(missed) || scan.Slot.Equal(schedule.Next(missed)) || scan.MonitorID == p.ids[2] && scan.Slot.Before(created)
		if !ok || deleted {
			continue
		}
		require.Equal(t, scan.Outcome.Good(), slot.Came == history.CameGood || slot.Came == history.CameSlow, scan.Outcome)
		require.Equal(t, scan.Outcome.Failed(), slot.Came == history.CameFailed, scan.Outcome)
		require.Equal(t, scan.TotalUS, slot.TotalUS)
		require.True(t, slot.Scanned())
	}
	require.Equal(t, history.Slot{At: missed, Came: history.CameGap, Reason: uptime.ServiceDown}, came[p.ids[1]][missed])
	require.Equal(t, history.Slot{At: schedule.Next(missed), Came: history.CameGap, Reason: uptime.Overloaded}, came[sick][schedule.Next(missed)])
	require.Equal(t, history.CamePending, came[p.ids[1]][schedule.Next(missed)].Came)
	require.Equal(t, history.CamePending, young[0].Slots[59].Came)
	require.Equal(t, history.CameNone, young[2].Slots[0].Came, "it was not there yet")

	ratio, ok := young[0].Day.Ratio()
	require.True(t, ok)
	require.InDelta(t, 60.0/125, ratio, 1e-9)
	require.Equal(t, young[0].Day, young[0].Month)
	_, ok = young[1].Week.Ratio()
	require.False(t, ok)

	p.account(t, noon.Add(2*time.Hour))
	require.Equal(t, 2, p.rollUp(t).Hours)
	rolled, want := glance(), 0
	for _, scan := range scans {
		if scan.MonitorID == sick && scan.Outcome.Good() && scan.Slot.Before(noon.Add(2*time.Hour)) {
			want++
		}
	}
	got := 0
	for _, count := range rolled[0].Latency {
		got += count
	}
	require.Equal(t, want, got)
	before, _ := young[0].Latency.Percentile(0.5)
	after, _ := rolled[0].Latency.Percentile(0.5)
	require.InEpsilon(t, before, after, 0.5, "of the log before")
}
