-- The past and the present for people with SQL: views that stay as they are when tables change, and a role that may read them and
-- nothing else. A view reads with the rights of its owner; so does a function that is SECURITY DEFINER.

CREATE SCHEMA report;

COMMENT ON SCHEMA report IS 'For people with SQL: see docs/sql.md. Roles that are members of riverwatch_report may read it.';

-- Bodies without quotes are bound when they are made, and so mean the same whatever the search path of a session is.

CREATE FUNCTION report.percentile_of(histogram integer[], p double precision) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN round(percentile_of(histogram, p)::numeric, 3);

COMMENT ON FUNCTION report.percentile_of IS 'The time, in milliseconds, that a part p (0.95) of the scans in a histogram did not take longer than; within 4.5 %.';

CREATE AGGREGATE report.histogram_sum(integer[]) (
    SFUNC = array_cat, STYPE = integer[], INITCOND = '{}', FINALFUNC = merge_histograms
);

COMMENT ON AGGREGATE report.histogram_sum(integer[]) IS 'The histogram of the scans of several histograms.';

CREATE VIEW report.monitors AS
SELECT
    m.id, m.key, m.name, m.description, m.tags, m.method, m.url, m.host, m.interval_seconds, m.timeout_ms, s.status,
    s.since AS status_since, m.created_at, m.updated_at, m.paused_at, m.deleted_at
FROM monitors AS m
LEFT JOIN monitor_states AS s ON s.monitor_id = m.id;

COMMENT ON VIEW report.monitors IS 'What is watched, and where it stands. Deleted monitors are here, too: deleted_at is null for the others.';

CREATE VIEW report.certificates AS
SELECT c.monitor_id, c.subject, c.issuer, c.names, c.not_before, c.not_after, c.first_seen_at, c.fingerprint
FROM monitor_certificates AS c;

COMMENT ON VIEW report.certificates IS 'The certificates that targets showed. The one with the latest first_seen_at was new last.';

CREATE VIEW report.scans AS
SELECT
    l.monitor_id, l.slot, l.outcome, outcome_class(l.outcome) AS class, round(l.total_us / 1000.0, 3) AS total_ms,
    round(l.dns_us / 1000.0, 3) AS dns_ms, round(l.connect_us / 1000.0, 3) AS connect_ms, round(l.tls_us / 1000.0, 3) AS tls_ms,
    round(l.wait_us / 1000.0, 3) AS wait_ms, round(l.transfer_us / 1000.0, 3) AS transfer_ms, l.late_ms, l.http_status,
    l.body_bytes, l.regexp_matched, l.remote_ip, l.error, l.reason, l.worker, l.monitor_version
FROM monitor_log AS l;

COMMENT ON VIEW report.scans IS 'Each scan that is still kept. Always name a range of slots; those of one monitor are found fast by report.scans_of.';
COMMENT ON COLUMN report.scans.class IS 'good, slow (good too, and degraded), failed, or inconclusive: it says nothing of the target.';
COMMENT ON COLUMN report.scans.reason IS 'round: due at its slot. retry: a quick second look. asked: somebody asked, or the monitor is new.';

-- The statement is planned for the range that it is called with, lest all chunks of the log be locked.
CREATE FUNCTION report.scans_of(id bigint, since timestamptz, until timestamptz) RETURNS SETOF report.scans
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = public, pg_temp
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_variable
BEGIN
    RETURN QUERY
    SELECT
        l.monitor_id, l.slot, l.outcome, outcome_class(l.outcome), round(l.total_us / 1000.0, 3), round(l.dns_us / 1000.0, 3),
        round(l.connect_us / 1000.0, 3), round(l.tls_us / 1000.0, 3), round(l.wait_us / 1000.0, 3),
        round(l.transfer_us / 1000.0, 3), l.late_ms, l.http_status, l.body_bytes, l.regexp_matched, l.remote_ip, l.error, l.reason,
        l.worker, l.monitor_version
    FROM monitor_scans(id, since, until) AS l
    ORDER BY l.slot;
END
$$;

COMMENT ON FUNCTION report.scans_of IS 'The scans of a monitor from since until before until: fast, as it knows how the log is keyed.';

