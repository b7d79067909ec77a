-- Promises against what came of them, for people with psql and for the tend job.

-- slots_of gives the slots of an interval and phase from since until before until.
CREATE FUNCTION slots_of(interval_seconds integer, phase_ms integer, since timestamptz, until timestamptz)
RETURNS SETOF timestamptz
LANGUAGE sql STABLE
AS $$
    SELECT to_timestamp(ms / 1000.0::double precision) -- exact for quarters of a second
    FROM (
        SELECT
            ceil(extract(epoch FROM since) * 1000)::bigint AS low,
            ceil(extract(epoch FROM until) * 1000)::bigint - 1 AS high,
            1000 * interval_seconds::bigint AS interval_ms
    ) AS range
    CROSS JOIN LATERAL generate_series(
        low + ((phase_ms - low) % interval_ms + interval_ms) % interval_ms, high, interval_ms
    ) AS ms
$$;

-- promised_slots gives each (slot, monitor) that was promised from since until before until.
CREATE FUNCTION promised_slots(since timestamptz, until timestamptz)
RETURNS TABLE (slot timestamptz, monitor_id bigint, interval_seconds integer, phase_ms integer)
LANGUAGE sql STABLE
AS $$
    WITH range AS MATERIALIZED ( -- worked out once, not for each schedule
        SELECT
            ceil(extract(epoch FROM since) * 1000)::bigint AS low,
            ceil(extract(epoch FROM until) * 1000)::bigint AS high
    )
    SELECT slot, s.monitor_id, s.interval_seconds, s.phase_ms
    FROM range
    CROSS JOIN monitor_schedules AS s
    CROSS JOIN LATERAL slots_of(
        s.interval_seconds, s.phase_ms, greatest(since, s.from_at), least(until, s.until_at)
    ) AS slot
    WHERE
        s.from_at < until AND (s.until_at IS NULL OR s.until_at > since)
        -- Most schedules of long intervals have no slot in a range of minutes: to see that is cheaper than to ask for them.
        AND ((s.phase_ms - low) % (1000 * s.interval_seconds) + 1000 * s.interval_seconds) % (1000 * s.interval_seconds)
            < high - low
$$;

-- round_monitors gives the active monitors to which the round of an interval and phase at a slot is promised. It is STABLE and
-- one query, so that it becomes part of the query that asks it, and that one's plan.
CREATE FUNCTION round_monitors(interval_seconds integer, phase_ms integer, slot timestamptz) RETURNS SETOF monitors
LANGUAGE sql STABLE
AS $$
    SELECT m.*
    FROM monitors AS m
    WHERE
        m.interval_seconds = round_monitors.interval_seconds AND m.phase_ms = round_monitors.phase_ms
        AND m.paused_at IS NULL AND m.deleted_at IS NULL
        -- No join: the planner, before it has seen statistics of a new fleet, reads all schedules for each monitor of the round.
        AND (
            SELECT s.from_at FROM monitor_schedules AS s WHERE s.monitor_id = m.id AND s.until_at IS NULL
        ) <= round_monitors.slot
$$;

-- unscanned_round_monitors gives those of round_monitors with ids from since_id until before until_id that have no row for the
-- slot.
CREATE FUNCTION unscanned_round_monitors(
    interval_seconds integer, phase_ms integer, slot timestamptz, since_id bigint, until_id bigint
) RETURNS SETOF monitors
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_custom_plan -- one for every slot would lock all chunks of the log
AS $$
#variable_conflict use_variable
BEGIN
    RETURN QUERY
    SELECT m.*
    FROM round_monitors(interval_seconds, phase_ms, slot) AS m
    WHERE
        m.id >= since_id AND m.id < until_id
        AND NOT EXISTS (SELECT 1 FROM monitor_log AS l WHERE l.slot = slot AND l.monitor_id = m.id OFFSET 0)
    ORDER BY m.id;
END
$$;

-- live_rounds gives the rounds that are still to scan or to account for a slot. A sibling has a part, which is not 0.
CREATE FUNCTION live_rounds()
RETURNS TABLE (interval_seconds integer, phase_ms integer, slot timestamptz, part bigint)
LANGUAGE sql STABLE
AS $$
    SELECT
        (args ->> 'interval')::integer, (args ->> 'phase_ms')::integer, (args ->> 'slot')::timestamptz,
        coalesce((args ->> 'part')::bigint, 0)
    FROM river_job
    WHERE kind = 'round' AND state IN ('available', 'pending', 'retryable', 'running', 'scheduled')
$$;

