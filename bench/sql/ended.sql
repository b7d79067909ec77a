-- The scans that ended from $1 until before $2, whatever their slot, and those of them that are good. None is under way for
-- more than some minutes.
SELECT count(*) AS ended, count(*) FILTER (WHERE outcome = 'ok') AS good
FROM monitor_log
WHERE slot >= $1::timestamptz - INTERVAL '5 minutes' AND slot < $2
    AND slot + late_ms * INTERVAL '1 ms' + total_us * INTERVAL '1 us' >= $1
    AND slot + late_ms * INTERVAL '1 ms' + total_us * INTERVAL '1 us' < $2
