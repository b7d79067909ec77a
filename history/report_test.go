package history_test

import (
	"context"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/history"
	"riverwatch/uptime"
)

// What report.stretches says of random pasts is what Uptime says, instant for instant and reason for reason; and so do the sums.
func TestReportAgreesWithUptime(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		pool := dbtest.New(t)
		random := rand.New(rand.NewPCG(18, seed))
		insertPasts(t, pool, random)
		if seed%2 == 1 { // the log is no longer kept, before some instant
			dbtest.Exec(t, pool, "INSERT INTO history_progress (closed_until, rolled_until, days_until, scans_from) VALUES ($1, $1, $1, $1)",
				secondOfPasts(random.IntN(pastsLast)))
		}
		for id := int64(1); id <= monitorsWithPasts; id++ {
			from := secondOfPasts(random.IntN(pastsLast) - 100)
			until := from.Add(time.Duration(1+random.IntN(pastsLast)) * time.Second)
			all, err := history.Uptimes(t.Context(), pool, from, until, id)
			require.NoError(t, err)
			want := all[id]

			rows, err := pool.Query(t.Context(),
				"SELECT from_at, until_at, counts_as, coalesce(reason, '') FROM report.stretches($1, $2, $3)", id, from, until)
			require.NoError(t, err)
			got, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s uptime.Stretch, err error) {
				err = row.Scan(&s.From, &s.Until, &s.As, &s.Reason)
				s.From, s.Until = s.From.UTC(), s.Until.UTC()
				return s, err
			})
			require.NoError(t, err)
			for i := range want {
				want[i].From, want[i].Until = want[i].From.UTC(), want[i].Until.UTC()
			}
			require.Equal(t, append([]uptime.Stretch{}, want...), got, "seed %d, monitor %d", seed, id)

			var seconds [5]float64
			var ratio *float64
			require.NoError(t, pool.QueryRow(t.Context(), "SELECT * FROM report.uptime($1, $2, $3)", id, from, until).Scan(
				&seconds[0], &seconds[1], &seconds[2], &seconds[3], &seconds[4], &ratio))
			count := uptime.CountOf(want)
			for i, took := range []time.Duration{count.Up, count.Degraded, count.Down, count.Unknown, count.Paused} {
				require.InDelta(t, took.Seconds(), seconds[i], 1e-3, "monitor %d: %d", id, i)
			}
			wantRatio, known := count.Ratio()
			require.Equal(t, known, ratio != nil)
			if known {
				require.InDelta(t, wantRatio, *ratio, 1e-9)
			}
		}
	}
}

// The days of the last 90 are those of Uptime, also in a session whose time zone changes its clocks.
func TestReportOfDays(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	const id = 1000
	now := dbtest.One[time.Time](t, pool, "SELECT now()")
	first := history.DayOf(now).AddDate(0, 0, -95).Add(7 * time.Hour)
	dbtest.Monitors(t, pool, schedule, first, 1, func(int, *db.Monitor) {})
	random := rand.New(rand.NewPCG(18, 9))
	for at := first; at.Before(now); at = at.Add(time.Duration(random.IntN(40*60)) * time.Minute) {
		dbtest.Exec(t, pool, "INSERT INTO status_changes (monitor_id, at, status) VALUES ($1, $2, $3)", id, at,
			[]string{"up", "degraded", "down", "paused"}[random.IntN(4)])
	}
	conn, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	dbtest.Exec(t, conn, "SET timezone = 'America/New_York'")
	rows, err := conn.Query(t.Context(), "SELECT day, up_seconds, degraded_seconds, down_seconds, paused_seconds FROM report.uptime_daily WHERE monitor_id = $1 ORDER BY day", id)
	require.NoError(t, err)
	type days struct {
		day                        time.Time
		up, degraded, down, paused float64
	}
	got, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (d days, err error) {
		return d, row.Scan(&d.day, &d.up, &d.degraded, &d.down, &d.paused)
	})
	require.NoError(t, err)
	require.Len(t, got, 90)
	for i, d := range got[:89] {
		day := history.DayOf(now).AddDate(0, 0, i-89)
		require.True(t, day.Equal(d.day), "%v %v", day, d.day)
		all, err := history.Uptimes(t.Context(), pool, day, day.AddDate(0, 0, 1), id)
		require.NoError(t, err)
		count := uptime.CountOf(all[id])
		require.InDelta(t, count.Up.Seconds(), d.up, 1e-3)
		require.InDelta(t, count.Degraded.Seconds(), d.degraded, 1e-3)
		require.InDelta(t, count.Down.Seconds(), d.down, 1e-3)
		require.InDelta(t, count.Paused.Seconds(), d.paused, 1e-3)
	}
	require.False(t, got[89].day.Add(24*time.Hour).Before(now), "the last is today")
}

