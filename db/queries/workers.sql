-- AttendWorker notes that a worker is there, and counts those that are.
-- name: AttendWorker :one
WITH attending AS (
    INSERT INTO workers AS w (name, seen_at) VALUES (@worker, now())
    ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at
    RETURNING name
)
SELECT count(*)::integer FROM (
    SELECT name FROM attending
    UNION
    SELECT name FROM workers WHERE seen_at > now() - INTERVAL '30 seconds'
) AS live;

-- name: LeaveWorker :exec
DELETE FROM workers WHERE name = @worker;

-- ForgetWorkers removes those that ended without a word.
-- name: ForgetWorkers :exec
DELETE FROM workers WHERE seen_at < now() - INTERVAL '1 hour';
