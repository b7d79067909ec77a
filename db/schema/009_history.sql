-- What the log is rolled up into, how statuses changed, and how far all that has come. The log is dropped one day; this stays.

-- hour_of and day_of give the beginning of the hour and of the day (UTC) of an instant, whatever the session's time zone is.
CREATE FUNCTION hour_of(at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT date_bin(INTERVAL '1 hour', at, TIMESTAMPTZ '2000-01-01 00:00:00+00') $$;

CREATE FUNCTION day_of(at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT date_bin(INTERVAL '1 day', at, TIMESTAMPTZ '2000-01-01 00:00:00+00') $$;

-- outcome_class gives what an outcome counts as: good, slow (good too, and degraded), failed, or inconclusive (it says nothing of
-- the target). It is uptime.Outcome's rule in SQL, and a test holds the two together.
CREATE FUNCTION outcome_class(outcome text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN outcome IN ('ok', 'ok_truncated') THEN 'good'
        WHEN outcome = 'ok_slow' THEN 'slow'
        WHEN outcome IN ('inconclusive', 'blocked_by_policy', 'not_supported') THEN 'inconclusive'
        ELSE 'failed'
    END
$$;

-- latency_bucket gives the bucket of a histogram to which a time belongs, in microseconds. There are 152: bucket i is from
-- 2^(i/8 - 13) s until before 2^((i+1)/8 - 13) s; the first and the last also have what is beyond them.
CREATE FUNCTION latency_bucket(us bigint) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT greatest(0, least(151, floor(8 * (ln(greatest(us, 1)::double precision / 1e6) / ln(2::double precision) + 13))))::integer
$$;

-- A histogram is an array with an element for each bucket that is not empty, in their order: a million times the bucket, plus
-- how many scans are in it.

-- merge_histograms makes one histogram of elements of several.
CREATE FUNCTION merge_histograms(elements integer[]) RETURNS integer[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT coalesce(array_agg(1000000 * bucket + least(scans, 999999) ORDER BY bucket), '{}')::integer[]
    FROM (
        SELECT element / 1000000 AS bucket, sum(element % 1000000) AS scans FROM unnest(elements) AS element GROUP BY 1
    ) AS merged
$$;

-- histogram_sum adds up histograms.
CREATE AGGREGATE histogram_sum(integer[]) (SFUNC = array_cat, STYPE = integer[], INITCOND = '{}', FINALFUNC = merge_histograms);

-- percentile_of gives the time, in milliseconds, that a part p of the scans in a histogram did not take longer than: the middle
-- of the bucket in which that scan is, so that it is within 4.5 % of the scan's own time. Null: there are none.
CREATE FUNCTION percentile_of(histogram integer[], p double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT 1000 * 2::double precision ^ ((bucket + 0.5) / 8 - 13)
    FROM (
        SELECT element / 1000000 AS bucket, sum(element % 1000000) OVER (ORDER BY element) AS until, sum(element % 1000000) OVER () AS total
        FROM unnest(histogram) AS element
    ) AS counted
    WHERE until >= greatest(1, ceil(p * total))
    ORDER BY bucket
    LIMIT 1
$$;

-- The key begins with the hour for the reason of the log's key. Columns are ordered by width, and a sum without a summand is null,
-- which takes no room.
CREATE TABLE scan_hours (
    from_at timestamptz NOT NULL,
    monitor_id bigint NOT NULL,
    total_us bigint,
    dns_us bigint,
    connect_us bigint,
    tls_us bigint,
    wait_us bigint,
    transfer_us bigint,
    good integer NOT NULL,
    slow integer NOT NULL,
    failed integer NOT NULL,
    inconclusive integer NOT NULL,
    min_us integer,
    max_us integer,
    histogram integer [] NOT NULL,
    PRIMARY KEY (from_at, monitor_id)
);

COMMENT ON TABLE scan_hours IS 'The scans of a monitor whose slots are in one hour: a function of the log, computed whole. An hour without a scan has no row.';
COMMENT ON COLUMN scan_hours.total_us IS 'Sums, of good and slow scans. So are the phases: a scan without a phase spent no time in it. Null: no scan had it.';
COMMENT ON COLUMN scan_hours.good IS 'How many scans were good and not slow.';
COMMENT ON COLUMN scan_hours.slow IS 'How many were good, but slower than degraded_after_ms.';
COMMENT ON COLUMN scan_hours.inconclusive IS 'How many said nothing of the target.';
COMMENT ON COLUMN scan_hours.min_us IS 'Of good and slow scans.';
COMMENT ON COLUMN scan_hours.histogram IS 'Of the total of good and slow scans: an element for each bucket that is not empty, a million times its number plus how many scans are in it. percentile_of reads it, histogram_sum adds them up.';

CREATE TABLE scan_days (LIKE scan_hours INCLUDING ALL);

COMMENT ON TABLE scan_days IS 'The hours of a day (UTC), merged. An hour that is corrected later is corrected here too, while its hours are kept.';

SELECT create_hypertable('scan_hours', by_range('from_at', INTERVAL '7 days'), create_default_indexes => false);
SELECT create_hypertable('scan_days', by_range('from_at', INTERVAL '90 days'), create_default_indexes => false);

-- Whoever changes the log for slots before closed_until marks their hours stale in the same transaction; he holds an advisory lock,
-- shared, from before he asks for closed_until until he is done. An hour is rolled up once all have ended who held it when
-- closed_until was set: so each row is seen by the roll-up of its hour, or marks it.
CREATE TABLE history_progress (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    closed_until timestamptz NOT NULL,
    closed_for text [],
    rolled_until timestamptz NOT NULL,
    next_id bigint NOT NULL DEFAULT 0,
    days_until timestamptz NOT NULL,
    day_next_id bigint NOT NULL DEFAULT 0,
    scans_from timestamptz NOT NULL DEFAULT '2000-01-01 00:00:00+00',
    hours_from timestamptz NOT NULL DEFAULT '2000-01-01 00:00:00+00',
    cut_by_size boolean NOT NULL DEFAULT false
);

COMMENT ON TABLE history_progress IS 'How far roll-ups have come, and what is kept: one row.';
COMMENT ON COLUMN history_progress.closed_until IS 'Whoever writes a row of the log with a slot before this marks its hour stale.';
COMMENT ON COLUMN history_progress.closed_for IS 'The transactions that may not know of closed_until, by their virtual ids. Null: they are not noted yet.';
COMMENT ON COLUMN history_progress.rolled_until IS 'All hours before this are rolled up.';
COMMENT ON COLUMN history_progress.next_id IS 'Of the hour at rolled_until, monitors with ids below this are rolled up.';
COMMENT ON COLUMN history_progress.days_until IS 'All days before this are rolled up. Of the day that begins then, monitors with ids below day_next_id are.';
COMMENT ON COLUMN history_progress.scans_from IS 'Rows of the log with slots before this were dropped; the year 2000: none were.';
COMMENT ON COLUMN history_progress.hours_from IS 'Rows of scan_hours before this were dropped.';
COMMENT ON COLUMN history_progress.cut_by_size IS 'Whether the log is cut by its size now, before its age.';

CREATE TABLE stale_hours (
    hour timestamptz NOT NULL,
    monitor_id bigint NOT NULL,
    marked integer NOT NULL DEFAULT 1,
    PRIMARY KEY (hour, monitor_id)
);

COMMENT ON TABLE stale_hours IS 'Hours whose rows of the log have changed since they were rolled up, or while they were.';

-- hour_is_closed reports whether the hour of a slot may be rolled up: whoever writes a row for it then marks it. It is VOLATILE, so
-- that it sees what was committed when it has the lock.
CREATE FUNCTION hour_is_closed(slot timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(8730001);
    RETURN EXISTS (SELECT FROM history_progress WHERE closed_until > slot);
END
$$;

-- writers_of_log gives the transactions that hold that lock, by their virtual ids.
CREATE FUNCTION writers_of_log() RETURNS text[]
LANGUAGE sql VOLATILE
AS $$
    SELECT coalesce(array_agg(virtualtransaction), '{}') FROM pg_locks
    WHERE
        locktype = 'advisory' AND classid = 0 AND objid = 8730001 AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
$$;

-- mark_stale_hours marks the hours of rows of the log that were written or changed in this transaction. A mark that is there is
-- touched, so that whoever is about to use it waits for this transaction, and sees its rows.
CREATE FUNCTION mark_stale_hours(slots timestamptz[], monitor_ids bigint[]) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    IF NOT hour_is_closed((SELECT min(slot) FROM unnest(slots) AS slot)) THEN
        RETURN;
    END IF;
    INSERT INTO stale_hours AS s (hour, monitor_id)
    SELECT DISTINCT hour_of(changed.slot), changed.monitor_id
    FROM unnest(slots, monitor_ids) AS changed (slot, monitor_id)
    WHERE changed.slot < (SELECT closed_until FROM history_progress)
    ORDER BY 1, 2
    ON CONFLICT (hour, monitor_id) DO UPDATE SET marked = s.marked + 1;
END
$$;

-- summed_scans sums up the log in steps, as scan_hours has it for hours: from since until before until, of ids, or, where these are
-- null, of monitors with ids from since_id until before until_id.
CREATE FUNCTION summed_scans(
    since timestamptz, until timestamptz, step interval, since_id bigint, until_id bigint, ids bigint[]
) RETURNS SETOF scan_hours
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_custom_plan -- for the range of slots, lest all chunks of the log be locked
SET work_mem = '64MB'
AS $$
#variable_conflict use_variable
BEGIN
    RETURN QUERY
    SELECT
        c.bin, c.monitor_id, sum(c.total_us)::bigint, sum(c.dns_us)::bigint, sum(c.connect_us)::bigint, sum(c.tls_us)::bigint,
        sum(c.wait_us)::bigint, sum(c.transfer_us)::bigint,
        coalesce(sum(c.scans) FILTER (WHERE c.class = 'good'), 0)::integer,
        coalesce(sum(c.scans) FILTER (WHERE c.class = 'slow'), 0)::integer,
        coalesce(sum(c.scans) FILTER (WHERE c.class = 'failed'), 0)::integer,
        coalesce(sum(c.scans) FILTER (WHERE c.class = 'inconclusive'), 0)::integer,
        min(c.min_us), max(c.max_us),
        merge_histograms(array_agg(1000000 * c.bucket + c.scans) FILTER (WHERE c.bucket IS NOT NULL))
    FROM (
        SELECT
            s.bin, s.monitor_id, s.class, s.bucket, count(*)::integer AS scans, sum(s.good_us) AS total_us,
            sum(s.dns_us) FILTER (WHERE s.bucket IS NOT NULL) AS dns_us,
            sum(s.connect_us) FILTER (WHERE s.bucket IS NOT NULL) AS connect_us,
            sum(s.tls_us) FILTER (WHERE s.bucket IS NOT NULL) AS tls_us,
            sum(s.wait_us) FILTER (WHERE s.bucket IS NOT NULL) AS wait_us,
            sum(s.transfer_us) FILTER (WHERE s.bucket IS NOT NULL) AS transfer_us,
            min(s.good_us) AS min_us, max(s.good_us) AS max_us
        FROM (
            SELECT
                l.*, date_bin(step, l.slot, TIMESTAMPTZ '2000-01-01 00:00:00+00') AS bin, outcome_class(l.outcome) AS class,
                CASE WHEN l.outcome IN ('ok', 'ok_truncated', 'ok_slow') THEN l.total_us END AS good_us,
                CASE WHEN l.outcome IN ('ok', 'ok_truncated', 'ok_slow') THEN latency_bucket(l.total_us) END AS bucket
            FROM ( -- one of both, as the planner knows which
                SELECT a.* FROM monitor_log AS a
                WHERE ids IS NULL AND a.slot >= since AND a.slot < until AND a.monitor_id >= since_id AND a.monitor_id < until_id
                UNION ALL
                SELECT b.* FROM unnest(ids) AS id CROSS JOIN LATERAL monitor_scans(id, since, until) AS b
            ) AS l
        ) AS s
        GROUP BY s.bin, s.monitor_id, s.class, s.bucket
    ) AS c
    GROUP BY c.bin, c.monitor_id
    ORDER BY c.bin, c.monitor_id;
END
$$;

-- roll_up_hour computes an hour of monitors, as summed_scans has them, and gives how many had a scan.
CREATE FUNCTION roll_up_hour(hour timestamptz, since_id bigint, until_id bigint, ids bigint[]) RETURNS bigint
LANGUAGE plpgsql
AS $$
#variable_conflict use_variable
DECLARE
    rolled bigint;
BEGIN
    INSERT INTO scan_hours AS h
    SELECT * FROM summed_scans(hour, hour + INTERVAL '1 hour', INTERVAL '1 hour', since_id, until_id, ids)
    ON CONFLICT ON CONSTRAINT scan_hours_pkey DO UPDATE SET
        total_us = excluded.total_us, dns_us = excluded.dns_us, connect_us = excluded.connect_us, tls_us = excluded.tls_us,
        wait_us = excluded.wait_us, transfer_us = excluded.transfer_us, good = excluded.good, slow = excluded.slow,
        failed = excluded.failed, inconclusive = excluded.inconclusive, min_us = excluded.min_us, max_us = excluded.max_us,
        histogram = excluded.histogram;
    GET DIAGNOSTICS rolled = ROW_COUNT;
    RETURN rolled;
END
$$;

-- roll_up_day merges the hours of a day, of monitors as summed_scans has them.
CREATE FUNCTION roll_up_day(day timestamptz, since_id bigint, until_id bigint, ids bigint[]) RETURNS bigint
LANGUAGE plpgsql
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
AS $$
#variable_conflict use_variable
DECLARE
    until timestamptz := day + INTERVAL '1 day';
    rolled bigint;
BEGIN
    INSERT INTO scan_days AS d
    SELECT
        day, monitor_id, sum(total_us), sum(dns_us), sum(connect_us), sum(tls_us), sum(wait_us), sum(transfer_us),
        sum(good), sum(slow), sum(failed), sum(inconclusive), min(min_us), max(max_us),
        histogram_sum(histogram)
    FROM scan_hours AS h
    WHERE
        h.from_at >= day AND h.from_at < until
        AND CASE WHEN ids IS NULL THEN h.monitor_id >= since_id AND h.monitor_id < until_id ELSE h.monitor_id = ANY(ids) END
    GROUP BY monitor_id
    ORDER BY monitor_id
    ON CONFLICT ON CONSTRAINT scan_days_pkey DO UPDATE SET
        total_us = excluded.total_us, dns_us = excluded.dns_us, connect_us = excluded.connect_us, tls_us = excluded.tls_us,
        wait_us = excluded.wait_us, transfer_us = excluded.transfer_us, good = excluded.good, slow = excluded.slow,
        failed = excluded.failed, inconclusive = excluded.inconclusive, min_us = excluded.min_us, max_us = excluded.max_us,
        histogram = excluded.histogram;
    GET DIAGNOSTICS rolled = ROW_COUNT;
    RETURN rolled;
END
$$;

CREATE TABLE status_changes (
    monitor_id bigint NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    status text NOT NULL,
    outcome text,
    PRIMARY KEY (monitor_id, id)
);

COMMENT ON TABLE status_changes IS 'How the statuses of monitors changed. Nothing is ever changed here: a row holds from its at on, in place of all rows of its monitor before it (by id) whose at is not earlier. So what a blind worker wrote is corrected by a row with an earlier at.';
COMMENT ON COLUMN status_changes.at IS 'The slot of the scan, or the instant of the request, that led to the status.';
COMMENT ON COLUMN status_changes.outcome IS 'Of the scan that led to it. Null: somebody changed the monitor, or scans of a blind worker were taken back.';

CREATE INDEX status_changes_at ON status_changes (at);

-- chunks_of gives the chunks of a hypertable, oldest first, with what they take on disk: rows, indexes and what is too long for
-- a row.
CREATE FUNCTION chunks_of(hypertable text) RETURNS TABLE (chunk text, from_at timestamptz, until_at timestamptz, bytes bigint)
LANGUAGE sql STABLE
AS $$
    SELECT
        format('%I.%I', chunk_schema, chunk_name), range_start, range_end,
        coalesce(pg_total_relation_size(to_regclass(format('%I.%I', chunk_schema, chunk_name))), 0)
    FROM timescaledb_information.chunks
    WHERE hypertable_schema = current_schema() AND hypertable_name = hypertable
    ORDER BY range_start
$$;

-- drop_history drops the chunks of a hypertable that end at before or earlier.
CREATE FUNCTION drop_history(hypertable text, before timestamptz) RETURNS bigint
LANGUAGE sql
AS $$
    SELECT count(*) FROM drop_chunks(hypertable::regclass, older_than => before)
$$;

-- unsealed_chunk gives the oldest chunk of the log that ended before at and has no valid index on monitor_id, and the name of the
-- index that is invalid, if one is: who was making it died.
CREATE FUNCTION unsealed_chunk(at timestamptz) RETURNS TABLE (chunk text, broken text)
LANGUAGE sql STABLE
AS $$
    SELECT c.chunk, i.name
    FROM chunks_of('monitor_log') AS c
    LEFT JOIN LATERAL (
        SELECT x.indexrelid::regclass::text AS name, x.indisvalid AS valid
        FROM pg_index AS x
        WHERE
            x.indrelid = c.chunk::regclass AND x.indnatts = 1 AND x.indpred IS NULL
            AND x.indkey[0] = (
                SELECT attnum FROM pg_attribute WHERE attrelid = c.chunk::regclass AND attname = 'monitor_id'
            )
    ) AS i ON true
    WHERE c.until_at < at AND i.valid IS NOT TRUE
    ORDER BY c.from_at
    LIMIT 1
$$;

---- create above / drop below ----

DROP FUNCTION unsealed_chunk(timestamptz);
DROP FUNCTION drop_history(text, timestamptz);
DROP FUNCTION chunks_of(text);
DROP TABLE status_changes;
DROP FUNCTION roll_up_day(timestamptz, bigint, bigint, bigint[]);
DROP FUNCTION roll_up_hour(timestamptz, bigint, bigint, bigint[]);
DROP FUNCTION summed_scans(timestamptz, timestamptz, interval, bigint, bigint, bigint[]);
DROP FUNCTION mark_stale_hours(timestamptz[], bigint[]);
DROP FUNCTION writers_of_log();
DROP FUNCTION hour_is_closed(timestamptz);
DROP TABLE stale_hours;
DROP TABLE history_progress;
DROP TABLE scan_days;
DROP TABLE scan_hours;
DROP FUNCTION percentile_of(integer[], double precision);
DROP AGGREGATE histogram_sum(integer[]);
DROP FUNCTION merge_histograms(integer[]);
DROP FUNCTION latency_bucket(bigint);
DROP FUNCTION outcome_class(text);
DROP FUNCTION day_of(timestamptz);
DROP FUNCTION hour_of(timestamptz);
