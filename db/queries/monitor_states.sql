-- name: CreateMonitorStates :exec
INSERT INTO monitor_states (monitor_id, status, since, judged_slot, failures, successes)
SELECT unnest(@monitor_ids::bigint[]), unnest(@statuses::text[]), @at::timestamptz, @at::timestamptz, 0, 0;

-- ResetMonitorState starts a monitor's status anew: it was paused, resumed, revived, or is to be judged by other rules.
-- name: ResetMonitorState :exec
UPDATE monitor_states
SET status = @status, since = @at, judged_slot = @at, failures = 0, successes = 0
WHERE monitor_id = @monitor_id;

-- ListNotPlainlyUp gives those of monitor_ids whose state a good scan may change. A monitor that is up and stays up
-- costs nothing here. It is a query of its own because the planner takes a union with other ids for a large part of the
-- table, and reads all of it.
-- name: ListNotPlainlyUp :many
SELECT monitor_id FROM monitor_states
WHERE monitor_id = ANY(@monitor_ids::bigint[]) AND (status <> 'up' OR failures > 0);

-- LockStatesToJudge locks what a batch of scans may change.
-- name: LockStatesToJudge :many
SELECT sqlc.embed(monitor_states), sqlc.embed(monitors)
FROM monitor_states
JOIN monitors ON monitors.id = monitor_states.monitor_id
WHERE monitor_states.monitor_id = ANY(@monitor_ids::bigint[]) AND monitors.deleted_at IS NULL
ORDER BY monitor_states.monitor_id
FOR UPDATE OF monitor_states;

-- name: UpdateMonitorStates :exec
UPDATE monitor_states AS s
SET
    status = n.status,
    since = n.since,
    judged_slot = n.judged_slot,
    failures = n.failures,
    successes = n.successes
FROM (
    SELECT
        unnest(@monitor_ids::bigint[]) AS monitor_id,
        unnest(@statuses::text[]) AS status,
        unnest(@sinces::timestamptz[]) AS since,
        unnest(@judged_slots::timestamptz[]) AS judged_slot,
        unnest(@failures::integer[]) AS failures,
        unnest(@successes::integer[]) AS successes
) AS n
WHERE s.monitor_id = n.monitor_id;
