-- The hours and the day of each monitor for the day $1, as the newest whole hour and its histogram have them.
WITH newest AS (
    SELECT * FROM scan_hours WHERE from_at = (SELECT max(from_at) FROM scan_hours)
), hours AS (
    INSERT INTO scan_hours
    SELECT
        hour, n.monitor_id, n.total_us, n.dns_us, n.connect_us, n.tls_us, n.wait_us, n.transfer_us, n.good, n.slow, n.failed,
        n.inconclusive, n.min_us, n.max_us, n.histogram
    FROM generate_series($1::timestamptz, $1::timestamptz + INTERVAL '23 hours', INTERVAL '1 hour') AS hour
    CROSS JOIN newest AS n
    ORDER BY hour, n.monitor_id
    ON CONFLICT DO NOTHING
)
INSERT INTO scan_days
SELECT
    $1::timestamptz, n.monitor_id, 24 * n.total_us, 24 * n.dns_us, 24 * n.connect_us, 24 * n.tls_us, 24 * n.wait_us,
    24 * n.transfer_us, 24 * n.good, 24 * n.slow, 24 * n.failed, 24 * n.inconclusive, n.min_us, n.max_us, n.histogram
FROM newest AS n
ORDER BY n.monitor_id
ON CONFLICT DO NOTHING
