-- Promises against what came of them, for people with psql and for the tend job.

-- promised_slots gives each (slot, monitor) that was promised from since until before until.
CREATE FUNCTION promised_slots(since timestamptz, until timestamptz)
RETURNS TABLE (slot timestamptz, monitor_id bigint, interval_seconds integer, phase integer)
LANGUAGE sql STABLE
AS $$
    SELECT to_timestamp(second), s.monitor_id, s.interval_seconds, s.phase
    FROM monitor_schedules AS s
    CROSS JOIN LATERAL (
        SELECT
            ceil(extract(epoch FROM greatest(since, s.from_at)))::bigint AS low,
            ceil(extract(epoch FROM least(until, s.until_at)))::bigint - 1 AS high
    ) AS range
    CROSS JOIN LATERAL generate_series(
        low + ((s.phase - low) % s.interval_seconds + s.interval_seconds) % s.interval_seconds,
        high,
        s.interval_seconds
    ) AS second
    WHERE s.from_at < until AND (s.until_at IS NULL OR s.until_at > since)
$$;

-- unaccounted_slots gives each promised (slot, monitor) that has neither a row nor a gap. A slot of the last few
-- minutes may still be at work; an older one in this list would be a fault of ours.
CREATE FUNCTION unaccounted_slots(since timestamptz, until timestamptz)
RETURNS TABLE (slot timestamptz, monitor_id bigint, interval_seconds integer, phase integer)
LANGUAGE sql STABLE
AS $$
    SELECT p.slot, p.monitor_id, p.interval_seconds, p.phase
    FROM promised_slots(since, until) AS p
    WHERE
        NOT EXISTS (
            SELECT 1 FROM monitor_log AS l
            WHERE l.slot = p.slot AND l.monitor_id = p.monitor_id AND l.slot >= since AND l.slot < until
        )
        AND NOT EXISTS (
            SELECT 1 FROM scan_gaps AS g
            WHERE
                g.interval_seconds = p.interval_seconds AND g.phase = p.phase
                AND p.slot BETWEEN g.from_slot AND g.to_slot
                AND (g.monitor_id IS NULL OR g.monitor_id = p.monitor_id)
        )
$$;

-- monitor_scans gives the log of one monitor from since until before until. The key of monitor_log begins with the
-- slot, so this asks for the slots that its schedules name, a slot more at either end, and for the scans outside rounds.
CREATE FUNCTION monitor_scans(id bigint, since timestamptz, until timestamptz)
RETURNS SETOF monitor_log
LANGUAGE sql STABLE
AS $$
    SELECT l.*
    FROM (
        SELECT DISTINCT to_timestamp(second) AS slot
        FROM monitor_schedules AS s
        CROSS JOIN LATERAL (
            SELECT
                ceil(extract(epoch FROM greatest(since, s.from_at)))::bigint - s.interval_seconds AS low,
                ceil(extract(epoch FROM least(until, s.until_at)))::bigint AS high
        ) AS range
        CROSS JOIN LATERAL generate_series(
            low + ((s.phase - low) % s.interval_seconds + s.interval_seconds) % s.interval_seconds,
            high,
            s.interval_seconds
        ) AS second
        WHERE s.monitor_id = id AND s.from_at < until AND (s.until_at IS NULL OR s.until_at >= since)
    ) AS due
    CROSS JOIN LATERAL (
        SELECT * FROM monitor_log AS m
        WHERE m.slot = due.slot AND m.monitor_id = id AND m.slot >= since AND m.slot < until
    ) AS l
    WHERE l.reason = 'round'
    UNION ALL
    SELECT * FROM monitor_log AS m
    WHERE m.monitor_id = id AND m.reason <> 'round' AND m.slot >= since AND m.slot < until
$$;

-- How far tend has compared promises with what came of them: one row.
CREATE TABLE tend_progress (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    checked_until timestamptz NOT NULL
);

---- create above / drop below ----

DROP TABLE tend_progress;
DROP FUNCTION monitor_scans(bigint, timestamptz, timestamptz);
DROP FUNCTION unaccounted_slots(timestamptz, timestamptz);
DROP FUNCTION promised_slots(timestamptz, timestamptz);
