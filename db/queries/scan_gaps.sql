-- DeclareGap declares the slots of an interval and phase from from_slot to to_slot, both included, if any of them was
-- promised and has neither a row nor a gap. It ends before a gap that is there already.
-- name: DeclareGap :execrows
INSERT INTO scan_gaps (interval_seconds, phase, from_slot, to_slot, reason, declared_at)
SELECT gap.interval_seconds, gap.phase, gap.from_slot, least(gap.to_slot, before.next_gap), gap.reason, gap.declared_at
FROM (
    SELECT
        @interval_seconds::integer AS interval_seconds,
        @phase::float8 AS phase,
        @from_slot::timestamptz AS from_slot,
        @to_slot::timestamptz AS to_slot,
        @reason::text AS reason,
        @at::timestamptz AS declared_at
) AS gap
CROSS JOIN LATERAL (
    SELECT min(g.from_slot) - make_interval(secs => gap.interval_seconds) AS next_gap
    FROM scan_gaps AS g
    WHERE
        g.interval_seconds = gap.interval_seconds AND g.phase = gap.phase
        AND g.from_slot > gap.from_slot AND g.monitor_id IS NULL
) AS before
WHERE EXISTS (
    SELECT 1 FROM unaccounted_slots(gap.from_slot, gap.to_slot + INTERVAL '1 second') AS u
    WHERE u.interval_seconds = gap.interval_seconds AND u.phase = gap.phase
)
ON CONFLICT DO NOTHING;

-- DeclareMonitorGaps declares one slot of those of these monitors that have no row for it.
-- name: DeclareMonitorGaps :exec
INSERT INTO scan_gaps (interval_seconds, phase, monitor_id, from_slot, to_slot, reason, declared_at)
SELECT
    @interval_seconds::integer, @phase::float8, m.id, @slot::timestamptz, @slot::timestamptz, @reason::text,
    @at::timestamptz
FROM unnest(@monitor_ids::bigint[]) AS m (id)
WHERE NOT EXISTS (SELECT 1 FROM monitor_log AS l WHERE l.slot = @slot AND l.monitor_id = m.id)
ON CONFLICT DO NOTHING;
