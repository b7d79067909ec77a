-- PutMonitorStates writes where monitors stand. record.Apply alone calls it, so that what follows from a change of
-- status shares its transaction.
-- name: PutMonitorStates :exec
INSERT INTO monitor_states (monitor_id, status, since, judged_slot, failures, successes)
SELECT
    unnest(@monitor_ids::bigint[]),
    unnest(@statuses::text[]),
    unnest(@sinces::timestamptz[]),
    unnest(@judged_slots::timestamptz[]),
    unnest(@failures::integer[]),
    unnest(@successes::integer[])
ON CONFLICT (monitor_id) DO UPDATE SET
    status = EXCLUDED.status,
    since = EXCLUDED.since,
    judged_slot = EXCLUDED.judged_slot,
    failures = EXCLUDED.failures,
    successes = EXCLUDED.successes;

-- DropMonitorStates is for monitors that are deleted, which stand nowhere. record.Apply alone calls it.
-- name: DropMonitorStates :exec
DELETE FROM monitor_states
WHERE monitor_id = ANY(@monitor_ids::bigint[]);

-- ListMonitorStates gives where monitors stand.
-- name: ListMonitorStates :many
SELECT * FROM monitor_states
WHERE monitor_id = ANY(@monitor_ids::bigint[]);

-- LockMonitorStates gives where monitors stand, and keeps others from changing it. In order, lest two transactions deadlock.
-- What else is to be known of a monitor is asked after that: in this statement it would be as it was before the wait.
-- name: LockMonitorStates :many
SELECT * FROM monitor_states
WHERE monitor_id = ANY(@monitor_ids::bigint[])
ORDER BY monitor_id
FOR UPDATE;

-- LookBesideScans gives what most batches of scans have nothing of: those of monitor_ids whose state a good scan may change,
-- whether any single monitor has a gap from oldest to newest, and whether hours from oldest on may be rolled up. A monitor that is up and stays up costs nothing here. It is
-- apart from LockMonitorStates because the planner takes a union with other ids for a large part of the table, and reads
-- all of it.
-- name: LookBesideScans :one
SELECT
    ARRAY(
        SELECT monitor_id FROM monitor_states
        WHERE monitor_id = ANY(@monitor_ids::bigint[]) AND (status <> 'up' OR failures > 0)
    )::bigint[] AS not_plainly_up,
    EXISTS (
        SELECT FROM scan_gaps
        WHERE monitor_id IS NOT NULL AND from_slot >= @oldest::timestamptz AND from_slot <= @newest::timestamptz
    ) AS gaps,
    hour_is_closed(@oldest::timestamptz)::boolean AS stale;
