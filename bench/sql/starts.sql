-- When the scans with slots from $1 until before $2 began, and of which monitors: in the order of their beginnings.
SELECT m.url, m.interval_seconds, l.slot, l.late_ms, l.reason = 'round' AS of_round
FROM monitor_log AS l
JOIN monitors AS m ON m.id = l.monitor_id
WHERE l.slot >= $1 AND l.slot < $2
ORDER BY l.monitor_id, l.slot + l.late_ms * INTERVAL '1 ms'
