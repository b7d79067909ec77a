//go:build linux

package chaos_test

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
)

//go:embed checks.sql
var checksSQL string

// check is a rule, and the query for what breaks it.
type check struct{ rule, query string }

// checks reads checks.sql.
func checks() (all []check) {
	for _, part := range strings.Split(checksSQL, "-- check: ")[1:] {
		rule, query, _ := strings.Cut(part, "\n")
		all = append(all, check{rule, query})
	}
	return all
}

// heal waits until every monitor is scanned again, and in the long run until every slot is accounted for.
func (w *world) heal(t *testing.T) {
	t.Helper()
	from := w.calm
	if from.IsZero() {
		from = time.Now()
	}
	limit := 3 * time.Minute // a hang would be cut by nothing else
	if *longRun && w.healed > 0 {
		limit = w.healed
	}
	w.awaitScans(t, from, len(w.activeMonitors(t)), limit)
	t.Logf("all monitors are scanned again after %s", time.Since(from).Round(time.Millisecond))
	if !*longRun {
		return
	}
	var open []string
	until := from.Add(time.Second) // a worker that died then may have had rounds of slots that were half a second away
	require.Eventually(t, func() bool {
		open = w.ask(t, `SELECT 'monitor ' || monitor_id || ' at ' || slot FROM unaccounted_slots(@since, @until)`,
			pgx.NamedArgs{"since": w.began.Add(-time.Minute), "until": until})
		return len(open) == 0
	}, 4*time.Minute, time.Second, "slots are never accounted for: %s", some(open))
	t.Logf("all slots are accounted for after %s", time.Since(from).Round(time.Second))
}

// activeMonitors gives the first monitors as far as they are to be scanned.
func (w *world) activeMonitors(t *testing.T) []string {
	t.Helper()
	return w.ask(t, "SELECT id::text FROM monitors WHERE id = ANY(@ids) AND paused_at IS NULL AND deleted_at IS NULL",
		pgx.NamedArgs{"ids": w.monitors})
}

// stop stops client and processes, each as it is meant to be stopped.
func (w *world) stop(t *testing.T) {
	t.Helper()
	w.unwatch()
	w.watching.Wait()
	w.stopped = time.Now()
	for _, p := range w.processes() {
		if p.alive() {
			took, code := p.terminate(t)
			if code != 0 || took > 30*time.Second {
				t.Errorf("%s exits with %d after %s", p.role, code, took)
			}
		}
	}
}

func (w *world) processes() []*process {
	if w.api == nil {
		return nil
	}
	return append(slices.Clone(w.workers), w.api)
}

// check compares what was seen from outside with the tables, and the tables with each other.
func (w *world) check(t *testing.T) {
	t.Helper()
	w.writeDown(t)
	for _, violation := range w.violations(t) {
		t.Error(violation)
	}
	w.checkLedger(t)
	if w.p99 > 0 && *longRun {
		late := one[int](t, w.direct, `SELECT percentile_disc(0.99) WITHIN GROUP (ORDER BY late_ms)
			FROM monitor_log WHERE slot >= $1 AND reason = 'round'`, w.began)
		t.Logf("lateness p99: %d ms", late)
		require.Less(t, late, int(w.p99.Milliseconds()))
	}
	for _, p := range w.processes() {
		if strings.Contains(p.stderr.String(), "panic") {
			t.Errorf("%s panicked", p.role)
		}
	}
	t.Logf("%d requests, %d rows seen, %d monitors acknowledged; gaps: %v", len(w.target.hits()), len(w.seen),
		len(w.created), w.ask(t, "SELECT reason || ' ' || count(*) FROM scan_gaps GROUP BY reason", nil))
}

