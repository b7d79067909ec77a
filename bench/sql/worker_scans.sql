-- How many scans a worker ended until now.
SELECT count(*) FROM monitor_log WHERE worker = $1
