-- What was promised from $1 until before $2, against what came of it until now.
SELECT
    count(*) AS due,
    count(l.slot) AS recorded,
    count(l.slot) FILTER (WHERE l.outcome = 'inconclusive') AS inconclusive,
    count(l.slot) FILTER (WHERE l.outcome NOT IN ('ok', 'inconclusive')) AS blamed,
    (SELECT count(*) FROM unaccounted_slots($1, $2)) AS unaccounted
FROM promised_slots($1, $2) AS p
LEFT JOIN monitor_log AS l
    ON l.slot = p.slot AND l.monitor_id = p.monitor_id AND l.slot >= $1 AND l.slot < $2
