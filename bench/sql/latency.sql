-- How long the probes of rounds with slots from $1 until before $2 took, in milliseconds.
SELECT
    coalesce(percentile_disc(0.5) WITHIN GROUP (ORDER BY total_us), 0) / 1e3::double precision AS p50,
    coalesce(percentile_disc(0.99) WITHIN GROUP (ORDER BY total_us), 0) / 1e3::double precision AS p99,
    coalesce(max(total_us), 0) / 1e3::double precision AS max
FROM monitor_log
WHERE slot >= $1 AND slot < $2 AND reason = 'round'
