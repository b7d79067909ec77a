-- NextMonitorIDs reserves ids, so that phases, which follow from ids, are known before the rows are written.
-- name: NextMonitorIDs :many
SELECT nextval(pg_get_serial_sequence('monitors', 'id'))::bigint AS id
FROM generate_series(1, @count::integer);

-- CreateMonitors inserts monitors whole, and no row for one that is there, by its key, or else its (method, url, regexp). Its
-- columns are all of the table, in their order, so that a Monitor is its parameters.
-- name: CreateMonitors :batchone
INSERT INTO monitors (
    id, key, name, description, tags, method, url, host, request, secret_names, timeout_ms, max_redirects,
    accepted_statuses, regexp, regexp_invert, expectations, interval_seconds, phase_ms, retry_interval_seconds,
    failure_threshold, success_threshold, version, created_at, updated_at, paused_at, deleted_at
) VALUES (
    @id, @key, @name, @description, @tags, @method, @url, @host, @request, @secret_names, @timeout_ms,
    @max_redirects, @accepted_statuses, @regexp, @regexp_invert, @expectations, @interval_seconds, @phase_ms,
    @retry_interval_seconds, @failure_threshold, @success_threshold, @version, @created_at, @updated_at, @paused_at,
    @deleted_at
)
ON CONFLICT DO NOTHING
RETURNING *;

-- LockMonitorsKnownAs locks the monitors, deleted or not, that are known as a list says: of each a JSON object with its key, or,
-- without one, its method, url and regexp. In the order of their ids, lest two transactions deadlock. No key: the recorder may
-- insert rows that refer to them.
-- name: LockMonitorsKnownAs :many
WITH known AS (
    SELECT one ->> 'key' AS key, one ->> 'method' AS method, one ->> 'url' AS url, one ->> 'regexp' AS regexp
    FROM jsonb_array_elements(@known::jsonb) AS one
)
SELECT * FROM monitors
WHERE
    id IN (
        SELECT m.id FROM known AS k
        JOIN monitors AS m ON m.key = k.key
        UNION ALL
        SELECT m.id FROM known AS k
        JOIN monitors AS m ON m.method = k.method AND m.url = k.url AND m.regexp IS NOT DISTINCT FROM k.regexp
        WHERE m.key IS NULL
    )
ORDER BY id
FOR NO KEY UPDATE;

-- name: GetMonitor :one
SELECT * FROM monitors
WHERE id = @id AND deleted_at IS NULL;

-- ListMonitors gives those that are not deleted.
-- name: ListMonitors :many
SELECT * FROM monitors
WHERE id = ANY(@monitor_ids::bigint[]) AND deleted_at IS NULL;

-- GetMonitorForUpdate locks the monitor, as LockMonitorsKnownAs does.
-- name: GetMonitorForUpdate :one
SELECT * FROM monitors
WHERE id = @id AND deleted_at IS NULL
FOR NO KEY UPDATE;

-- UpdateMonitors writes monitors whole. As in CreateMonitors, a Monitor is its parameters, for which the id is set to
-- itself.
-- name: UpdateMonitors :batchone
UPDATE monitors SET
    id = @id,
    key = sqlc.narg(key),
    name = @name,
    description = @description,
    tags = @tags,
    method = @method,
    url = @url,
    host = @host,
    request = @request,
    secret_names = @secret_names,
    timeout_ms = @timeout_ms,
    max_redirects = @max_redirects,
    accepted_statuses = @accepted_statuses,
    regexp = sqlc.narg(regexp),
    regexp_invert = @regexp_invert,
    expectations = @expectations,
    interval_seconds = @interval_seconds,
    phase_ms = @phase_ms,
    retry_interval_seconds = @retry_interval_seconds,
    failure_threshold = @failure_threshold,
    success_threshold = @success_threshold,
    version = @version,
    created_at = @created_at,
    updated_at = @updated_at,
    paused_at = sqlc.narg(paused_at),
    deleted_at = sqlc.narg(deleted_at)
WHERE id = @id
RETURNING *;

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
    AND (sqlc.narg(key)::text IS NULL OR monitors.key = sqlc.narg(key))
    AND (sqlc.narg(host)::text IS NULL OR monitors.host = sqlc.narg(host))
    AND (
        sqlc.narg(pattern)::text IS NULL OR monitors.name ILIKE sqlc.narg(pattern) OR monitors.url ILIKE sqlc.narg(pattern)
        OR monitors.key ILIKE sqlc.narg(pattern)
    )
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
    AND (sqlc.narg(key)::text IS NULL OR monitors.key = sqlc.narg(key))
    AND (sqlc.narg(host)::text IS NULL OR monitors.host = sqlc.narg(host))
    AND (
        sqlc.narg(pattern)::text IS NULL OR monitors.name ILIKE sqlc.narg(pattern) OR monitors.url ILIKE sqlc.narg(pattern)
        OR monitors.key ILIKE sqlc.narg(pattern)
    )
ORDER BY monitors.name, monitors.id
LIMIT @page_size::integer;

-- CountRoundMonitors counts the active monitors of an interval and phase, up to a number. Some may be promised later slots
-- only, which each would have to be asked for.
-- name: CountRoundMonitors :one
SELECT count(*)::integer FROM (
    SELECT FROM monitors
    WHERE
        interval_seconds = @interval_seconds AND phase_ms = @phase_ms
        AND paused_at IS NULL AND deleted_at IS NULL
    LIMIT @at_most::integer
) AS counted;

-- ListRoundMonitors gives the active monitors to which a round is promised. One that has just come from another schedule
-- may have been scanned at this slot by that one.
-- name: ListRoundMonitors :many
SELECT * FROM round_monitors(@interval_seconds::integer, @phase_ms::integer, @slot::timestamptz)
ORDER BY id;

-- ListUnscannedRoundMonitors is ListRoundMonitors with ids from since_id until before until_id, without those that have a
-- row for the slot.
-- name: ListUnscannedRoundMonitors :many
SELECT * FROM unscanned_round_monitors(
    @interval_seconds::integer, @phase_ms::integer, @slot::timestamptz, @since_id::bigint, @until_id::bigint
);

-- ListRoundParts numbers the blocks of part_width ids in which a round has active monitors.
-- name: ListRoundParts :many
SELECT DISTINCT (id / @part_width::bigint)::bigint AS part FROM monitors
WHERE
    interval_seconds = @interval_seconds AND phase_ms = @phase_ms
    AND paused_at IS NULL AND deleted_at IS NULL
ORDER BY part;