-- unaccounted_slots gives each promised (slot, monitor) that has neither a row nor a gap. A slot of the last few
-- minutes may still be at work; an older one in this list would be a fault of ours.
CREATE FUNCTION unaccounted_slots(since timestamptz, until timestamptz)
RETURNS TABLE (slot timestamptz, monitor_id bigint, interval_seconds integer, phase_ms integer)
LANGUAGE sql STABLE
AS $$
    SELECT p.slot, p.monitor_id, p.interval_seconds, p.phase_ms
    FROM promised_slots(since, until) AS p
    LEFT JOIN (
        SELECT slot, monitor_id FROM monitor_log
        WHERE slot >= since AND slot < until
        OFFSET 0 -- a query of its own, with a range of its own: else all chunks of the log are locked
    ) AS l ON l.slot = p.slot AND l.monitor_id = p.monitor_id
    WHERE
        l.slot IS NULL
        -- Two questions: after an overload there are very many gaps of single monitors, which are found by equality alone.
        AND NOT EXISTS (
            SELECT 1 FROM scan_gaps AS g
            WHERE g.from_slot = p.slot AND g.monitor_id = p.monitor_id AND g.from_slot >= since AND g.from_slot < until
        )
        AND NOT EXISTS (
            SELECT 1 FROM scan_gaps AS g
            WHERE
                g.monitor_id IS NULL AND g.interval_seconds = p.interval_seconds AND g.phase_ms = p.phase_ms
                AND p.slot BETWEEN g.from_slot AND g.to_slot
        )
$$;

-- monitor_scans gives the log of one monitor from since until before until. The key of monitor_log begins with the
-- slot, so this asks for the slots that its schedules name, and for the scans outside rounds. A scan that was at work
-- when its schedule was closed lies at the end of it or just behind, so each is asked for a slot more at either end.
CREATE FUNCTION monitor_scans(id bigint, since timestamptz, until timestamptz)
RETURNS SETOF monitor_log
LANGUAGE sql STABLE
AS $$
    SELECT l.* FROM monitor_log AS l
    WHERE
        l.slot = ANY(ARRAY( -- one search for all of them; joined, each would choose its chunk anew
            SELECT DISTINCT slot
            FROM monitor_schedules AS s
            CROSS JOIN LATERAL slots_of(
                s.interval_seconds,
                s.phase_ms,
                greatest(since, s.from_at) - make_interval(secs => s.interval_seconds),
                least(until, s.until_at) + make_interval(secs => s.interval_seconds) + INTERVAL '1 microsecond'
            ) AS slot
            WHERE
                s.monitor_id = id AND s.from_at < until
                AND (s.until_at IS NULL OR s.until_at + make_interval(secs => s.interval_seconds) >= since)
        ))
        AND l.monitor_id = id AND l.slot >= since AND l.slot < until AND l.reason = 'round'
    UNION ALL
    SELECT * FROM monitor_log AS m
    WHERE m.monitor_id = id AND m.reason <> 'round' AND m.slot >= since AND m.slot < until
$$;

-- declare_gaps declares, of each of some intervals and phases, the slots from one to another, both included, if any of them was
-- promised and has neither a row nor a gap. A gap begins at the first slot that is in no gap of all monitors yet, and ends before
-- the next such gap.
CREATE FUNCTION declare_gaps(
    intervals_seconds integer[], phases_ms integer[], from_slots timestamptz[], to_slots timestamptz[], reason text, at timestamptz
) RETURNS TABLE (interval_seconds integer, phase_ms integer, from_slot timestamptz, to_slot timestamptz)
LANGUAGE plpgsql
SET plan_cache_mode = force_custom_plan -- for the range from low to high, lest all chunks of the log be locked
AS $$
#variable_conflict use_column
DECLARE
    low timestamptz := (SELECT min(slot) FROM unnest(from_slots) AS slot);
    high timestamptz := (SELECT max(slot) FROM unnest(to_slots) AS slot) + INTERVAL '1 second';
