-- MarkStaleHours marks the hours of scans that were written now, as far as they may be rolled up already.
-- name: MarkStaleHours :exec
SELECT mark_stale_hours(@slots::timestamptz[], @monitor_ids::bigint[]);

-- StartHistory notes where roll-ups begin, unless that is noted: at the first promise.
-- name: StartHistory :exec
INSERT INTO history_progress (closed_until, rolled_until, days_until)
SELECT hour_of(min(from_at)), hour_of(min(from_at)), day_of(min(from_at)) FROM monitor_schedules
HAVING count(*) > 0
ON CONFLICT DO NOTHING;

-- GetHistoryProgress gives how far roll-ups have come, and what is kept.
-- name: GetHistoryProgress :one
SELECT * FROM history_progress;

-- LockHistoryProgress is GetHistoryProgress, and keeps others from rolling up. With it comes how far promises are accounted for,
-- the last monitor's id, and whether all have ended who may not know that the hour is closed.
-- name: LockHistoryProgress :one
SELECT
    sqlc.embed(p),
    coalesce((SELECT checked_until FROM tend_progress), '2000-01-01 00:00:00+00')::timestamptz AS checked_until,
    coalesce((SELECT max(id) FROM monitors), 0)::bigint AS last_id,
    coalesce(NOT writers_of_log() && p.closed_for, false)::boolean AS known
FROM history_progress AS p
FOR UPDATE OF p;

-- LetRun lets the statements of a transaction take as long as they need: an hour of a large fleet takes more than what we wait for
-- otherwise.
-- name: LetRun :exec
SELECT set_config('statement_timeout', '0', true);

-- CloseHour says that whoever writes to an hour from now on marks it stale.
-- name: CloseHour :exec
UPDATE history_progress SET closed_until = @closed_until, closed_for = NULL;

-- NoteHourClosed notes which transactions may not know that the hour is closed: those that write now. It must not be in the
-- transaction of CloseHour.
-- name: NoteHourClosed :exec
UPDATE history_progress SET closed_for = writers_of_log();

-- RollUpHour computes an hour of the monitors with ids from since_id until before until_id, and gives how many had a scan.
-- name: RollUpHour :one
SELECT roll_up_hour(@hour::timestamptz, @since_id::bigint, @until_id::bigint, NULL)::bigint;

-- RollUpHourOf computes an hour of some monitors.
-- name: RollUpHourOf :exec
SELECT roll_up_hour(@hour::timestamptz, 0, 0, @monitor_ids::bigint[]);

-- RollUpDay merges the hours of a day of the monitors with ids from since_id until before until_id.
-- name: RollUpDay :one
SELECT roll_up_day(@day::timestamptz, @since_id::bigint, @until_id::bigint, NULL)::bigint;

-- RollUpDayOf merges the hours of a day of some monitors.
-- name: RollUpDayOf :exec
SELECT roll_up_day(@day::timestamptz, 0, 0, @monitor_ids::bigint[]);

-- SetHoursRolled notes how far hours are rolled up.
-- name: SetHoursRolled :exec
UPDATE history_progress SET rolled_until = @rolled_until, next_id = @next_id;

-- SetDaysRolled notes how far days are rolled up.
-- name: SetDaysRolled :exec
UPDATE history_progress SET days_until = @days_until, day_next_id = @day_next_id;

-- TakeStaleHours takes some marks away, the oldest, of hours before rolled_until. Whoever is just setting one is left alone.
-- name: TakeStaleHours :many
DELETE FROM stale_hours AS s
USING (
    SELECT o.hour, o.monitor_id FROM stale_hours AS o
    WHERE o.hour < @rolled_until::timestamptz
    ORDER BY o.hour, o.monitor_id
    LIMIT @page_size::integer
    FOR UPDATE SKIP LOCKED
) AS oldest
WHERE s.hour = oldest.hour AND s.monitor_id = oldest.monitor_id
RETURNING s.hour, s.monitor_id;

-- OldestStaleHour gives the first hour that is marked, or, if none is, one that never comes.
-- name: OldestStaleHour :one
SELECT coalesce(min(hour), '9999-01-01 00:00:00+00')::timestamptz AS hour FROM stale_hours;

-- ListChunks gives the chunks of a hypertable, oldest first.
-- name: ListChunks :many
SELECT c.chunk::text AS chunk, c.from_at::timestamptz AS from_at, c.until_at::timestamptz AS until_at, c.bytes::bigint AS bytes
FROM chunks_of(@hypertable::text) AS c;

-- DropHistory drops the chunks of a hypertable that end at before or earlier, and gives how many.
-- name: DropHistory :one
SELECT drop_history(@hypertable::text, @before::timestamptz)::bigint;

