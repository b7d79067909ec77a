package history_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"riverwatch/db/dbtest"
	"riverwatch/history"
	"riverwatch/uptime"
)

// slowUptime counts each second of a range by itself, by the rule as it is written.
const slowUptime = `
	SELECT counts_as, count(*)::bigint FROM (
		SELECT CASE
			WHEN NOT EXISTS (SELECT FROM monitor_schedules AS s WHERE s.monitor_id = $1 AND s.from_at <= second AND coalesce(s.until_at, 'infinity') > second)
				OR status = 'paused' THEN 'paused'
			WHEN status = 'down' THEN 'down'
			WHEN EXISTS (
				SELECT FROM scan_gaps AS g
				WHERE (g.monitor_id = $1 OR g.monitor_id IS NULL AND NOT EXISTS (
						SELECT FROM monitor_log AS l WHERE l.monitor_id = $1 AND l.slot <= second AND l.slot > second - make_interval(secs => g.interval_seconds)
						AND l.slot BETWEEN g.from_slot AND g.to_slot
					))
					AND EXISTS (
						SELECT FROM monitor_schedules AS s WHERE s.monitor_id = $1 AND (s.interval_seconds, s.phase_ms) = (g.interval_seconds, g.phase_ms)
						AND s.from_at <= second AND coalesce(s.until_at, 'infinity') > second
						AND (g.monitor_id IS NOT NULL OR s.from_at <= second - make_interval(secs => mod(extract(epoch FROM second - g.from_slot), g.interval_seconds)::double precision))
					)
					AND g.from_slot <= second AND g.to_slot + make_interval(secs => g.interval_seconds) > second
			) THEN 'unknown'
			WHEN status IN ('up', 'degraded') THEN status
			ELSE 'unknown'
		END AS counts_as
		FROM (
			SELECT second, (
				SELECT c.status FROM status_changes AS c
				WHERE c.monitor_id = $1 AND c.at <= second
				AND NOT EXISTS (SELECT FROM status_changes AS later WHERE later.monitor_id = $1 AND later.id > c.id AND later.at <= c.at)
				ORDER BY c.at DESC LIMIT 1
			) AS status
			FROM generate_series($2::timestamptz, $3::timestamptz - INTERVAL '1 second', INTERVAL '1 second') AS second
			WHERE second >= (SELECT min(from_at) FROM monitor_schedules WHERE monitor_id = $1)
		) AS stood
	) AS counted GROUP BY 1`

const monitorsWithPasts, pastsLast = 25, 3000 // seconds

func secondOfPasts(second int) time.Time { return noon.Add(time.Duration(second) * time.Second) }

// insertPasts gives monitors 1, 2… a past of pauses, other intervals, outages, gaps and scans that were taken back.
func insertPasts(t *testing.T, pool *pgxpool.Pool, random *rand.Rand) {
	t.Helper()
	const monitors, long = monitorsWithPasts, pastsLast
	at := secondOfPasts
	statuses := []string{"pending", "up", "up", "degraded", "down", "unknown", "paused"}
	reasons := uptime.GapReasons()
	for id := int64(1); id <= monitors; id++ {
		dbtest.Exec(t, pool, `INSERT INTO monitors (id, name, tags, method, url, host, timeout_ms, max_redirects, accepted_statuses, regexp_invert,
			interval_seconds, phase_ms, retry_interval_seconds, failure_threshold, success_threshold, created_at, updated_at)
			VALUES ($1::bigint, '', '{}', 'GET', 'https://example.com/' || $1::bigint, 'example.com', 1000, 0, '{}', false, 10, 0, 5, 1, 1, now(), now())`, id)
		for from := random.IntN(300); from < long; {
			until := from + 60 + random.IntN(1500)
			interval, phase := 10*(1+random.IntN(2)), 1000*random.IntN(3)
			dbtest.Exec(t, pool, "INSERT INTO monitor_schedules VALUES ($1, $2, $3, $4, $5)", id, at(from), at(until), interval, phase)
			s := uptime.Schedule{Interval: interval, PhaseMS: phase}
			for range random.IntN(4) { // gaps, of the monitor and of all of the schedule
				first := s.SlotAfter(at(from + random.IntN(until-from)))
				last := first
				var of any = id
				if random.IntN(2) == 0 {
					of, last = nil, first.Add(time.Duration(random.IntN(20)*interval)*time.Second)
				}
				if of != nil && !last.Before(at(until)) {
					continue
				}
				dbtest.Exec(t, pool, "INSERT INTO scan_gaps VALUES ($1, $2, $3, $4, $5, $6, now()) ON CONFLICT DO NOTHING",
					interval, phase, of, first, last, string(reasons[random.IntN(len(reasons))]))
				if random.IntN(2) == 0 && of == nil { // but this one was scanned
					dbtest.Exec(t, pool, `INSERT INTO monitor_log (slot, monitor_id, late_ms, total_us, monitor_version, outcome, reason, worker)
						VALUES ($1, $2, 0, 0, 1, 'ok', 'round', '') ON CONFLICT DO NOTHING`, first, id)
				}
			}
			from = until + random.IntN(2)*random.IntN(400)
		}
		for changed := random.IntN(200); changed < long; changed += 1 + random.IntN(600) {
			dbtest.Exec(t, pool, "INSERT INTO status_changes (monitor_id, at, status) VALUES ($1, $2, $3)", id, at(changed), statuses[random.IntN(len(statuses))])
			if random.IntN(5) == 0 { // taken back
				dbtest.Exec(t, pool, "INSERT INTO status_changes (monitor_id, at, status) VALUES ($1, $2, 'up')", id, at(max(0, changed-random.IntN(700))))
			}
		}
	}
}

// Of such monitors, the seconds are those of a query that looks at each second by itself.
func TestUptimeIsThatOfEverySecond(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	random := rand.New(rand.NewPCG(17, 4))
	insertPasts(t, pool, random)
	at := secondOfPasts
	for id := int64(1); id <= monitorsWithPasts; id++ {
		from := random.IntN(pastsLast) - 100
		until := from + 1 + random.IntN(pastsLast)
		all, err := history.Uptimes(t.Context(), pool, at(from), at(until), id, id+1)
		require.NoError(t, err)
		stretches := all[id]
		c := uptime.CountOf(stretches)
		got := map[string]int64{}
		for word, took := range map[string]time.Duration{
			"up": c.Up, "degraded": c.Degraded, "down": c.Down, "unknown": c.Unknown, "paused": c.Paused,
		} {
			if took > 0 {
				got[word] = int64(took.Seconds())
			}
		}
		want := map[string]int64{}
		rows, err := pool.Query(t.Context(), slowUptime, id, at(from), at(until))
		require.NoError(t, err)
		for rows.Next() {
			var word string
			var seconds int64
			require.NoError(t, rows.Scan(&word, &seconds))
			want[word] = seconds
		}
		require.NoError(t, rows.Err())
		require.Equal(t, want, got, "monitor %d from %d until %d: %v", id, from, until, stretches)
	}
}
