-- ExportScans gives scans of all monitors, or of those with a tag, after that of after_id at the slot since and before until, oldest
-- first, each with its monitor as that is now. One that was deleted after at is still there.
-- name: ExportScans :many
SELECT sqlc.embed(monitor_log), m.name, m.key, m.url, m.tags
FROM monitor_log
JOIN monitors AS m ON m.id = monitor_log.monitor_id
WHERE
    monitor_log.slot >= @since::timestamptz AND monitor_log.slot < @until::timestamptz
    AND (monitor_log.slot, monitor_log.monitor_id) > (@since::timestamptz, @after_id::bigint)
    AND (m.deleted_at IS NULL OR m.deleted_at > @at::timestamptz)
    AND (sqlc.narg(tag)::text IS NULL OR m.tags @> ARRAY[sqlc.narg(tag)::text])
ORDER BY monitor_log.slot, monitor_log.monitor_id
LIMIT @page_size::integer;

-- ExportScansOf gives scans of a monitor from since until before until, oldest first.
-- name: ExportScansOf :many
SELECT * FROM monitor_scans(@monitor_id::bigint, @since::timestamptz, @until::timestamptz)
ORDER BY slot
LIMIT @page_size::integer;

-- CountMonitors counts those that are not deleted, or those of them with a tag.
-- name: CountMonitors :one
SELECT count(*)::integer FROM monitors
WHERE deleted_at IS NULL AND (sqlc.narg(tag)::text IS NULL OR tags @> ARRAY[sqlc.narg(tag)::text]);