// violations gives the rules of checks.sql that do not hold, and what breaks them.
func (w *world) violations(t *testing.T) (violations []string) {
	t.Helper()
	args := pgx.NamedArgs{
		"since": w.began.Add(-time.Minute), "until": time.Now().Add(-2 * time.Second), "reasons": append([]string{}, w.gaps...),
		"hurt_from": w.hurtFrom.Add(-interval * time.Second), "hurt_until": w.hurtUntil.Add(interval * time.Second),
		// A long run has waited for them.
		"stopped": w.stopped, "lost_may": slices.Contains(w.gaps, "worker_lost") && !*longRun,
		"late_ms": max(w.late, full(lateAgain, 6*time.Second)).Milliseconds(), "tend_may": w.tendMay, "sick_may": w.sick,
		"clock_may": w.clockMay,
	}
	for _, c := range checks() {
		if findings := w.ask(t, c.query, args); len(findings) > 0 {
			violations = append(violations, c.rule+": "+some(findings))
		}
	}
	return violations
}

// writeDown writes what was seen from outside into tables of a schema of its own.
func (w *world) writeDown(t *testing.T) {
	t.Helper()
	w.exec(t, `CREATE SCHEMA chaos`)
	w.exec(t, `CREATE TABLE chaos.acknowledged (monitor_id bigint)`)
	w.exec(t, `CREATE TABLE chaos.seen (slot timestamptz, monitor_id bigint, outcome text)`)
	w.exec(t, `CREATE TABLE chaos.hits (path text, at timestamptz, well boolean)`)
	var acknowledged, seen, hits [][]any
	for _, id := range w.created {
		acknowledged = append(acknowledged, []any{id})
	}
	for row := range w.seen {
		seen = append(seen, []any{row.slot, row.monitorID, row.outcome})
	}
	for _, h := range w.target.hits() {
		hits = append(hits, []any{h.path, h.at, h.well})
	}
	w.copyTo(t, "acknowledged", []string{"monitor_id"}, acknowledged)
	w.copyTo(t, "seen", []string{"slot", "monitor_id", "outcome"}, seen)
	w.copyTo(t, "hits", []string{"path", "at", "well"}, hits)
	w.exec(t, `CREATE INDEX ON chaos.hits (path)`)
}

func (w *world) copyTo(t *testing.T, table string, columns []string, rows [][]any) {
	t.Helper()
	_, err := w.direct.CopyFrom(t.Context(), pgx.Identifier{"chaos", table}, columns, pgx.CopyFromRows(rows))
	require.NoError(t, err)
}

// checkLedger accounts for every request to the target.
func (w *world) checkLedger(t *testing.T) {
	t.Helper()
	rows, lost := w.rows(t), w.lostScans(t)
	requests := map[string][]time.Time{}
	for path := range rows { // also if the target knows nothing of them
		requests[path] = nil
	}
	for _, h := range w.target.hits() {
		requests[h.path] = append(requests[h.path], h.at)
	}
	var findings []string
	for path, hits := range requests {
		for _, finding := range account(hits, rows[path], lost[path]) {
			findings = append(findings, fmt.Sprintf("%s: %s\n    rows: %v\n    lost: %v", path, finding, rows[path], lost[path]))
		}
	}
	if len(findings) > 0 {
		t.Errorf("the ledger and the tables disagree: %s", some(findings))
	}
}

// rows gives the log of each path of the target, in order of time.
func (w *world) rows(t *testing.T) map[string][]row {
	t.Helper()
	found, err := w.direct.Query(t.Context(), `
		SELECT regexp_replace(m.url, '^https?://[^/]*', ''), l.slot, l.late_ms, l.total_us, l.http_status IS NOT NULL
		FROM monitor_log AS l JOIN monitors AS m ON m.id = l.monitor_id
		ORDER BY l.slot + l.late_ms * INTERVAL '1 ms'`)
	require.NoError(t, err)
	defer found.Close()
	rows := map[string][]row{}
	for found.Next() {
		var path string
		var r row
		var lateMS, totalUS int64
		require.NoError(t, found.Scan(&path, &r.slot, &lateMS, &totalUS, &r.answered))
		r.start = r.slot.Add(time.Duration(lateMS) * time.Millisecond)
		r.end = r.start.Add(time.Duration(totalUS)*time.Microsecond + time.Millisecond)
		rows[path] = append(rows[path], r)
	}
	require.NoError(t, found.Err())
	return rows
}

