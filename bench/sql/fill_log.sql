-- The rows that scans from $1 until before $2 would have left. Within a slot scans end in no order, and so do these.
INSERT INTO monitor_log (
    slot, monitor_id, late_ms, connect_us, wait_us, transfer_us, total_us, body_bytes, monitor_version, http_status,
    outcome, reason, worker, remote_ip
)
SELECT
    to_timestamp(second), m.id, m.id % 1000, 80 + m.id % 41, 300 + m.id % 97, 20, 500 + m.id % 211, 900, m.version, 200,
    'ok', 'round', 'worker-' || m.id % 2, '127.0.64.1'
FROM monitors AS m
CROSS JOIN LATERAL (SELECT ceil(extract(epoch FROM $1::timestamptz))::bigint AS low) AS range
CROSS JOIN LATERAL generate_series(
    low + ((m.phase - low) % m.interval_seconds + m.interval_seconds) % m.interval_seconds,
    ceil(extract(epoch FROM $2::timestamptz))::bigint - 1,
    m.interval_seconds
) AS second
ORDER BY second, hashint8(m.id # second)
ON CONFLICT DO NOTHING
