-- What must hold in the tables after a fault, as questions: each asks for what breaks the rule, and must find nothing.
-- The tables of the schema chaos hold what was observed from outside: acknowledged by the API (chaos.acknowledged), read
-- from the log at some time (chaos.seen), requested of the target (chaos.hits). To look at a failed run yourself, see
-- what runs in world.check.
--
--   @since, @until              the slots to look at
--   @stopped                    when the workers were told to stop
--   @lost_may                   whether a round may still be a dead worker's, whom nobody misses for 60 to 90 s
--   @hurt_from, @hurt_until     when the fault hurt what all scans need
--   @late_ms                    how late a scan may be at other times
--   @reasons                    the reasons that gaps may have
--   @tend_may                   whether tend may have found something
--   @sick_may                   whether the target may have been found failing
--   @clock_may                  whether database and workers had different clocks

-- check: a slot has two jobs, however each of them writes it (River's own rule compares the text)
SELECT concat_ws(' ', j.interval_seconds, j.phase_ms, j.slot, j.part) || ' has ' || count(*) || ' jobs'
FROM (
    SELECT
        (args ->> 'interval')::integer AS interval_seconds, (args ->> 'phase_ms')::integer AS phase_ms,
        (args ->> 'slot')::timestamptz AS slot, coalesce((args ->> 'part')::bigint, 0) AS part
    FROM river_job WHERE kind = 'round'
) AS j
GROUP BY j.interval_seconds, j.phase_ms, j.slot, j.part
HAVING count(*) > 1;

-- check: a slot of a monitor has a row and a gap of that monitor (a gap of a whole phase is of those without a row)
SELECT 'monitor ' || l.monitor_id || ' at ' || l.slot || ': ' || l.outcome || ' and ' || g.reason
FROM scan_gaps AS g
JOIN monitor_log AS l ON l.slot = g.from_slot AND l.monitor_id = g.monitor_id;

-- check: a slot has two gaps of a monitor, by whichever schedule, or two of a whole phase
SELECT concat_ws(' ', g.interval_seconds, g.phase_ms, 'monitor ' || g.monitor_id, g.reason, 'from', g.from_slot, 'and before until', g.before)
FROM (
    SELECT *, max(to_slot) OVER (
        PARTITION BY monitor_id, CASE WHEN monitor_id IS NULL THEN ARRAY[interval_seconds, phase_ms] END
        ORDER BY from_slot, to_slot ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS before
    FROM scan_gaps
) AS g
WHERE g.from_slot <= g.before;

-- check: a promised slot has neither a row nor a gap, and no round that is still to see to it
SELECT 'monitor ' || u.monitor_id || ' at ' || u.slot
FROM unaccounted_slots(@since, @until) AS u
WHERE NOT EXISTS (
    SELECT 1 FROM live_rounds() AS r
    WHERE
        r.interval_seconds = u.interval_seconds AND r.phase_ms = u.phase_ms AND r.slot <= u.slot
        AND (@lost_may OR u.slot >= @stopped::timestamptz - make_interval(secs => u.interval_seconds))
);

-- check: a monitor that the API acknowledged is lost, or nothing promises to scan it, or a deleted one stands somewhere
SELECT 'monitor ' || a.monitor_id
FROM chaos.acknowledged AS a
LEFT JOIN monitors AS m ON m.id = a.monitor_id
WHERE
    m.id IS NULL
    OR (m.deleted_at IS NULL) <> EXISTS (SELECT 1 FROM monitor_states AS s WHERE s.monitor_id = m.id)
    OR (m.paused_at IS NULL AND m.deleted_at IS NULL) <> EXISTS (
        SELECT 1 FROM monitor_schedules AS s
        WHERE
            s.monitor_id = m.id AND s.until_at IS NULL
            AND s.interval_seconds = m.interval_seconds AND s.phase_ms = m.phase_ms
    );

-- check: an active monitor has no live round, so that it would never be scanned again
SELECT 'monitor ' || m.id
FROM monitors AS m
WHERE
    m.paused_at IS NULL AND m.deleted_at IS NULL
    AND NOT EXISTS (
        SELECT 1 FROM live_rounds() AS r
        WHERE r.interval_seconds = m.interval_seconds AND r.phase_ms = m.phase_ms
    );

-- check: a row of the log that somebody had read is gone, or is another one now
SELECT 'monitor ' || s.monitor_id || ' at ' || s.slot || ': ' || s.outcome || ', now ' || coalesce(l.outcome, 'gone')
FROM chaos.seen AS s
LEFT JOIN monitor_log AS l ON l.slot = s.slot AND l.monitor_id = s.monitor_id
WHERE l.outcome IS DISTINCT FROM s.outcome AND s.slot >= @since;

-- check: a scan failed though the target answered all that it was asked as it should
SELECT
    'monitor ' || l.monitor_id || ' at ' || l.slot || ': ' || l.outcome || ' ' || coalesce(l.error, '') || ', late '
    || l.late_ms || ' ms, took ' || l.total_us || ' us, by ' || l.worker
FROM monitor_log AS l
JOIN monitors AS m ON m.id = l.monitor_id
WHERE
    NOT @sick_may
    AND l.outcome NOT IN ('ok', 'ok_truncated', 'ok_slow', 'inconclusive')
    AND NOT EXISTS (
        SELECT 1 FROM chaos.hits AS h
        WHERE
            m.url LIKE '%' || h.path AND NOT h.well
            AND h.at BETWEEN l.slot - INTERVAL '1 second'
            AND l.slot + make_interval(secs => l.late_ms / 1e3 + l.total_us / 1e6 + 1)
    );

-- check: a monitor is held to be down, or in doubt, whose target was always well
SELECT 'monitor ' || s.monitor_id || ' is ' || s.status || ' with ' || s.failures || ' failures'
FROM monitor_states AS s
JOIN monitors AS m ON m.id = s.monitor_id
WHERE
    NOT @sick_may
    AND (s.status IN ('down', 'unknown') OR s.failures > 0)
    AND NOT EXISTS (SELECT 1 FROM chaos.hits AS h WHERE m.url LIKE '%' || h.path AND NOT h.well);

-- check: a monitor has a good scan of its present version and is not up
SELECT 'monitor ' || s.monitor_id || ' is ' || s.status
FROM monitor_states AS s
JOIN monitors AS m ON m.id = s.monitor_id
WHERE
    m.paused_at IS NULL AND m.deleted_at IS NULL AND NOT @sick_may
    AND s.status NOT IN ('up', 'degraded')
    AND EXISTS (
        SELECT 1 FROM monitor_log AS l
        WHERE
            l.monitor_id = m.id AND l.monitor_version = m.version AND l.outcome IN ('ok', 'ok_truncated')
            AND l.slot > s.judged_slot AND l.slot >= @since
    );

-- check: a gap has a reason that this fault does not give
SELECT g.reason || ' from ' || g.from_slot || ' to ' || g.to_slot || ', phase ' || g.phase_ms || ' ms' || ', monitor ' || coalesce(g.monitor_id::text, 'all')
FROM scan_gaps AS g
WHERE g.reason <> ALL(@reasons);

-- check: a scan that the fault does not hinder is late
SELECT 'monitor ' || l.monitor_id || ' at ' || l.slot || ' by ' || l.late_ms || ' ms'
FROM monitor_log AS l
WHERE l.reason = 'round' AND l.late_ms > @late_ms AND l.slot NOT BETWEEN @hurt_from AND @hurt_until AND l.slot >= @since;

-- check: a scan ran before its slot, or took less than no time
SELECT 'monitor ' || l.monitor_id || ' at ' || l.slot || ' by ' || l.late_ms || ' ms, took ' || l.total_us || ' us'
FROM monitor_log AS l
WHERE (l.late_ms < 0 AND NOT @clock_may OR l.total_us < 0) AND l.slot >= @since;

-- check: tend found something forgotten
SELECT j.metadata ->> 'output'
FROM river_job AS j
WHERE
    j.kind = 'tend' AND NOT @tend_may
    AND (
        (j.metadata -> 'output' ->> 'rounds_revived')::integer > 0
        OR (j.metadata -> 'output' ->> 'slots_declared')::integer > 0
    );

-- check: a round was given up, and with it a promise (a scan that was asked for is none)
SELECT j.args::text || ': ' || coalesce(j.errors[array_length(j.errors, 1)]::text, '')
FROM river_job AS j
WHERE j.state = 'discarded' AND j.kind = 'round';