// asReporter gives a connection with the rights of riverwatch_report, and the search path of a stranger.
func asReporter(t *testing.T, pool *pgxpool.Pool) *pgxpool.Conn {
	t.Helper()
	conn, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = conn.Exec(context.Background(), "RESET ALL; RESET ROLE")
		conn.Release()
	})
	dbtest.Exec(t, conn, "SET search_path = pg_catalog")
	dbtest.Exec(t, conn, "SET ROLE riverwatch_report")
	return conn
}

// The role may read all of the schema report, and nothing else of ours.
func TestReportIsAllThatItsRoleReads(t *testing.T) {
	t.Parallel()
	p := newPast(t, 2)
	p.fill(t, noon, noon.Add(time.Hour))
	relations := dbtest.Column[string](t, p.Pool, `
		SELECT format('%I.%I', relnamespace::regnamespace, relname) FROM pg_class
		WHERE relkind IN ('r', 'v', 'm', 'p') AND relnamespace::regnamespace::text IN ('public', 'report', '_timescaledb_internal')
		AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')`)
	conn := asReporter(t, p.Pool)
	var read []string
	for _, relation := range relations {
		_, err := conn.Exec(t.Context(), "SELECT * FROM "+relation)
		if err == nil {
			read = append(read, relation)
			continue
		}
		require.True(t, db.IsCode(err, "42501"), "%s: %v", relation, err)
	}
	require.Greater(t, len(relations), 20)
	require.ElementsMatch(t, []string{
		"report.monitors", "report.certificates", "report.scans", "report.scan_hours", "report.scan_days", "report.gaps",
		"report.uptime_daily", "report.storage",
	}, read)
	require.Equal(t, 2, dbtest.Count(t, conn, "report.monitors"))
	require.NotZero(t, dbtest.Count(t, conn, "report.storage WHERE bytes > 0"))
	require.NotZero(t, dbtest.Count(t, conn, "report.scans"))

	for _, column := range dbtest.Column[string](t, p.Pool, "SELECT column_name::text FROM information_schema.columns WHERE table_schema = 'report'") {
		require.NotContains(t, []string{"request", "secret_names", "secrets", "body_excerpt", "expectations"}, column)
	}
	for _, refused := range []string{
		"SELECT * FROM public.monitor_scans(1000, now() - INTERVAL '1 day', now())", "SELECT public.drop_history('public.monitor_log', now())",
		"INSERT INTO report.certificates (monitor_id) VALUES (1000)", "UPDATE report.monitors SET name = ''", "DELETE FROM report.scans",
		"CREATE TABLE report.mine (n int)",
	} {
		_, err := conn.Exec(t.Context(), refused)
		require.Error(t, err, refused)
	}

	// Tables of one's own do not stand in for ours where a function has the rights of its owner.
	dbtest.Exec(t, conn, "CREATE TEMP TABLE monitor_schedules AS SELECT 1000::bigint AS monitor_id, now() - INTERVAL '1 year' AS from_at, NULL::timestamptz AS until_at")
	from := dbtest.One[time.Time](t, conn, "SELECT min(from_at) FROM report.stretches(1000, '2000-01-01', now())")
	require.True(t, from.Equal(noon), "%v", from)
}

