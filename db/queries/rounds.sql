-- CountRounds counts the rounds in each state.
-- name: CountRounds :many
SELECT state::text AS state, count(*)::bigint AS rounds
FROM river_job
WHERE kind = 'round'
GROUP BY state
ORDER BY state;

-- OldestUnscannedSeconds gives for how long the oldest round has been waiting that should have started; 0: none does.
-- name: OldestUnscannedSeconds :one
SELECT greatest(0, extract(epoch FROM now() - min(scheduled_at)))::double precision AS seconds
FROM river_job
WHERE kind = 'round' AND state = 'available' AND scheduled_at < now();

-- DatabaseNow gives the time by the database's clock.
-- name: DatabaseNow :one
SELECT clock_timestamp()::timestamptz AS now;
