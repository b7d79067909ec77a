-- CountStatuses gives how many monitors stand where.
-- name: CountStatuses :many
SELECT status, count(*)::integer AS monitors FROM monitor_states
GROUP BY status;

-- SumPromises gives how many scans a second are promised now.
-- name: SumPromises :one
SELECT coalesce(sum(of_interval.monitors::double precision / of_interval.interval_seconds), 0)::double precision AS per_second
FROM (
    SELECT interval_seconds, count(*) AS monitors FROM monitors
    WHERE paused_at IS NULL AND deleted_at IS NULL
    GROUP BY interval_seconds
) AS of_interval;

-- CountScans gives how many rows of rounds the log has with slots from since until before until.
-- name: CountScans :one
SELECT count(*)::integer FROM monitor_log
WHERE slot >= @since AND slot < @until AND reason = 'round';

-- ListSlowest gives the monitors whose good scans of an hour took longest in the mean, slowest first.
-- name: ListSlowest :many
SELECT m.id, m.name, m.url, (h.total_us / (h.good + h.slow))::bigint AS mean_us
FROM (
    SELECT * FROM scan_hours
    WHERE from_at = @hour AND good + slow > 0
    ORDER BY total_us / (good + slow) DESC
    LIMIT 100 -- some may be deleted
) AS h
INNER JOIN monitors AS m ON m.id = h.monitor_id
WHERE m.deleted_at IS NULL
ORDER BY mean_us DESC, m.id
LIMIT @page_size::integer;

-- ListOftenDown gives monitors that were down since an instant, at_most at most: those that are down now, for longest first, and
-- then others.
-- name: ListOftenDown :many
SELECT m.id, m.name, m.url
FROM (
    SELECT down.monitor_id, min(down.rank) AS rank
    FROM (
        (
            SELECT monitor_id, row_number() OVER (ORDER BY since, monitor_id) AS rank FROM monitor_states
            WHERE status = 'down'
            ORDER BY since, monitor_id
            LIMIT @at_most::integer
        )
        UNION ALL
        (
            SELECT monitor_id, 1000000000 + row_number() OVER (ORDER BY count(*) DESC, monitor_id) AS rank FROM status_changes
            WHERE at >= @since AND status = 'down'
            GROUP BY monitor_id
            ORDER BY count(*) DESC, monitor_id
            LIMIT @at_most::integer
        )
    ) AS down
    GROUP BY down.monitor_id
) AS candidates
INNER JOIN monitors AS m ON m.id = candidates.monitor_id
WHERE m.deleted_at IS NULL
ORDER BY candidates.rank
LIMIT @at_most::integer;