var sqlBlock = regexp.MustCompile("(?s)\n```sql\n(.+?)```\n")

// Each question of docs/sql.md is answered, and some of the answers are looked at.
func TestQuestionsOfTheManual(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../docs/sql.md")
	require.NoError(t, err)
	pool := dbtest.New(t)
	ids := []int64{1, 2}
	now := dbtest.One[time.Time](t, pool, "SELECT now()")
	first := history.DayOf(now).AddDate(0, 0, -40)
	dbtest.Monitors(t, pool, schedule, first, len(ids), func(n int, m *db.Monitor) { m.ID, m.Tags = ids[n], []string{"prod"} })

	// Monitor 1 is up, but down for an hour yesterday, after three scans that failed; monitor 2 is up and slow.
	yesterday := history.DayOf(now).AddDate(0, 0, -1)
	began := schedule.SlotAfter(yesterday.Add(10 * time.Hour))
	dbtest.Exec(t, pool, `INSERT INTO status_changes (monitor_id, at, status) VALUES (1, $1, 'up'), (2, $1, 'up'), (1, $2, 'down'), (1, $3, 'up')`,
		first, began.Add(20*time.Second), began.Add(20*time.Second+time.Hour))
	var scans []db.Scan
	for n := range 60 {
		scan := dbtest.Scan(1, began.Add(time.Duration(n-30)*10*time.Second))
		if n >= 30 {
			scan.Outcome = uptime.StatusMismatch
		}
		slow := dbtest.Scan(2, scan.Slot)
		slow.TotalUS, slow.Worker = 900_000, "other"
		scans = append(scans, scan, slow)
	}
	lately := schedule.SlotAt(now.Add(-3 * time.Minute))
	for n := range 6 {
		failed := dbtest.Scan(1, lately.Add(time.Duration(n)*10*time.Second))
		failed.Outcome, failed.LateMS = uptime.TimeoutConnect, 7
		scans = append(scans, failed)
	}
	ours := dbtest.Scan(1, began.Add(-5*time.Second)) // between the last good one and the first that failed
	ours.Outcome = uptime.Inconclusive
	dbtest.Insert(t, pool, append(scans, ours)...)
	dbtest.Exec(t, pool, "SELECT roll_up_hour(h, 0, 100, NULL) FROM unnest($1::timestamptz[]) AS h", []time.Time{history.HourOf(began), history.HourOf(began).Add(-time.Hour)})
	dbtest.Exec(t, pool, "SELECT roll_up_day($1, 0, 100, NULL)", yesterday)
	dbtest.Exec(t, pool, "INSERT INTO scan_gaps VALUES (10, 250, NULL, $1, $2, 'service_down', now())", began.Add(-time.Hour), began.Add(-time.Hour+90*time.Second))
	dbtest.Exec(t, pool, "INSERT INTO monitor_certificates VALUES (2, 'f', 'CN=soon', '', '{}', now(), now() + INTERVAL '5 days', now())")

	conn := asReporter(t, pool)
	dbtest.Exec(t, conn, "SET timezone = 'Asia/Kolkata'") // whose days and hours are none of UTC
	answers := map[string][]map[string]any{}
	sections := strings.Split(string(manual), "\n## ")
	for _, section := range sections {
		question, _, _ := strings.Cut(section, "\n")
		for _, block := range sqlBlock.FindAllStringSubmatch(section, -1) {
			rows, err := conn.Query(t.Context(), block[1])
			require.NoError(t, err, question)
			answers[question], err = pgx.CollectRows(rows, pgx.RowToMap)
			require.NoError(t, err, question)
		}
	}
	require.GreaterOrEqual(t, len(answers), 10)
	require.Len(t, answers, len(sections)-1, "each question has its query")
	of := func(question string) []map[string]any {
		t.Helper()
		require.Contains(t, answers, question)
		require.NotEmpty(t, answers[question], question)
		return answers[question]
	}
	number := func(value any) float64 {
		t.Helper()
		numeric, ok := value.(pgtype.Numeric)
		require.True(t, ok)
		float, err := numeric.Float64Value()
		require.NoError(t, err)
		return float.Float64
	}
	instant := func(value any) time.Time {
		t.Helper()
		at, ok := value.(time.Time)
		require.True(t, ok)
		return at.UTC()
	}
	require.Len(t, of("How long was it down last month, and how slow was it at its worst hour?"), 1)
	require.Equal(t, int64(2), of("Which monitors were slowest this week?")[0]["id"])
	require.InDelta(t, 900, number(of("Which monitors were slowest this week?")[0]["p95_ms"]), 45)
	budget := of("How much of the error budget of 99.9 % is left, of the last 30 days?")
	require.Equal(t, int64(1), budget[0]["id"])
	require.InDelta(t, 2592-3600, number(budget[0]["left_seconds"]), 5, "less what is unknown")
	require.Equal(t, "CN=soon", of("Which certificates expire within three weeks?")[0]["subject"])
	outages := of("Which outages were there yesterday?")
	require.Len(t, outages, 1)
	require.Equal(t, int64(1), outages[0]["id"])
	require.Equal(t, began.Add(20*time.Second), instant(outages[0]["from_at"]))
	require.Equal(t, began, instant(of("With which scan did an outage begin?")[0]["slot"]))
	failed := of("What failed in the last hour, and how?")
	require.Equal(t, []any{"timeout_connect", int64(6)}, []any{failed[0]["outcome"], failed[0]["scans"]})
	gaps := of("Why was something not scanned, in the last week?")
	require.Equal(t, []any{"service_down", int64(2)}, []any{gaps[0]["reason"], gaps[0]["monitors"]})
	require.Equal(t, []any{"test", int64(6), int32(7)}, func() []any {
		row := of("What does each worker do, and how punctual is it?")[0]
		return []any{row["worker"], row["scans"], row["late_p99_ms"]}
	}())
	require.Len(t, of("How good were the last 90 days, one by one?"), 41)
	require.Len(t, of("How fast does it grow?"), 3)
}

