-- DeclareGap declares the slots of an interval and phase from from_slot to to_slot, both included, if any of them was
-- promised and has neither a row nor a gap. It begins at the first that is in no gap of all monitors yet, and ends before
-- the next such gap.
-- name: DeclareGap :one
INSERT INTO scan_gaps (interval_seconds, phase_ms, from_slot, to_slot, reason, declared_at)
SELECT gap.interval_seconds, gap.phase_ms, start.slot, stop.slot, gap.reason, gap.declared_at
FROM (
    SELECT
        @interval_seconds::integer AS interval_seconds,
        @phase_ms::integer AS phase_ms,
        @from_slot::timestamptz AS from_slot,
        @to_slot::timestamptz AS to_slot,
        @reason::text AS reason,
        @at::timestamptz AS declared_at
) AS gap
CROSS JOIN LATERAL (
    SELECT min(slot) AS slot
    FROM slots_of(gap.interval_seconds, gap.phase_ms, gap.from_slot, gap.to_slot + INTERVAL '1 second') AS slot
    WHERE NOT EXISTS (
        SELECT 1 FROM scan_gaps AS g
        WHERE
            g.interval_seconds = gap.interval_seconds AND g.phase_ms = gap.phase_ms AND g.monitor_id IS NULL
            AND slot BETWEEN g.from_slot AND g.to_slot
    )
) AS start
CROSS JOIN LATERAL (
    SELECT least(gap.to_slot, min(g.from_slot) - make_interval(secs => gap.interval_seconds)) AS slot
    FROM scan_gaps AS g
    WHERE
        g.interval_seconds = gap.interval_seconds AND g.phase_ms = gap.phase_ms AND g.monitor_id IS NULL
        AND g.to_slot > start.slot AND g.from_slot > start.slot
) AS stop
WHERE
    start.slot <= stop.slot
    AND EXISTS (
        SELECT 1 FROM unaccounted_slots(start.slot, stop.slot + INTERVAL '1 second') AS u
        WHERE u.interval_seconds = gap.interval_seconds AND u.phase_ms = gap.phase_ms
    )
ON CONFLICT DO NOTHING
RETURNING from_slot, to_slot;

-- DeclareMonitorGaps declares one slot of those of these monitors that have no row for it. It waits for who is writing one.
-- name: DeclareMonitorGaps :exec
SELECT declare_monitor_gaps(
    @interval_seconds::integer, @phase_ms::integer, @slot::timestamptz, @monitor_ids::bigint[], @reason::text,
    @at::timestamptz
);

-- DropMonitorGaps takes the gaps of single monitors away at slots for which there are rows now.
-- name: DropMonitorGaps :exec
DELETE FROM scan_gaps AS g
USING (SELECT unnest(@slots::timestamptz[]) AS slot, unnest(@monitor_ids::bigint[]) AS monitor_id) AS scanned
WHERE g.from_slot = scanned.slot AND g.monitor_id = scanned.monitor_id;
