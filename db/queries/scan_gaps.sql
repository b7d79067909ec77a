-- DeclareGap declares the slots of an interval and phase from from_slot to to_slot, both included, if any of them was
-- promised and has neither a row nor a gap. It begins at the first that is in no gap of all monitors yet, and ends before
-- the next such gap.
-- name: DeclareGap :one
SELECT from_slot::timestamptz AS from_slot, to_slot::timestamptz AS to_slot
FROM declare_gaps(
    ARRAY[@interval_seconds::integer], ARRAY[@phase_ms::integer], ARRAY[@from_slot::timestamptz], ARRAY[@to_slot::timestamptz],
    @reason::text, @at::timestamptz
);

-- DeclareGaps is DeclareGap for many, each of another interval and phase. It gives how many were declared.
-- name: DeclareGaps :one
SELECT count(*)::integer
FROM declare_gaps(
    @intervals_seconds::integer[], @phases_ms::integer[], @from_slots::timestamptz[], @to_slots::timestamptz[], @reason::text,
    @at::timestamptz
);

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
