-- Slots lie on quarters of a second, so that fewer scans of a large fleet are due at the same instant. Monitors that are
-- there keep their phases. double precision holds quarters exactly. An older program cannot read phases that are no whole
-- seconds: its processes are to be stopped first.

ALTER TABLE monitors
    ALTER COLUMN phase TYPE double precision,
    ADD CONSTRAINT monitors_phase_quarters CHECK (phase * 4 = floor(phase * 4));
ALTER TABLE monitor_schedules ALTER COLUMN phase TYPE double precision;
ALTER TABLE scan_gaps ALTER COLUMN phase TYPE double precision;

COMMENT ON COLUMN monitors.phase IS 'Seconds, in quarters. The slots are the instants t with t mod interval_seconds = phase, in Unix time.';
COMMENT ON COLUMN monitor_log.slot IS 'When the scan was due: a slot of the monitor''s schedule, or, for a scan outside rounds, the instant it was asked for, which is never a quarter of a second.';
COMMENT ON COLUMN operator_alerts.kind IS 'no_sight: a worker cannot see the network. clock_skew: the clocks of a process and of the database differ.';
COMMENT ON COLUMN scan_gaps.reason IS 'service_down: no worker ran, or none reached the database. worker_lost: the worker died with the scan open. overloaded: no probe was free in time, no worker had time, or no room for its result. internal_error: a fault of ours. unaccounted: found missing by tend.';

DROP FUNCTION unaccounted_slots(timestamptz, timestamptz);
DROP FUNCTION promised_slots(timestamptz, timestamptz);

-- slots_of gives the slots of an interval and phase from since until before until.
CREATE FUNCTION slots_of(interval_seconds integer, phase double precision, since timestamptz, until timestamptz)
RETURNS SETOF timestamptz
LANGUAGE sql STABLE
AS $$
    SELECT to_timestamp(phase + interval_seconds * turn)
    FROM generate_series(
        ceil((date_part('epoch', since) - phase) / interval_seconds)::bigint,
        ceil((date_part('epoch', until) - phase) / interval_seconds)::bigint - 1
    ) AS turn
$$;

CREATE FUNCTION promised_slots(since timestamptz, until timestamptz)
RETURNS TABLE (slot timestamptz, monitor_id bigint, interval_seconds integer, phase double precision)
LANGUAGE sql STABLE
AS $$
    SELECT slot, s.monitor_id, s.interval_seconds, s.phase
    FROM monitor_schedules AS s
    CROSS JOIN LATERAL slots_of(
        s.interval_seconds, s.phase, greatest(since, s.from_at), least(until, s.until_at)
    ) AS slot
    WHERE
        s.from_at < until AND (s.until_at IS NULL OR s.until_at > since)
        -- Most schedules of long intervals have no slot in a range of minutes: to see that is cheaper than to ask for them.
        AND ceil((date_part('epoch', since) - s.phase) / s.interval_seconds)
        < ceil((date_part('epoch', until) - s.phase) / s.interval_seconds)
$$;

CREATE FUNCTION unaccounted_slots(since timestamptz, until timestamptz)
RETURNS TABLE (slot timestamptz, monitor_id bigint, interval_seconds integer, phase double precision)
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

-- A scan that was at work when its schedule was closed lies at the end of it or just behind, so each is asked for a slot
-- more at either end.
CREATE OR REPLACE FUNCTION monitor_scans(id bigint, since timestamptz, until timestamptz)
RETURNS SETOF monitor_log
LANGUAGE sql STABLE
AS $$
    SELECT l.*
    FROM (
        SELECT DISTINCT slot
        FROM monitor_schedules AS s
        CROSS JOIN LATERAL slots_of(
            s.interval_seconds,
            s.phase,
            greatest(since, s.from_at) - make_interval(secs => s.interval_seconds),
            least(until, s.until_at) + make_interval(secs => s.interval_seconds) + INTERVAL '1 microsecond'
        ) AS slot
        WHERE
            s.monitor_id = id AND s.from_at < until
            AND (s.until_at IS NULL OR s.until_at + make_interval(secs => s.interval_seconds) >= since)
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

---- create above / drop below ----

-- The older program cannot read these rounds. Its tend makes others.
DELETE FROM river_job
WHERE kind = 'round' AND finalized_at IS NULL AND (args ->> 'phase')::numeric % 1 <> 0;

DROP FUNCTION unaccounted_slots(timestamptz, timestamptz);
DROP FUNCTION promised_slots(timestamptz, timestamptz);

ALTER TABLE monitors
    DROP CONSTRAINT monitors_phase_quarters,
    ALTER COLUMN phase TYPE integer USING floor(phase);
ALTER TABLE monitor_schedules ALTER COLUMN phase TYPE integer USING floor(phase);
ALTER TABLE scan_gaps ALTER COLUMN phase TYPE integer USING floor(phase);

COMMENT ON COLUMN monitors.phase IS 'Seconds. The slots are the instants t with t mod interval_seconds = phase, in Unix time.';
COMMENT ON COLUMN monitor_log.slot IS 'When the scan was due: a slot of the monitor''s schedule, or, for a scan outside rounds, the instant it was asked for, which is never a whole second.';
COMMENT ON COLUMN operator_alerts.kind IS 'no_sight: a worker cannot see the network.';
COMMENT ON COLUMN scan_gaps.reason IS 'service_down: no worker ran. worker_lost: the worker died with the scan open. overloaded: no probe was free in time, or no room for its result. internal_error: a fault of ours. unaccounted: found missing by tend.';

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

CREATE OR REPLACE FUNCTION monitor_scans(id bigint, since timestamptz, until timestamptz)
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

DROP FUNCTION slots_of(integer, double precision, timestamptz, timestamptz);