-- mean_ms is for the views.
CREATE FUNCTION report.mean_ms(us bigint, scans integer) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN round(us / 1000.0 / nullif(scans, 0), 3);

COMMENT ON FUNCTION report.mean_ms IS 'The mean in milliseconds of scans that took so many microseconds together.';

CREATE VIEW report.scan_hours AS
SELECT
    h.monitor_id, h.from_at AS hour, h.good + h.slow + h.failed + h.inconclusive AS scans, h.good, h.slow, h.failed, h.inconclusive,
    report.mean_ms(h.total_us, h.good + h.slow) AS avg_ms, round(h.min_us / 1000.0, 3) AS min_ms,
    report.percentile_of(h.histogram, 0.5) AS p50_ms, report.percentile_of(h.histogram, 0.95) AS p95_ms,
    report.percentile_of(h.histogram, 0.99) AS p99_ms, round(h.max_us / 1000.0, 3) AS max_ms,
    report.mean_ms(h.dns_us, h.good + h.slow) AS dns_ms, report.mean_ms(h.connect_us, h.good + h.slow) AS connect_ms,
    report.mean_ms(h.tls_us, h.good + h.slow) AS tls_ms, report.mean_ms(h.wait_us, h.good + h.slow) AS wait_ms,
    report.mean_ms(h.transfer_us, h.good + h.slow) AS transfer_ms, h.histogram
FROM scan_hours AS h;

COMMENT ON VIEW report.scan_hours IS 'The scans of a monitor in an hour, once it is rolled up: some minutes after its end. Times are of good scans, slow ones among them; percentiles are within 4.5 %.';
COMMENT ON COLUMN report.scan_hours.histogram IS 'report.percentile_of(report.histogram_sum(histogram), 0.95) is the percentile of several hours or monitors together.';

CREATE VIEW report.scan_days AS
SELECT
    d.monitor_id, d.from_at AS day, d.good + d.slow + d.failed + d.inconclusive AS scans, d.good, d.slow, d.failed, d.inconclusive,
    report.mean_ms(d.total_us, d.good + d.slow) AS avg_ms, round(d.min_us / 1000.0, 3) AS min_ms,
    report.percentile_of(d.histogram, 0.5) AS p50_ms, report.percentile_of(d.histogram, 0.95) AS p95_ms,
    report.percentile_of(d.histogram, 0.99) AS p99_ms, round(d.max_us / 1000.0, 3) AS max_ms,
    report.mean_ms(d.dns_us, d.good + d.slow) AS dns_ms, report.mean_ms(d.connect_us, d.good + d.slow) AS connect_ms,
    report.mean_ms(d.tls_us, d.good + d.slow) AS tls_ms, report.mean_ms(d.wait_us, d.good + d.slow) AS wait_ms,
    report.mean_ms(d.transfer_us, d.good + d.slow) AS transfer_ms, d.histogram
FROM scan_days AS d;

COMMENT ON VIEW report.scan_days IS 'As scan_hours, of a day (UTC), once it is over.';

CREATE VIEW report.gaps AS
SELECT
    s.monitor_id, g.reason, greatest(g.from_slot, s.from_at) AS from_at,
    least(g.to_slot + make_interval(secs => g.interval_seconds), s.until_at) AS until_at, g.interval_seconds, g.declared_at,
    g.monitor_id IS NULL AS shared
FROM scan_gaps AS g
INNER JOIN monitor_schedules AS s
    ON
        s.interval_seconds = g.interval_seconds AND s.phase_ms = g.phase_ms AND s.from_at <= g.to_slot
        AND (s.until_at IS NULL OR s.until_at > g.from_slot)
        AND (g.monitor_id IS NULL OR g.monitor_id = s.monitor_id);

COMMENT ON VIEW report.gaps IS 'Time in which a monitor was to be scanned and was not, with the reason.';
COMMENT ON COLUMN report.gaps.shared IS 'Whether it was declared of all monitors of an interval and phase at once. Some of them may have scans in it all the same: report.stretches leaves their time out.';

