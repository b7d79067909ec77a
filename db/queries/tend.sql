-- ListDeadChains gives each interval and phase with an active monitor and no live round. A round that is further ahead
-- than the next but one keeps no promise: the database's clock was wrong when it was inserted. Both sides are read once: joined,
-- each of many monitors would be held against each round.
-- name: ListDeadChains :many
SELECT interval_seconds, phase_ms
FROM monitors
WHERE paused_at IS NULL AND deleted_at IS NULL
EXCEPT
SELECT interval_seconds, phase_ms
FROM live_rounds()
WHERE
    part = 0
    AND slot - make_interval(secs => 2 * interval_seconds) <= greatest(@at::timestamptz, clock_timestamp())
ORDER BY interval_seconds, phase_ms;

-- StartTendProgress notes since when there is something to compare, unless that is noted: since the first promise, or
-- at the latest since at.
-- name: StartTendProgress :exec
INSERT INTO tend_progress (checked_until)
SELECT least(min(from_at), @at::timestamptz)::timestamptz FROM monitor_schedules
ON CONFLICT DO NOTHING;

-- GetTendProgressForUpdate also keeps a second tend waiting.
-- name: GetTendProgressForUpdate :one
SELECT checked_until FROM tend_progress
FOR UPDATE;

-- SetTendProgress moves the mark.
-- name: SetTendProgress :exec
UPDATE tend_progress SET checked_until = @checked_until;

-- PlanForManyPromises keeps the planner, for a transaction, from reading all promises in the order of an index, to merge
-- them with gaps: it takes each promise for a thousand slots, where most have none in a range of minutes. And from a plan for
-- every range of slots, which would lock all chunks of the log.
-- name: PlanForManyPromises :exec
SELECT set_config('enable_mergejoin', 'off', true), set_config('plan_cache_mode', 'force_custom_plan', true);

-- ListUnaccountedSlots gives the slots that neither ran nor were declared, and of each whether a live round of its
-- chain, at this slot or before it, may still account for it. Rounds are read once, however many slots there are.
-- name: ListUnaccountedSlots :many
SELECT
    u.interval_seconds::integer AS interval_seconds,
    u.phase_ms::integer AS phase_ms,
    u.slot::timestamptz AS slot,
    coalesce(min(r.slot) <= u.slot, false)::boolean AS live
FROM unaccounted_slots(@since::timestamptz, @until::timestamptz) AS u
LEFT JOIN live_rounds() AS r ON r.interval_seconds = u.interval_seconds AND r.phase_ms = u.phase_ms
GROUP BY u.interval_seconds, u.phase_ms, u.slot
ORDER BY u.slot;