-- NoteScansDropped notes from when on the log is kept.
-- name: NoteScansDropped :exec
UPDATE history_progress SET scans_from = greatest(scans_from, @scans_from::timestamptz);

-- NoteHoursDropped notes from when on hours are kept.
-- name: NoteHoursDropped :exec
UPDATE history_progress SET hours_from = greatest(hours_from, @hours_from::timestamptz);

-- NoteCut notes whether the log is cut by its size.
-- name: NoteCut :exec
UPDATE history_progress SET cut_by_size = @cut_by_size WHERE cut_by_size <> @cut_by_size;

-- ForgetGaps deletes gaps that ended before an instant.
-- name: ForgetGaps :execrows
DELETE FROM scan_gaps WHERE to_slot < @before::timestamptz;

-- ForgetSchedules deletes promises that were withdrawn before an instant.
-- name: ForgetSchedules :execrows
DELETE FROM monitor_schedules WHERE until_at < @before::timestamptz;

-- ForgetStatusChanges deletes changes of status before an instant, except the last one of each monitor: it still holds.
-- name: ForgetStatusChanges :execrows
DELETE FROM status_changes AS s
WHERE
    s.at < @before::timestamptz
    AND EXISTS (SELECT FROM status_changes AS l WHERE l.monitor_id = s.monitor_id AND l.id > s.id AND l.at < @before::timestamptz);

-- ForgetWarnings deletes warnings that were closed before an instant.
-- name: ForgetWarnings :execrows
DELETE FROM warnings WHERE closed_at < @before::timestamptz;

-- UnsealedChunk gives the oldest chunk of the log that ended before an instant and has no index on monitor_id, and which broken
-- one it has.
-- name: UnsealedChunk :one
SELECT u.chunk::text AS chunk, coalesce(u.broken, '')::text AS broken FROM unsealed_chunk(@at::timestamptz) AS u;

-- AppendStatusChanges writes how statuses changed, in order. record.Apply alone calls it.
-- name: AppendStatusChanges :exec
INSERT INTO status_changes (monitor_id, at, status, outcome)
SELECT c.monitor_id, c.at, c.status, nullif(c.outcome, '')
FROM (
    SELECT
        unnest(@monitor_ids::bigint[]) AS monitor_id, unnest(@ats::timestamptz[]) AS at, unnest(@statuses::text[]) AS status,
        unnest(@outcomes::text[]) AS outcome
) AS c;

-- ListSchedules gives when monitors were promised scans.
-- name: ListSchedules :many
SELECT * FROM monitor_schedules
WHERE monitor_id = ANY(@monitor_ids::bigint[])
ORDER BY monitor_id, from_at;