BEGIN
    RETURN QUERY
    INSERT INTO scan_gaps AS declared (interval_seconds, phase_ms, from_slot, to_slot, reason, declared_at)
    SELECT gap.interval_seconds, gap.phase_ms, start.slot, stop.slot, declare_gaps.reason, declare_gaps.at
    FROM unnest(intervals_seconds, phases_ms, from_slots, to_slots) AS gap (interval_seconds, phase_ms, from_slot, to_slot)
    CROSS JOIN LATERAL (
        SELECT min(slot) AS slot
        FROM slots_of(gap.interval_seconds, gap.phase_ms, gap.from_slot, gap.to_slot + INTERVAL '1 second') AS slot
        WHERE NOT EXISTS (
            SELECT 1 FROM scan_gaps AS g
            WHERE
                g.interval_seconds = gap.interval_seconds AND g.phase_ms = gap.phase_ms AND g.monitor_id IS NULL
                AND slot BETWEEN g.from_slot AND g.to_slot
        )
    ) AS start
    CROSS JOIN LATERAL (
        SELECT least(gap.to_slot, min(g.from_slot) - make_interval(secs => gap.interval_seconds)) AS slot
        FROM scan_gaps AS g
        WHERE
            g.interval_seconds = gap.interval_seconds AND g.phase_ms = gap.phase_ms AND g.monitor_id IS NULL
            AND g.to_slot > start.slot AND g.from_slot > start.slot
    ) AS stop
    WHERE
        start.slot <= stop.slot
        AND EXISTS (
            SELECT 1 FROM promised_slots(low, high) AS u
            WHERE
                u.interval_seconds = gap.interval_seconds AND u.phase_ms = gap.phase_ms
                AND u.slot >= start.slot AND u.slot <= stop.slot
                AND NOT EXISTS (
                    SELECT 1 FROM monitor_log AS l
                    WHERE l.slot = u.slot AND l.monitor_id = u.monitor_id AND l.slot >= low AND l.slot < high
                    OFFSET 0 -- a query of its own, so that its range is known
                )
                AND NOT EXISTS (
                    SELECT 1 FROM scan_gaps AS g
                    WHERE
                        g.interval_seconds = u.interval_seconds AND g.phase_ms = u.phase_ms AND g.monitor_id = u.monitor_id
                        AND u.slot = g.from_slot
                )
            OFFSET 0 -- for one gap after the other, each by its index
        )
    ON CONFLICT DO NOTHING
    RETURNING declared.interval_seconds, declared.phase_ms, declared.from_slot, declared.to_slot;
END
$$;

-- declare_monitor_gaps declares one slot of those of some monitors that have no row for it. A row of theirs that is being
-- written is waited for: the key of the log is taken for a moment, as if by a row of our own. Whoever writes a row after that
-- waits for us, and finds the gap. So there is a row or a gap, and never both.
CREATE FUNCTION declare_monitor_gaps(
    interval_seconds integer, phase_ms integer, slot timestamptz, ids bigint[], reason text, at timestamptz
) RETURNS void
LANGUAGE plpgsql
SET plan_cache_mode = force_custom_plan -- one for every slot would lock all chunks of the log
AS $$
#variable_conflict use_variable
DECLARE
    missed bigint[];
    chunk regclass; -- one slot's
BEGIN
    WITH taken AS (
        INSERT INTO monitor_log AS l (slot, monitor_id, late_ms, total_us, monitor_version, outcome, reason, worker)
        SELECT slot, id, 0, 0, 0, 'inconclusive', 'round', ''
        FROM unnest(ids) AS id
        ORDER BY id -- as the recorder does, lest two transactions deadlock
        ON CONFLICT DO NOTHING
        RETURNING l.monitor_id, l.tableoid
    )
    SELECT array_agg(taken.monitor_id), min(taken.tableoid::bigint)::oid INTO missed, chunk FROM taken;
    IF missed IS NULL THEN
        RETURN;
    END IF;

    EXECUTE format('DELETE FROM %s WHERE slot = $1 AND monitor_id = ANY($2)', chunk) USING slot, missed;

    INSERT INTO scan_gaps (interval_seconds, phase_ms, monitor_id, from_slot, to_slot, reason, declared_at)
    SELECT interval_seconds, phase_ms, id, slot, slot, reason, at
    FROM unnest(missed) AS id
    ON CONFLICT DO NOTHING;
END
$$;

CREATE TABLE tend_progress (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    checked_until timestamptz NOT NULL
);

COMMENT ON TABLE tend_progress IS 'How far tend has compared promises with what came of them: one row.';

---- create above / drop below ----

DROP TABLE tend_progress;
DROP FUNCTION declare_gaps(integer[], integer[], timestamptz[], timestamptz[], text, timestamptz);
DROP FUNCTION declare_monitor_gaps(integer, integer, timestamptz, bigint[], text, timestamptz);
DROP FUNCTION monitor_scans(bigint, timestamptz, timestamptz);
DROP FUNCTION unaccounted_slots(timestamptz, timestamptz);
DROP FUNCTION live_rounds();
DROP FUNCTION unscanned_round_monitors(integer, integer, timestamptz, bigint, bigint);
DROP FUNCTION round_monitors(integer, integer, timestamptz);
DROP FUNCTION promised_slots(timestamptz, timestamptz);
DROP FUNCTION slots_of(integer, integer, timestamptz, timestamptz);