// Who asks for a day locks the chunks of that day, and not each that there is; also when a session asks so often that Postgres weighs
// a plan for all values.
func TestReportLocksFewChunks(t *testing.T) {
	t.Parallel()
	const chunks = 20
	p := newPast(t, 1)
	dbtest.Exec(t, p.Pool, "SELECT set_log_chunk(INTERVAL '1 hour')")
	until := noon.Add(chunks * time.Hour)
	for n := range chunks {
		dbtest.Insert(t, p.Pool, dbtest.Scan(p.ids[0], schedule.SlotAfter(noon.Add(time.Duration(n)*time.Hour))))
	}
	dbtest.Exec(t, p.Pool, "INSERT INTO scan_gaps VALUES (10, 250, NULL, $1, $2, 'service_down', now())",
		schedule.SlotAfter(until.Add(-time.Hour)), schedule.SlotAfter(until))
	for name, ask := range map[string]string{
		"stretches": "SELECT count(*) FROM report.stretches($1, $2, $3)",
		"scans_of":  "SELECT count(*) FROM report.scans_of($1, $2, $3)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tx, err := p.Begin(t.Context())
			require.NoError(t, err)
			defer tx.Rollback(context.Background()) //nolint:errcheck // nothing is lost
			for range 8 {
				dbtest.Exec(t, tx, ask, p.ids[0], until.Add(-time.Hour), until)
			}
			locked := dbtest.One[int](t, tx, `
				SELECT count(DISTINCT c.oid)::int FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
				WHERE l.pid = pg_backend_pid() AND c.relkind = 'r' AND c.relname LIKE '\_hyper\_%\_chunk'`)
			require.LessOrEqual(t, locked, 2)
			require.NotZero(t, locked)
		})
	}
}
