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

-- A statement that changes or deletes rows of monitor_log locks all its chunks, each with its indexes: some 6,000 locks after a
-- year, about as many as a server has by default. So do queries whose range the planner does not know: that of another table's
-- column, or in a plan for all values of a parameter. What workers do is written so that it locks what it needs: it
-- changes rows in their chunk, and asks for a range of slots that is known when the query is planned.

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
    chunk regclass;
BEGIN
    FOREACH ahead IN ARRAY ARRAY[at + width, at + 2 * width] LOOP
        INSERT INTO monitor_log (slot, monitor_id, late_ms, total_us, monitor_version, outcome, reason, worker)
        VALUES (ahead, 0, 0, 0, 0, 'inconclusive', 'round', '')
        RETURNING tableoid INTO chunk;
        EXECUTE format('DELETE FROM %s WHERE slot = $1 AND monitor_id = 0', chunk) USING ahead;
    END LOOP;
END
$$;

-- take_back_scans makes scans inconclusive that a worker wrote while it could not see the network: those with a slot since since
-- that ended since ended_since until before ended_until with one of outcomes, page_size at most. It gives their monitors.
CREATE FUNCTION take_back_scans(
    since timestamptz, worker text, outcomes text[], ended_since timestamptz, ended_until timestamptz, page_size integer, error text
) RETURNS SETOF bigint
LANGUAGE plpgsql
SET plan_cache_mode = force_custom_plan -- by since, which is not known to a plan for all values
AS $$
#variable_conflict use_column
DECLARE
    blind record;
BEGIN
    FOR blind IN
        SELECT page.chunk, array_agg(page.slot) AS slots, array_agg(page.monitor_id) AS monitor_ids
        FROM (
            SELECT l.tableoid::regclass AS chunk, l.slot, l.monitor_id
            FROM monitor_log AS l
            WHERE
                l.slot >= since AND l.worker = take_back_scans.worker AND l.outcome = ANY(outcomes)
                AND l.slot + make_interval(secs => l.late_ms / 1e3 + l.total_us / 1e6) >= ended_since
                AND l.slot + make_interval(secs => l.late_ms / 1e3 + l.total_us / 1e6) < ended_until
            LIMIT page_size
        ) AS page
        GROUP BY page.chunk
    LOOP
        EXECUTE format(
            'UPDATE %s AS l SET outcome = ''inconclusive'', error = $1
            FROM unnest($2, $3) AS blind (slot, monitor_id)
            WHERE l.slot = blind.slot AND l.monitor_id = blind.monitor_id', blind.chunk
        ) USING take_back_scans.error, blind.slots, blind.monitor_ids;
        PERFORM mark_stale_hours(blind.slots, blind.monitor_ids);
        RETURN QUERY SELECT unnest(blind.monitor_ids);
    END LOOP;
END
$$;

---- create above / drop below ----

DROP FUNCTION take_back_scans(timestamptz, text, text[], timestamptz, timestamptz, integer, text);
DROP FUNCTION make_log_chunks(timestamptz);
DROP FUNCTION set_log_chunk(interval);

-- A hypertable does not turn back into a table, but its rows can go to one.
CREATE TABLE monitor_log_plain (LIKE monitor_log INCLUDING ALL);
INSERT INTO monitor_log_plain SELECT * FROM monitor_log;
DROP TABLE monitor_log;
ALTER TABLE monitor_log_plain RENAME TO monitor_log;
ALTER INDEX monitor_log_plain_pkey RENAME TO monitor_log_pkey;
ALTER INDEX monitor_log_plain_monitor_id_slot_idx RENAME TO monitor_log_outside_rounds;
