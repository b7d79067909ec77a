-- TakeBackScans makes scans inconclusive that a worker wrote while it could not see the network: those with a slot since
-- since that ended since ended_since until before ended_until with one of outcomes, page_size at most.
-- name: TakeBackScans :many
UPDATE monitor_log AS l SET outcome = 'inconclusive', error = @error::text
FROM (
    SELECT s.slot, s.monitor_id FROM monitor_log AS s
    WHERE
        s.slot >= @since::timestamptz AND s.worker = @worker::text AND s.outcome = ANY(@outcomes::text[])
        AND s.slot + make_interval(secs => s.late_ms / 1e3 + s.total_us / 1e6) >= @ended_since::timestamptz
        AND s.slot + make_interval(secs => s.late_ms / 1e3 + s.total_us / 1e6) < @ended_until::timestamptz
    LIMIT @page_size::integer
) AS blind
WHERE l.slot = blind.slot AND l.monitor_id = blind.monitor_id AND l.slot >= @since::timestamptz
RETURNING l.monitor_id;

-- ListOutcomes gives what the scans of some monitors concluded since an instant, in the order of their slots.
-- name: ListOutcomes :many
SELECT slot, monitor_id, outcome, monitor_version, late_ms, total_us FROM monitor_log
WHERE slot >= @since AND monitor_id = ANY(@monitor_ids::bigint[])
ORDER BY slot, monitor_id;
