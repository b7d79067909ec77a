//go:build linux

package chaos_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/db/dbtest"
)

// Each rule of checks.sql is broken in turn, and is found to be.
func TestChecksFindWhatIsBroken(t *testing.T) {
	t.Parallel()
	type breaking struct{ rule, sql string }
	breakings := []breaking{
		{"a slot has two jobs", `INSERT INTO river_job (kind, queue, state, max_attempts, args)
			SELECT 'round', 'x', 'available', 1, args || jsonb_build_object('part', 0, 'slot', (args ->> 'slot')::timestamptz)
			FROM river_job WHERE kind = 'round' LIMIT 1`},
		{"a slot of a monitor has a row and a gap", `INSERT INTO scan_gaps
			SELECT 10, 0, monitor_id, slot, slot, 'worker_lost', now() FROM monitor_log`},
		{"a slot has two gaps", `INSERT INTO scan_gaps VALUES
			(10, 1, NULL, '2026-06-01 12:00', '2026-06-01 12:10', 'service_down', now()),
			(10, 1, NULL, '2026-06-01 12:10', '2026-06-01 12:20', 'service_down', now())`},
		{"a slot has two gaps", `INSERT INTO scan_gaps
			SELECT seconds, 0, 1, '2026-06-01 12:00', '2026-06-01 12:00', 'overloaded', now()
			FROM unnest(ARRAY[10, 20]) AS seconds`},
		{"a promised slot has neither", `UPDATE monitor_schedules SET from_at = from_at - INTERVAL '1 minute'`},
		{"a monitor that the API acknowledged", `DELETE FROM monitor_schedules WHERE monitor_id = 3`},
		{"an active monitor has no live round", `UPDATE river_job SET state = 'discarded', finalized_at = now()`},
		{"a row of the log that somebody had read", `DELETE FROM monitor_log WHERE monitor_id = 1`},
		{"a scan failed though", `UPDATE monitor_log SET outcome = 'timeout_body' WHERE monitor_id = 1`},
		{"a monitor is held to be down", `UPDATE monitor_states SET status = 'down' WHERE monitor_id = 2`},
		{"a monitor has a good scan", `UPDATE monitor_states SET status = 'pending', judged_slot = '2000-01-01'`},
		{"a gap has a reason", `INSERT INTO scan_gaps VALUES (10, 1, NULL, now(), now(), 'overloaded', now())`},
		{"a scan that the fault does not hinder", `UPDATE monitor_log SET late_ms = 60000`},
		{"a scan ran before its slot", `UPDATE monitor_log SET late_ms = -1`},
		{"tend found", `INSERT INTO river_job (kind, queue, state, max_attempts, args, metadata)
			VALUES ('tend', 'x', 'available', 1, '{}', '{"output": {"rounds_revived": 1}}')`},
		{"a round was given up", `UPDATE river_job SET state = 'discarded', finalized_at = now()`},
	}
	for _, c := range checks() {
		require.True(t, slices.ContainsFunc(breakings, func(b breaking) bool { return strings.HasPrefix(c.rule, b.rule) }), c.rule)
	}
	for _, breaking := range breakings {
		t.Run(breaking.rule, func(t *testing.T) {
			t.Parallel()
			w := &world{
				random: rand.New(rand.NewPCG(1, 0)), began: time.Now(), target: &target{}, direct: dbtest.New(t),
				seen: map[seenRow]int{}, stopped: time.Now(),
			}
			w.createInside(t)
			slot := time.Now().Truncate(time.Microsecond)
			dbtest.Insert(t, w.direct, dbtest.Scan(1, slot))
			w.seen[seenRow{slot, 1, "ok"}] = 1
			w.exec(t, "UPDATE monitor_states SET status = 'up', judged_slot = $1 WHERE monitor_id = 1", slot)
			w.writeDown(t)
			harmless := `INSERT INTO scan_gaps SELECT 10, phase, id, at, at, 'worker_lost', now()
				FROM (VALUES (1, NULL::bigint, $1::timestamptz), (2, NULL, $1), (1, 2, $1), (1, 1, $1 + INTERVAL '10 s')) AS gap (phase, id, at)`
			w.gaps = []string{"worker_lost"}
			w.exec(t, harmless, slot)
			require.Empty(t, w.violations(t))
			w.exec(t, breaking.sql)
			require.Contains(t, strings.Join(w.violations(t), "\n"), breaking.rule)
		})
	}
}