-- stretches is uptime.Past.Stretches in SQL, with what history.Uptimes reads for it; a test holds the two together.
CREATE FUNCTION report.stretches(id bigint, since timestamptz, until timestamptz)
RETURNS TABLE (from_at timestamptz, until_at timestamptz, counts_as text, reason text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    scans_from timestamptz := coalesce((SELECT p.scans_from FROM history_progress AS p), '2000-01-01 00:00:00+00');
    whole tstzmultirange;
    gap record;
    scanned timestamptz[];
    missed_from timestamptz[] := '{}';
    missed_until timestamptz[] := '{}';
    missed_reason text[] := '{}';
BEGIN
    stretches.until := least(stretches.until, now());
    stretches.since := greatest(stretches.since, (SELECT min(s.from_at) FROM monitor_schedules AS s WHERE s.monitor_id = stretches.id));
    IF stretches.since IS NULL OR NOT stretches.since < stretches.until OR NOT EXISTS (
        SELECT FROM monitor_schedules AS s WHERE s.monitor_id = stretches.id AND s.from_at < stretches.until
    ) THEN
        RETURN;
    END IF;
    whole := tstzmultirange(tstzrange(stretches.since, stretches.until));

    SELECT coalesce(array_agg(o.from_slot ORDER BY o.from_slot), '{}'), array_agg(o.until ORDER BY o.from_slot), array_agg(o.reason ORDER BY o.from_slot)
    INTO missed_from, missed_until, missed_reason
    FROM (
        SELECT g.from_slot, least(g.from_slot + make_interval(secs => g.interval_seconds), s.until_at) AS until, g.reason
        FROM scan_gaps AS g
        LEFT JOIN monitor_schedules AS s
            ON
                s.monitor_id = g.monitor_id AND s.interval_seconds = g.interval_seconds AND s.phase_ms = g.phase_ms
                AND s.from_at <= g.from_slot AND s.until_at > g.from_slot
        WHERE g.monitor_id = stretches.id AND g.from_slot >= stretches.since - INTERVAL '24 hours' AND g.from_slot < stretches.until
    ) AS o;

    -- Of a gap of all monitors of a schedule: without that from a slot for which this one has a row until the next slot.
    FOR gap IN
        SELECT
            g.reason, s.interval_seconds, s.phase_ms, make_interval(secs => s.interval_seconds) AS step,
            greatest(g.from_slot, s.from_at, stretches.since - INTERVAL '24 hours') AS low,
            least(g.to_slot + make_interval(secs => s.interval_seconds), s.until_at, stretches.until) AS high
        FROM monitor_schedules AS s
        INNER JOIN scan_gaps AS g
            ON
                g.monitor_id IS NULL AND g.interval_seconds = s.interval_seconds AND g.phase_ms = s.phase_ms
                AND g.to_slot >= greatest(s.from_at, stretches.since - INTERVAL '24 hours')
                AND g.from_slot < least(s.until_at, stretches.until)
        WHERE s.monitor_id = stretches.id AND s.from_at < stretches.until
        ORDER BY g.from_slot, g.to_slot
    LOOP
        gap.low := (SELECT slot FROM slots_of(gap.interval_seconds, gap.phase_ms, gap.low, gap.low + gap.step) AS slot);
        CONTINUE WHEN gap.low >= gap.high;
        scanned := '{}';
        IF greatest(gap.low, scans_from) < gap.high THEN
            -- EXECUTE is planned for its values: else all chunks of the log are locked.
            EXECUTE
                'SELECT coalesce(array_agg(l.slot ORDER BY l.slot), ''{}'')
                FROM slots_of($1, $2, $3, $4) AS due (slot)
                CROSS JOIN LATERAL (
                    SELECT m.slot FROM monitor_log AS m
                    WHERE m.slot = due.slot AND m.monitor_id = $5 AND m.slot >= $3 AND m.slot < $4
                ) AS l'
            INTO scanned USING gap.interval_seconds, gap.phase_ms, greatest(gap.low, scans_from), gap.high, stretches.id;
        END IF;
        missed_from := missed_from || gap.low || ARRAY(SELECT slot + gap.step FROM unnest(scanned) AS slot);
        missed_until := missed_until || scanned || gap.high;
        missed_reason := missed_reason || array_fill(gap.reason, ARRAY[cardinality(scanned) + 1]);
    END LOOP;

    RETURN QUERY
    WITH
    promised AS (
        SELECT coalesce(range_agg(tstzrange(s.from_at, s.until_at)), '{}') AS time FROM monitor_schedules AS s WHERE s.monitor_id = stretches.id
    ),
    changes AS ( -- as in ListStatusChanges
        SELECT c.at, c.status, lead(c.at) OVER (ORDER BY c.at) AS until
        FROM (
            SELECT s.at, s.status, min(s.at) OVER (ORDER BY s.id ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS later_at
            FROM status_changes AS s
            WHERE s.monitor_id = stretches.id
        ) AS c
        WHERE c.later_at IS NULL OR c.at < c.later_at
    ),
    stood AS (
        SELECT
            coalesce(range_agg(tstzrange(c.at, c.until)) FILTER (WHERE c.status = 'up'), '{}') AS up,
            coalesce(range_agg(tstzrange(c.at, c.until)) FILTER (WHERE c.status = 'degraded'), '{}') AS degraded,
            coalesce(range_agg(tstzrange(c.at, c.until)) FILTER (WHERE c.status = 'down'), '{}') AS down,
            coalesce(range_agg(tstzrange(c.at, c.until)) FILTER (WHERE c.status = 'paused'), '{}') AS paused
        FROM changes AS c
    ),
    missed AS ( -- of two at a time, the reason is that of the one that began first: each from where those before it end
        SELECT greatest(m.from_at, m.covered_until) AS from_at, m.until_at, m.reason
        FROM (
            SELECT
                o.from_at, o.until_at, o.reason,
                max(o.until_at) OVER (ORDER BY o.from_at, o.place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered_until
            FROM unnest(missed_from, missed_until, missed_reason) WITH ORDINALITY AS o (from_at, until_at, reason, place)
            WHERE o.from_at < o.until_at
        ) AS m
        WHERE m.covered_until IS NULL OR m.covered_until < m.until_at
    ),
    missed_time AS (
        SELECT coalesce(range_agg(tstzrange(m.from_at, m.until_at)), '{}') AS time FROM missed AS m
    ),
    counted AS ( -- each without what goes before it
        SELECT
            whole * p.time * s.down - s.paused AS down,
            whole - p.time + whole * s.paused AS paused,
            whole * p.time - s.paused - s.down AS rest,
            whole * p.time * s.up - m.time AS up,
            whole * p.time * s.degraded - m.time AS degraded,
            whole * p.time - s.paused - s.down - s.up - s.degraded - m.time AS untold
        FROM promised AS p, stood AS s, missed_time AS m
    ),
    parts (part, counts_as, reason) AS (
        SELECT unnest(c.up), 'up', NULL FROM counted AS c
        UNION ALL
        SELECT unnest(c.degraded), 'degraded', NULL FROM counted AS c
        UNION ALL
        SELECT unnest(c.down), 'down', NULL FROM counted AS c
        UNION ALL
        SELECT unnest(c.paused), 'paused', NULL FROM counted AS c
        UNION ALL
        SELECT unnest(c.untold), 'unknown', NULL FROM counted AS c
        UNION ALL
        SELECT unnest(c.rest * m.time), 'unknown', m.reason
        FROM counted AS c
        CROSS JOIN (SELECT m.reason, range_agg(tstzrange(m.from_at, m.until_at)) AS time FROM missed AS m GROUP BY m.reason) AS m
    )
    SELECT lower(p.part), upper(p.part), p.counts_as, p.reason FROM parts AS p ORDER BY 1;
END
$$;

COMMENT ON FUNCTION report.stretches IS 'How a monitor''s time counts from since until before until, until now at most: as up, degraded, down, unknown (reason: why slots were missed; null: no scan had told anything) or paused (no scan was promised).';

CREATE FUNCTION report.uptime(
    id bigint, since timestamptz, until timestamptz,
    OUT up_seconds numeric, OUT degraded_seconds numeric, OUT down_seconds numeric, OUT unknown_seconds numeric,
    OUT paused_seconds numeric, OUT ratio numeric
)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT
        u.up, u.degraded, u.down, u.unknown, u.paused,
        (u.up + u.degraded) / nullif(u.up + u.degraded + u.down, 0)
    FROM (
        SELECT
            coalesce(sum(s.seconds) FILTER (WHERE s.counts_as = 'up'), 0) AS up,
            coalesce(sum(s.seconds) FILTER (WHERE s.counts_as = 'degraded'), 0) AS degraded,
            coalesce(sum(s.seconds) FILTER (WHERE s.counts_as = 'down'), 0) AS down,
            coalesce(sum(s.seconds) FILTER (WHERE s.counts_as = 'unknown'), 0) AS unknown,
            coalesce(sum(s.seconds) FILTER (WHERE s.counts_as = 'paused'), 0) AS paused
        FROM (
            SELECT t.counts_as, extract(epoch FROM t.until_at - t.from_at) AS seconds FROM report.stretches(id, since, until) AS t
        ) AS s
    ) AS u;
END;

COMMENT ON FUNCTION report.uptime IS 'How long a monitor was what from since until before until, until now at most. ratio is up and degraded, of these and down; null: nothing is known.';

CREATE VIEW report.uptime_daily AS
SELECT
    u.monitor_id, u.day, u.up AS up_seconds, u.degraded AS degraded_seconds, u.down AS down_seconds, u.unknown AS unknown_seconds,
    u.paused AS paused_seconds, (u.up + u.degraded) / nullif(u.up + u.degraded + u.down, 0) AS ratio
FROM (
    SELECT
        s.monitor_id, s.day,
        coalesce(sum(s.seconds) FILTER (WHERE s.counts_as = 'up'), 0) AS up,
        coalesce(sum(s.seconds) FILTER (WHERE s.counts_as = 'degraded'), 0) AS degraded,
        coalesce(sum(s.seconds) FILTER (WHERE s.counts_as = 'down'), 0) AS down,
        coalesce(sum(s.seconds) FILTER (WHERE s.counts_as = 'unknown'), 0) AS unknown,
        coalesce(sum(s.seconds) FILTER (WHERE s.counts_as = 'paused'), 0) AS paused
    FROM (
        SELECT
            m.id AS monitor_id, d.day, t.counts_as,
            extract(epoch FROM least(t.until_at, d.day + INTERVAL '24 hours') - greatest(t.from_at, d.day)) AS seconds
        FROM monitors AS m
        CROSS JOIN LATERAL report.stretches(m.id, day_of(now()) - make_interval(hours => 24 * 89), now())
            AS t (from_at, until_at, counts_as, reason)
        -- 24 hours, not a day: that has others where the session's time zone changes its clocks
        CROSS JOIN LATERAL generate_series(day_of(t.from_at), t.until_at - INTERVAL '1 microsecond', INTERVAL '24 hours') AS d (day)
    ) AS s
    GROUP BY s.monitor_id, s.day
) AS u;

COMMENT ON VIEW report.uptime_daily IS 'report.uptime of each monitor and day (UTC), of the last 90 days, today until now.';

CREATE FUNCTION report.chunks() RETURNS TABLE (table_name text, from_at timestamptz, until_at timestamptz, bytes bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
    SELECT t.shown, c.from_at, c.until_at, c.bytes
    FROM (VALUES ('scans', 'monitor_log'), ('scan_hours', 'scan_hours'), ('scan_days', 'scan_days')) AS t (shown, hypertable)
    CROSS JOIN LATERAL chunks_of(t.hypertable) AS c
$$;

CREATE VIEW report.storage AS
SELECT c.table_name, c.from_at, c.until_at, c.bytes FROM report.chunks() AS c (table_name, from_at, until_at, bytes);

COMMENT ON VIEW report.storage IS 'What scans, scan_hours and scan_days take on disk, by chunk: rows, indexes, and what is too long for a row.';

-- A role is of the whole server. Another database may have made it, or be making it now; and who may not make roles does without.
DO $$
BEGIN
    CREATE ROLE riverwatch_report NOLOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL;
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'without the role riverwatch_report: docs/sql.md says how to make it';
END
$$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'riverwatch_report') THEN
        GRANT USAGE ON SCHEMA report TO riverwatch_report;
        GRANT SELECT ON ALL TABLES IN SCHEMA report TO riverwatch_report;
    END IF;
END
$$;

---- create above / drop below ----

-- The role stays: other databases may have given it rights.
DROP SCHEMA report CASCADE;
