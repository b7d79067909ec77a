-- The rows that scans from $1 until before $2 would have left. Within a slot scans end in no order, and so do these.
INSERT INTO monitor_log (
    slot, monitor_id, late_ms, connect_us, wait_us, transfer_us, total_us, body_bytes, monitor_version, http_status,
    outcome, reason, worker, remote_ip
)
SELECT
    slot, m.id, m.id % 1000, 80 + m.id % 41, 300 + m.id % 97, 20, 500 + m.id % 211, 900, m.version, 200,
    'ok', 'round', 'worker-' || m.id % 2, '127.0.64.1'
FROM monitors AS m
CROSS JOIN LATERAL slots_of(m.interval_seconds, m.phase_ms, $1::timestamptz, $2::timestamptz) AS slot
ORDER BY slot, hashint8(m.id # extract(epoch FROM slot)::bigint)
ON CONFLICT DO NOTHING