-- ListStatusChanges gives the changes of monitors' statuses that hold and are before until.
-- name: ListStatusChanges :many
SELECT c.monitor_id, c.at::timestamptz AS at, c.status::text AS status
FROM (
    SELECT
        s.monitor_id, s.at, s.status, s.id,
        min(s.at) OVER (PARTITION BY s.monitor_id ORDER BY s.id ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS later_at
    FROM status_changes AS s
    WHERE s.monitor_id = ANY(@monitor_ids::bigint[])
) AS c
WHERE (c.later_at IS NULL OR c.at < c.later_at) AND c.at < @until::timestamptz
ORDER BY c.monitor_id, c.at, c.id;

-- ListGapsOf gives the gaps that are monitors' own, with slots from since until before until, each with the end of the promise that
-- it is of, if that has one.
-- name: ListGapsOf :many
SELECT g.monitor_id::bigint AS monitor_id, g.from_slot, g.interval_seconds, g.reason, s.until_at
FROM scan_gaps AS g
LEFT JOIN monitor_schedules AS s
    ON
        s.monitor_id = g.monitor_id AND s.interval_seconds = g.interval_seconds AND s.phase_ms = g.phase_ms
        AND s.from_at <= g.from_slot AND s.until_at > g.from_slot
WHERE g.monitor_id = ANY(@monitor_ids::bigint[]) AND g.from_slot >= @since::timestamptz AND g.from_slot < @until::timestamptz
ORDER BY g.monitor_id, g.from_slot;

-- ListSharedGaps gives the gaps of all monitors of the schedules that some had, with slots from since until before until, each with
-- the time for which the schedule was the monitor's.
-- name: ListSharedGaps :many
SELECT s.monitor_id, g.from_slot, g.to_slot, g.reason, s.interval_seconds, s.phase_ms, s.from_at, s.until_at
FROM monitor_schedules AS s
INNER JOIN scan_gaps AS g
    ON
        g.monitor_id IS NULL AND g.interval_seconds = s.interval_seconds AND g.phase_ms = s.phase_ms
        AND g.to_slot >= greatest(s.from_at, @since::timestamptz) AND g.from_slot < least(s.until_at, @until::timestamptz)
WHERE s.monitor_id = ANY(@monitor_ids::bigint[]) AND s.from_at < @until::timestamptz
ORDER BY s.monitor_id, g.from_slot, g.to_slot;

-- ListScannedSlots gives those slots of schedules, each of a monitor from one instant until before another, for which the monitor
-- has a row. All are from since until before until.
-- name: ListScannedSlots :many
SELECT due.number::integer AS number, l.slot::timestamptz AS slot
FROM (
    SELECT range.number, range.monitor_id, slots_of(range.interval_seconds, range.phase_ms, range.since, range.until) AS slot
    FROM (
        SELECT
            unnest(@numbers::integer[]) AS number, unnest(@monitor_ids::bigint[]) AS monitor_id,
            unnest(@intervals_seconds::integer[]) AS interval_seconds, unnest(@phases_ms::integer[]) AS phase_ms,
            unnest(@sinces::timestamptz[]) AS since, unnest(@untils::timestamptz[]) AS until
    ) AS range
) AS due
CROSS JOIN LATERAL (
    SELECT m.slot FROM monitor_log AS m
    WHERE
        m.slot = due.slot AND m.monitor_id = due.monitor_id
        AND m.slot >= @since::timestamptz AND m.slot < @until::timestamptz
) AS l
ORDER BY due.number, l.slot;

-- ListBars gives the scans of monitors of one interval at their slots from since until before until.
-- name: ListBars :many
SELECT l.monitor_id::bigint AS monitor_id, l.slot::timestamptz AS slot, l.outcome::text AS outcome, l.total_us::integer AS total_us
FROM (SELECT unnest(@monitor_ids::bigint[]) AS monitor_id, unnest(@phases_ms::integer[]) AS phase_ms) AS m
CROSS JOIN LATERAL (
    SELECT s.monitor_id, s.slot, s.outcome, s.total_us FROM monitor_log AS s
    WHERE
        s.slot = ANY(ARRAY(
            SELECT slots_of(@interval_seconds::integer, m.phase_ms, @since::timestamptz, @until::timestamptz)
        ))
        AND s.monitor_id = m.monitor_id AND s.slot >= @since::timestamptz AND s.slot < @until::timestamptz
) AS l;

-- ListHistograms gives the histograms of monitors' hours from since until before until.
-- name: ListHistograms :many
SELECT h.monitor_id, h.histogram FROM scan_hours AS h
WHERE
    h.from_at = ANY(ARRAY(
        SELECT generate_series(@since::timestamptz, @until::timestamptz, INTERVAL '1 hour')
    )::timestamptz[])
    AND h.monitor_id = ANY(@monitor_ids::bigint[]) AND h.from_at >= @since::timestamptz AND h.from_at < @until::timestamptz;

-- SumScans gives the scans of monitors from since until before until, summed up in steps.
-- name: SumScans :many
SELECT
    s.from_at, s.monitor_id, s.total_us, s.dns_us, s.connect_us, s.tls_us, s.wait_us, s.transfer_us, s.good, s.slow, s.failed,
    s.inconclusive, s.min_us, s.max_us, s.histogram
FROM summed_scans(
    @since::timestamptz, @until::timestamptz, make_interval(secs => @step_seconds::integer), 0, 0, @monitor_ids::bigint[]
) AS s
ORDER BY s.from_at;

-- ListHours gives a monitor's hours from since until before until.
-- name: ListHours :many
SELECT s.* FROM scan_hours AS s
WHERE
    s.from_at = ANY(ARRAY(
        SELECT generate_series(@since::timestamptz, @until::timestamptz, INTERVAL '1 hour')
    )::timestamptz[])
    AND s.monitor_id = @monitor_id AND s.from_at >= @since::timestamptz AND s.from_at < @until::timestamptz
ORDER BY s.from_at;

-- ListDays gives a monitor's days from since until before until.
-- name: ListDays :many
SELECT s.* FROM scan_days AS s
WHERE
    s.from_at = ANY(ARRAY(
        SELECT generate_series(@since::timestamptz, @until::timestamptz, INTERVAL '1 day')
    )::timestamptz[])
    AND s.monitor_id = @monitor_id AND s.from_at >= @since::timestamptz AND s.from_at < @until::timestamptz
ORDER BY s.from_at;

-- ListStaleHours gives those of a monitor's hours from since until before until that are computed again soon.
-- name: ListStaleHours :many
SELECT hour FROM stale_hours
WHERE monitor_id = @monitor_id AND hour >= @since::timestamptz AND hour < @until::timestamptz
ORDER BY hour;
