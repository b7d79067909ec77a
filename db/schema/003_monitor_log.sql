-- What came of the promises: a row of monitor_log for each scan, or a declared gap.

-- The key begins with the slot, so that new rows go to one end of the index: with the monitor first, each row dirties
-- a page of its own and costs five times the WAL. No foreign keys: they deadlock with the making of chunks.
-- Columns are ordered by width, as nothing else has so many rows. What was not measured is null, never 0.
CREATE TABLE monitor_log (
    slot timestamptz NOT NULL,
    monitor_id bigint NOT NULL,
    late_ms integer NOT NULL,
    dns_us integer,
    connect_us integer,
    tls_us integer,
    wait_us integer,
    transfer_us integer,
    total_us integer NOT NULL,
    body_bytes integer,
    monitor_version integer NOT NULL,
    http_status smallint,
    regexp_matched boolean,
    outcome text NOT NULL,
    reason text NOT NULL,
    worker text NOT NULL,
    remote_ip inet,
    error text,
    body_excerpt text,
    PRIMARY KEY (slot, monitor_id)
);

COMMENT ON TABLE monitor_log IS 'Each scan: one probe of one monitor, recorded.';
COMMENT ON COLUMN monitor_log.slot IS 'When the scan was due: a slot of the monitor''s schedule, or, for a scan outside rounds, the instant it was asked for, which is never a quarter of a second.';
COMMENT ON COLUMN monitor_log.late_ms IS 'Start of the scan minus its slot.';
COMMENT ON COLUMN monitor_log.reason IS 'round: due at its slot. retry: a quick second look at a monitor that has begun to fail, or to answer again. asked: somebody asked, or the monitor is new.';
COMMENT ON COLUMN monitor_log.body_excerpt IS 'Of a bad answer: the first of its body, at most 1 KiB, cleaned.';

-- Scans outside rounds are few and at no predictable instant, so that they need an index by monitor.
CREATE INDEX monitor_log_outside_rounds ON monitor_log (monitor_id, slot) WHERE reason <> 'round';

CREATE TABLE scan_gaps (
    interval_seconds integer NOT NULL,
    phase_ms integer NOT NULL,
    monitor_id bigint,
    from_slot timestamptz NOT NULL,
    to_slot timestamptz NOT NULL,
    reason text NOT NULL,
    declared_at timestamptz NOT NULL,
    CHECK (from_slot <= to_slot AND (monitor_id IS NULL OR from_slot = to_slot)),
    UNIQUE NULLS NOT DISTINCT (from_slot, interval_seconds, phase_ms, to_slot, monitor_id)
);

COMMENT ON TABLE scan_gaps IS 'Promised slots that were not scanned, declared: those of interval_seconds and phase from from_slot to to_slot, both included.';
COMMENT ON COLUMN scan_gaps.monitor_id IS 'Null: every monitor of the interval and phase that has no row in monitor_log for the slot.';
COMMENT ON COLUMN scan_gaps.reason IS 'service_down: no worker ran, or none reached the database. worker_lost: the worker died with the scan open. overloaded: no probe was free in time, no worker had time, or no room for its result. internal_error: a fault of ours. unaccounted: found missing by tend.';

CREATE INDEX scan_gaps_round ON scan_gaps (interval_seconds, phase_ms, to_slot) WHERE monitor_id IS NULL;

-- Whoever writes a row takes the gap of its monitor at its slot away. Such a gap is always of one slot.
CREATE INDEX scan_gaps_monitor ON scan_gaps (from_slot, monitor_id) WHERE monitor_id IS NOT NULL;

-- Uptime asks for those of one monitor. It is a hash, so that the planner cannot take it for the index above.
CREATE INDEX scan_gaps_history ON scan_gaps USING hash (monitor_id) WHERE monitor_id IS NOT NULL;

---- create above / drop below ----

DROP TABLE scan_gaps;
DROP TABLE monitor_log;
