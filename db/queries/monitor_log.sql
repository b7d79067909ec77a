-- CopyScans inserts scans, none of which may be there already. It costs 40 % less WAL than InsertScans.
-- name: CopyScans :copyfrom
INSERT INTO monitor_log (
    slot, monitor_id, late_ms, dns_us, connect_us, tls_us, wait_us, transfer_us, total_us, body_bytes,
    monitor_version, http_status, regexp_matched, outcome, reason, worker, remote_ip, error, body_excerpt
) VALUES (
    @slot, @monitor_id, @late_ms, @dns_us, @connect_us, @tls_us, @wait_us, @transfer_us, @total_us, @body_bytes,
    @monitor_version, @http_status, @regexp_matched, @outcome, @reason, @worker, @remote_ip, @error,
    @body_excerpt
);

-- InsertScans inserts the scans that are not there yet, and gives no row for the others.
-- name: InsertScans :batchone
INSERT INTO monitor_log (
    slot, monitor_id, late_ms, dns_us, connect_us, tls_us, wait_us, transfer_us, total_us, body_bytes,
    monitor_version, http_status, regexp_matched, outcome, reason, worker, remote_ip, error, body_excerpt
) VALUES (
    @slot, @monitor_id, @late_ms, @dns_us, @connect_us, @tls_us, @wait_us, @transfer_us, @total_us, @body_bytes,
    @monitor_version, @http_status, @regexp_matched, @outcome, @reason, @worker, @remote_ip, @error,
    @body_excerpt
)
ON CONFLICT (slot, monitor_id) DO NOTHING
RETURNING monitor_id;

-- name: GetScan :one
SELECT * FROM monitor_log
WHERE slot = @slot AND monitor_id = @monitor_id;

-- ListScanned gives those of monitors that have a row for a slot, each its own, from since to until.
-- name: ListScanned :many
SELECT due.monitor_id::bigint AS monitor_id
FROM (
    SELECT
        unnest(@slots::timestamptz[]) AS slot,
        unnest(@monitor_ids::bigint[]) AS monitor_id
) AS due
CROSS JOIN LATERAL (
    SELECT 1 AS one FROM monitor_log AS m
    WHERE
        m.slot = due.slot AND m.monitor_id = due.monitor_id
        AND m.slot >= @since::timestamptz AND m.slot <= @until::timestamptz
) AS l;

-- ListScans gives the newest scans of one monitor from since until before until, newest first.
-- name: ListScans :many
SELECT * FROM monitor_scans(@monitor_id::bigint, @since::timestamptz, @until::timestamptz)
ORDER BY slot DESC
LIMIT @page_size::integer;

-- MakeLogChunks makes the chunks of the hypertable that come after the one of at.
-- name: MakeLogChunks :exec
SELECT make_log_chunks(@at::timestamptz);

-- SetLogChunk sets how much time a chunk made from now on holds.
-- name: SetLogChunk :exec
SELECT set_log_chunk(make_interval(secs => @seconds::double precision));
