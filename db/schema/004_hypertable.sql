-- What only TimescaleDB understands: monitor_log becomes a hypertable. The Apache-licensed part is enough.

CREATE EXTENSION IF NOT EXISTS timescaledb;

SELECT create_hypertable(
    'monitor_log',
    by_range('slot', INTERVAL '6 hours'),
    create_default_indexes => false,
    migrate_data => true -- there are rows after a way down and up again
);

-- set_log_chunk sets how much time a chunk made from now on holds.
CREATE FUNCTION set_log_chunk(width interval) RETURNS void
LANGUAGE sql
AS $$
    SELECT set_chunk_time_interval('monitor_log', width)
$$;

-- make_log_chunks makes the next two chunks, so that no writers meet at the boundary of one that is not there: they
-- would wait for each other, and can deadlock. The Apache edition has no create_chunk, but a row that is inserted and
-- deleted leaves its chunk behind.
CREATE FUNCTION make_log_chunks(at timestamptz) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    width interval := (
        SELECT time_interval FROM timescaledb_information.dimensions WHERE hypertable_name = 'monitor_log'
    );
    ahead timestamptz;
BEGIN
    FOREACH ahead IN ARRAY ARRAY[at + width, at + 2 * width] LOOP
        INSERT INTO monitor_log (slot, monitor_id, late_ms, total_us, monitor_version, outcome, reason, worker)
        VALUES (ahead, 0, 0, 0, 0, 'inconclusive', 'round', '');
        DELETE FROM monitor_log WHERE slot = ahead AND monitor_id = 0;
    END LOOP;
END
$$;

---- create above / drop below ----

DROP FUNCTION make_log_chunks(timestamptz);
DROP FUNCTION set_log_chunk(interval);

-- A hypertable does not turn back into a table, but its rows can go to one.
CREATE TABLE monitor_log_plain (LIKE monitor_log INCLUDING ALL);
INSERT INTO monitor_log_plain SELECT * FROM monitor_log;
DROP TABLE monitor_log;
ALTER TABLE monitor_log_plain RENAME TO monitor_log;
ALTER INDEX monitor_log_plain_pkey RENAME TO monitor_log_pkey;
ALTER INDEX monitor_log_plain_monitor_id_slot_idx RENAME TO monitor_log_outside_rounds;
