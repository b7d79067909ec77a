-- NextMonitorIDs reserves ids, so that phases, which follow from ids, are known before the rows are written.
-- name: NextMonitorIDs :many
SELECT nextval(pg_get_serial_sequence('monitors', 'id'))::bigint AS id
FROM generate_series(1, @count::integer);

-- CreateMonitors inserts monitors, and no row for one whose (method, url, regexp) is taken.
-- name: CreateMonitors :batchone
INSERT INTO monitors (
    id, name, method, url, regexp, regexp_invert, interval_seconds, phase_ms, timeout_ms, accepted_statuses,
    max_redirects, failure_threshold, success_threshold, retry_interval_seconds, tags, request, expectations,
    secret_names, paused_at, created_at, updated_at
) VALUES (
    @id, @name, @method, @url, @regexp, @regexp_invert, @interval_seconds, @phase_ms, @timeout_ms, @accepted_statuses,
    @max_redirects, @failure_threshold, @success_threshold, @retry_interval_seconds, @tags, @request, @expectations,
    @secret_names, @paused_at, @at, @at
)
ON CONFLICT (method, url, regexp) DO NOTHING
RETURNING *;

-- FindMonitorForUpdate finds the monitor of an identity, deleted or not, and locks it.
-- name: FindMonitorForUpdate :one
SELECT * FROM monitors
WHERE method = @method AND url = @url AND regexp IS NOT DISTINCT FROM sqlc.narg(regexp)
FOR UPDATE;

-- name: GetMonitor :one
SELECT * FROM monitors
WHERE id = @id AND deleted_at IS NULL;

-- name: GetMonitorForUpdate :one
SELECT * FROM monitors
WHERE id = @id AND deleted_at IS NULL
FOR UPDATE;

-- UpdateMonitor writes a whole configuration, and revives a deleted monitor.
-- name: UpdateMonitor :one
UPDATE monitors SET
    name = @name,
    method = @method,
    url = @url,
    regexp = sqlc.narg(regexp),
    regexp_invert = @regexp_invert,
    interval_seconds = @interval_seconds,
    phase_ms = @phase_ms,
    timeout_ms = @timeout_ms,
    accepted_statuses = @accepted_statuses,
    max_redirects = @max_redirects,
    failure_threshold = @failure_threshold,
    success_threshold = @success_threshold,
    retry_interval_seconds = @retry_interval_seconds,
    tags = @tags,
    request = @request,
    expectations = @expectations,
    secret_names = @secret_names,
    paused_at = sqlc.narg(paused_at),
    deleted_at = NULL,
    version = version + 1,
    updated_at = @at
WHERE id = @id
RETURNING *;

-- name: DeleteMonitor :exec
UPDATE monitors SET
    deleted_at = @at::timestamptz,
    secret_names = '{}', -- DeleteSecrets goes with it
    version = version + 1,
    updated_at = @at::timestamptz
WHERE id = @id;

-- GetMonitorWithState gives a monitor and where it stands.
-- name: GetMonitorWithState :one
SELECT sqlc.embed(monitors), sqlc.embed(monitor_states)
FROM monitors
JOIN monitor_states ON monitor_states.monitor_id = monitors.id
WHERE monitors.id = @id AND monitors.deleted_at IS NULL;

-- ListMonitorsByID pages through the monitors in the order of their ids. A filter that is null does not filter.
-- name: ListMonitorsByID :many
SELECT sqlc.embed(monitors), sqlc.embed(monitor_states)
FROM monitors
JOIN monitor_states ON monitor_states.monitor_id = monitors.id
WHERE
    monitors.deleted_at IS NULL
    AND monitors.id > @after_id
    AND (sqlc.narg(status)::text IS NULL OR monitor_states.status = sqlc.narg(status))
    AND (sqlc.narg(tag)::text IS NULL OR monitors.tags @> ARRAY[sqlc.narg(tag)::text])
    AND (sqlc.narg(pattern)::text IS NULL OR monitors.name ILIKE sqlc.narg(pattern) OR monitors.url ILIKE sqlc.narg(pattern))
ORDER BY monitors.id
LIMIT @page_size::integer;

-- ListMonitorsByName pages through the monitors in the order of their names, then ids.
-- name: ListMonitorsByName :many
SELECT sqlc.embed(monitors), sqlc.embed(monitor_states)
FROM monitors
JOIN monitor_states ON monitor_states.monitor_id = monitors.id
WHERE
    monitors.deleted_at IS NULL
    AND (monitors.name, monitors.id) > (@after_name::text, @after_id::bigint)
    AND (sqlc.narg(status)::text IS NULL OR monitor_states.status = sqlc.narg(status))
    AND (sqlc.narg(tag)::text IS NULL OR monitors.tags @> ARRAY[sqlc.narg(tag)::text])
    AND (sqlc.narg(pattern)::text IS NULL OR monitors.name ILIKE sqlc.narg(pattern) OR monitors.url ILIKE sqlc.narg(pattern))
ORDER BY monitors.name, monitors.id
LIMIT @page_size::integer;

-- CountRoundMonitors counts the active monitors to which a round is promised, up to a number.
-- name: CountRoundMonitors :one
SELECT count(*)::integer FROM (
    SELECT FROM monitors
    WHERE
        monitors.interval_seconds = @interval_seconds AND monitors.phase_ms = @phase_ms
        AND paused_at IS NULL AND deleted_at IS NULL
        AND EXISTS (
            SELECT 1 FROM monitor_schedules AS s
            WHERE s.monitor_id = monitors.id AND s.until_at IS NULL AND s.from_at <= @slot
        )
    LIMIT @at_most::integer
) AS counted;

-- ListRoundMonitors gives the active monitors to which a round is promised. One that has just come from another schedule
-- may have been scanned at this slot by that one.
-- name: ListRoundMonitors :many
SELECT * FROM monitors
WHERE
    monitors.interval_seconds = @interval_seconds AND monitors.phase_ms = @phase_ms
    AND paused_at IS NULL AND deleted_at IS NULL
    AND EXISTS (
        SELECT 1 FROM monitor_schedules AS s
        WHERE s.monitor_id = monitors.id AND s.until_at IS NULL AND s.from_at <= @slot
    )
ORDER BY id;

-- ListUnscannedRoundMonitors is ListRoundMonitors with ids from since_id until before until_id, without those that have a
-- row for the slot.
-- name: ListUnscannedRoundMonitors :many
SELECT * FROM monitors
WHERE
    monitors.interval_seconds = @interval_seconds AND monitors.phase_ms = @phase_ms
    AND paused_at IS NULL AND deleted_at IS NULL
    AND id >= @since_id AND id < @until_id
    AND EXISTS (
        SELECT 1 FROM monitor_schedules AS s
        WHERE s.monitor_id = monitors.id AND s.until_at IS NULL AND s.from_at <= @slot
    )
    AND NOT EXISTS (SELECT 1 FROM monitor_log AS l WHERE l.slot = @slot AND l.monitor_id = monitors.id)
ORDER BY id;

-- ListRoundParts numbers the blocks of part_width ids in which a round has active monitors.
-- name: ListRoundParts :many
SELECT DISTINCT (id / @part_width::bigint)::bigint AS part FROM monitors
WHERE
    interval_seconds = @interval_seconds AND phase_ms = @phase_ms
    AND paused_at IS NULL AND deleted_at IS NULL
ORDER BY part;
