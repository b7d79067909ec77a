-- LockRounds keeps the rounds of these intervals and phases from reading their monitors until the transaction ends, so
-- that what was promised in it is seen by the round that it was promised of. In order, lest two transactions deadlock.
-- name: LockRounds :exec
SELECT pg_advisory_xact_lock_shared(interval_seconds, phase_ms)
FROM (
    SELECT DISTINCT
        unnest(@intervals_seconds::integer[]) AS interval_seconds,
        unnest(@phases_ms::integer[]) AS phase_ms
    ORDER BY 1, 2
) AS rounds;

-- LockRound waits for those who hold LockRounds.
-- name: LockRound :exec
SELECT pg_advisory_xact_lock(interval_seconds, phase_ms)
FROM (SELECT @interval_seconds::integer AS interval_seconds, @phase_ms::integer AS phase_ms) AS round;

-- name: OpenSchedules :exec
INSERT INTO monitor_schedules (monitor_id, from_at, interval_seconds, phase_ms)
SELECT
    unnest(@monitor_ids::bigint[]),
    unnest(@from_ats::timestamptz[]),
    unnest(@intervals_seconds::integer[]),
    unnest(@phases_ms::integer[]);

-- ListOpenSchedules gives what monitors are promised now.
-- name: ListOpenSchedules :many
SELECT * FROM monitor_schedules
WHERE monitor_id = ANY(@monitor_ids::bigint[]) AND until_at IS NULL
ORDER BY monitor_id;

-- CloseSchedules ends what monitors are promised.
-- name: CloseSchedules :exec
UPDATE monitor_schedules AS s SET until_at = closed.until_at
FROM (
    SELECT
        unnest(@monitor_ids::bigint[]) AS monitor_id,
        unnest(@until_ats::timestamptz[]) AS until_at
) AS closed
WHERE s.monitor_id = closed.monitor_id AND s.until_at IS NULL;

-- DropSchedules removes promises whose first slot has not come.
-- name: DropSchedules :exec
DELETE FROM monitor_schedules
WHERE monitor_id = ANY(@monitor_ids::bigint[]) AND until_at IS NULL;

-- ShortestInterval is the shortest interval at which a monitor was scheduled in a range.
-- name: ShortestInterval :one
SELECT coalesce(min(interval_seconds), 0)::integer FROM monitor_schedules
WHERE monitor_id = @monitor_id AND from_at < @until::timestamptz AND (until_at IS NULL OR until_at >= @since::timestamptz);
