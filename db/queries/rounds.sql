-- CountRounds counts the rounds in each state.
-- name: CountRounds :many
SELECT state::text AS state, count(*)::bigint AS rounds
FROM river_job
WHERE kind = 'round'
GROUP BY state
ORDER BY state;

-- OldestUnscannedSeconds gives for how long the oldest round has been waiting that should have started; 0: none does.
-- name: OldestUnscannedSeconds :one
SELECT greatest(0, extract(epoch FROM now() - min(scheduled_at)))::double precision AS seconds
FROM river_job
WHERE kind = 'round' AND state = 'available' AND scheduled_at < now();

-- DatabaseNow gives the time by the database's clock.
-- name: DatabaseNow :one
SELECT clock_timestamp()::timestamptz AS now;

-- LookAtRounds tells which of queues are paused, and whether a round has been waiting for longer than within_seconds that
-- nobody takes.
-- name: LookAtRounds :one
SELECT
    ARRAY(
        SELECT q.name FROM river_queue AS q
        WHERE q.paused_at IS NOT NULL AND q.name = ANY(@queues::text[])
        ORDER BY q.name
    )::text[] AS paused,
    EXISTS (
        SELECT 1 FROM river_job AS j
        WHERE
            j.state = 'available' AND j.queue = @rounds::text
            AND j.scheduled_at < clock_timestamp() - make_interval(secs => @within_seconds::integer)
    ) AS waiting,
    clock_timestamp()::timestamptz AS now;

-- CountAskedScans counts the scans of a monitor that people asked for: those that have not ended, and those of a minute. River
-- notes a moment later than the log that a scan has ended.
-- name: CountAskedScans :one
SELECT
    count(*) FILTER (
        WHERE
            j.state NOT IN ('completed', 'cancelled', 'discarded')
            AND NOT EXISTS (
                SELECT FROM monitor_log AS l
                WHERE l.monitor_id = @monitor_id::bigint AND l.slot = (j.args ->> 'at')::timestamptz
            )
    )::integer AS open,
    count(*) FILTER (WHERE j.created_at > clock_timestamp() - INTERVAL '1 minute')::integer AS recent
FROM river_job AS j
WHERE j.kind = 'scan' AND j.args ->> 'reason' = 'asked' AND (j.args ->> 'monitor_id')::bigint = @monitor_id::bigint;
