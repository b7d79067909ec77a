-- DeclareGap declares the slots of an interval and phase from from_slot to to_slot, both included, if any of them was
-- promised and has no row.
-- name: DeclareGap :execrows
INSERT INTO scan_gaps (interval_seconds, phase, from_slot, to_slot, reason, declared_at)
SELECT
    @interval_seconds::integer, @phase::integer, @from_slot::timestamptz, @to_slot::timestamptz, @reason::text,
    @at::timestamptz
WHERE EXISTS (
    SELECT 1 FROM monitor_schedules AS s
    WHERE
        s.interval_seconds = @interval_seconds AND s.phase = @phase
        AND s.from_at <= @to_slot AND (s.until_at IS NULL OR s.until_at > @from_slot)
        AND NOT EXISTS (
            SELECT 1 FROM monitor_log AS l
            WHERE l.slot = @to_slot AND l.monitor_id = s.monitor_id
        )
)
ON CONFLICT DO NOTHING;

-- DeclareMonitorGaps declares one slot of these monitors.
-- name: DeclareMonitorGaps :exec
INSERT INTO scan_gaps (interval_seconds, phase, monitor_id, from_slot, to_slot, reason, declared_at)
SELECT
    @interval_seconds::integer, @phase::integer, unnest(@monitor_ids::bigint[]), @slot::timestamptz, @slot::timestamptz,
    @reason::text, @at::timestamptz
ON CONFLICT DO NOTHING;
