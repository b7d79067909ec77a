-- How many seconds each monitor waited for the start of its first scan: from its creation, or from $1 if that is later.
SELECT extract(epoch FROM min(l.slot + l.late_ms * INTERVAL '1 ms') - greatest(m.created_at, $1))::double precision
FROM monitors AS m
JOIN monitor_log AS l ON l.monitor_id = m.id
WHERE l.slot + l.late_ms * INTERVAL '1 ms' >= $1 AND l.slot > $1::timestamptz - INTERVAL '1 day'
GROUP BY m.id
