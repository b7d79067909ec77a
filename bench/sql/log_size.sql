-- Bytes of the log on disk, with its indexes, and its rows.
SELECT hypertable_size('monitor_log')::bigint AS bytes, (SELECT count(*) FROM monitor_log)::bigint AS row_count