// lostScans gives the scans of each path of the target of which nothing is known. A promised slot without a row is one:
// declared as a gap, or still at work when the world was stopped. So is each further try that a round began while its slot
// was the present one, if its request may be made twice: it scans who has no row yet, and the row of the first may be under
// way. Of a scan outside rounds so is each try that left no row; one that was cancelled made no request.
func (w *world) lostScans(t *testing.T) map[string][]lostScan {
	t.Helper()
	found, err := w.direct.Query(t.Context(), `
		WITH rounds AS (
			SELECT interval_seconds, phase_ms, slot,
				max(attempt - (attempted_at >= slot + make_interval(secs => interval_seconds))::integer) AS tries
			FROM (
				SELECT (args ->> 'interval')::integer AS interval_seconds, (args ->> 'phase_ms')::integer AS phase_ms,
					(args ->> 'slot')::timestamptz AS slot, attempt, attempted_at
				FROM river_job WHERE kind = 'round'
			) AS j
			GROUP BY interval_seconds, phase_ms, slot
		)
		SELECT regexp_replace(m.url, '^https?://[^/]*', '') AS path, p.slot, false
		FROM promised_slots($1, $2) AS p
		JOIN monitors AS m ON m.id = p.monitor_id
		LEFT JOIN monitor_log AS l ON l.slot = p.slot AND l.monitor_id = p.monitor_id
		LEFT JOIN rounds AS r
			ON r.slot = p.slot AND r.interval_seconds = p.interval_seconds AND r.phase_ms = p.phase_ms AND m.method = 'GET'
		CROSS JOIN generate_series(1, greatest(1, r.tries) - (l.slot IS NOT NULL)::integer)
		UNION ALL
		SELECT regexp_replace(m.url, '^https?://[^/]*', ''), (j.args ->> 'at')::timestamptz, true
		FROM river_job AS j
		JOIN monitors AS m ON m.id = (j.args ->> 'monitor_id')::bigint
		LEFT JOIN monitor_log AS l ON l.slot = (j.args ->> 'at')::timestamptz AND l.monitor_id = m.id
		CROSS JOIN generate_series(1, j.attempt - (l.slot IS NOT NULL)::integer - (j.state = 'cancelled')::integer)
		WHERE j.kind = 'scan'`, w.began.Add(-time.Minute), time.Now())
	require.NoError(t, err)
	defer found.Close()
	lost := map[string][]lostScan{}
	for found.Next() {
		var path string
		var slot time.Time
		var tries bool
		require.NoError(t, found.Scan(&path, &slot, &tries))
		start := longestStart
		if tries {
			start = longestTries
		}
		lost[path] = append(lost[path], lostScan{slot, slot.Add(start)})
	}
	require.NoError(t, found.Err())
	return lost
}

// ask gives the answers to a query of one text column. A server that has just come back may take its time.
func (w *world) ask(t *testing.T, query string, args pgx.NamedArgs) (answers []string) {
	t.Helper()
	var err error
	for range 20 {
		answers, err = w.tryToAsk(t.Context(), query, args)
		if db.TroubleOf(err) != db.TroubleAway {
			break
		}
		time.Sleep(500 * time.Millisecond)
	}
	require.NoError(t, err, query)
	return answers
}

func (w *world) tryToAsk(ctx context.Context, query string, args pgx.NamedArgs) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	rows, err := w.direct.Query(ctx, query, args)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// some gives the first of many findings, and their number.
func some(findings []string) string {
	return fmt.Sprintf("%d, such as\n  %s", len(findings), strings.Join(findings[:min(5, len(findings))], "\n  "))
}
