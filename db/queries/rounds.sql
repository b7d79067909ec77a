-- CountRounds counts the jobs of a queue in each state, up to at_most of each: every process asks this when it is scraped.
-- name: CountRounds :many
SELECT states.state::text AS state, (
    SELECT count(*) FROM (
        SELECT FROM river_job AS j
        WHERE j.state = states.state AND j.queue = @queue::text
        LIMIT @at_most::integer
    ) AS counted
)::bigint AS rounds
FROM unnest(enum_range(NULL::river_job_state)) AS states (state)
ORDER BY states.state::text;

-- OldestUnscannedSeconds gives for how long the oldest job of a queue has been waiting that should have started; 0: none does.
-- It asks for the first of each priority, of which River has four.
-- name: OldestUnscannedSeconds :one
SELECT coalesce(max(greatest(0, extract(epoch FROM now() - first.scheduled_at))), 0)::double precision AS seconds
FROM generate_series(1, 4) AS p (priority)
CROSS JOIN LATERAL (
    SELECT j.scheduled_at FROM river_job AS j
    WHERE j.state = 'available' AND j.queue = @queue::text AND j.priority = p.priority
    ORDER BY j.scheduled_at
    LIMIT 1
) AS first;

-- DatabaseNow gives the time by the database's clock.
-- name: DatabaseNow :one
SELECT clock_timestamp()::timestamptz AS now;

-- ListPausedQueues gives those of queues that are paused.
-- name: ListPausedQueues :many
SELECT name FROM river_queue
WHERE paused_at IS NOT NULL AND name = ANY(@queues::text[])
ORDER BY name;

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

-- PutRoundsFirst gives the rounds of a queue that are due since since_seconds at most another priority than those that wait for
-- longer.
-- name: PutRoundsFirst :execrows
UPDATE river_job SET priority = @first::smallint
WHERE id IN (
    SELECT j.id FROM river_job AS j
    WHERE
        j.state = 'available' AND j.queue = @queue::text AND j.priority = @priority::smallint
        AND j.scheduled_at > now() - make_interval(secs => @since_seconds::integer) AND j.scheduled_at <= now()
    FOR UPDATE SKIP LOCKED
);

-- TakeStaleRounds locks, of the page_size rounds of a queue that have waited longest and as many that have waited shortest, those
-- that were never begun and whose slot is not the present one any more; with them it locks their chains, of which it leaves those
-- out that somebody else has. watched: somebody watches by the schedule. at, or the time by the database's clock if that is
-- earlier, is now.
-- name: TakeStaleRounds :many
SELECT
    stale.id, stale.interval_seconds, stale.phase_ms, stale.slot::timestamptz AS slot, stale.now::timestamptz AS now,
    EXISTS (
        SELECT FROM monitors AS m
        WHERE
            m.interval_seconds = stale.interval_seconds AND m.phase_ms = stale.phase_ms
            AND m.paused_at IS NULL AND m.deleted_at IS NULL
    ) AS watched
FROM (
    SELECT
        j.id, (j.args ->> 'interval')::integer AS interval_seconds, (j.args ->> 'phase_ms')::integer AS phase_ms,
        (j.args ->> 'slot')::timestamptz AS slot, clock.now
    FROM river_job AS j, (SELECT least(@at::timestamptz, statement_timestamp()) AS now) AS clock
    WHERE
        j.id IN (
            (
                SELECT o.id FROM river_job AS o
                WHERE
                    o.state = 'available' AND o.queue = @queue::text AND o.priority = @priority::smallint
                    AND o.scheduled_at < statement_timestamp()
                ORDER BY o.scheduled_at, o.id
                LIMIT @page_size::integer
            )
            UNION
            (
                SELECT n.id FROM river_job AS n
                WHERE
                    n.state = 'available' AND n.queue = @queue::text AND n.priority = @priority::smallint
                    AND n.scheduled_at < statement_timestamp()
                ORDER BY n.scheduled_at DESC, n.id DESC
                LIMIT @page_size::integer
            )
        )
        AND j.kind = 'round' AND j.state = 'available' AND j.attempt = 0 AND NOT j.args ? 'part'
        AND (j.args ->> 'slot')::timestamptz + make_interval(secs => (j.args ->> 'interval')::integer) <= clock.now
    FOR UPDATE OF j SKIP LOCKED
) AS stale
WHERE pg_try_advisory_xact_lock(stale.interval_seconds, stale.phase_ms)
ORDER BY stale.slot;

-- CompleteRounds ends rounds that nobody worked, with the reason for which their slots were declared.
-- name: CompleteRounds :exec
UPDATE river_job SET
    state = 'completed', finalized_at = now(),
    metadata = metadata || jsonb_build_object('output', jsonb_build_object('gap', @reason::text))
WHERE id = ANY(@ids::bigint[]);
