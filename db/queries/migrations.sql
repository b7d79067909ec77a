-- TryLockMigrations makes the migrations of ten processes that start at once run one after the other. River's migrator
-- takes no lock of its own. Held until UnlockMigrations, or the end of the connection. It does not wait: CREATE INDEX
-- CONCURRENTLY waits for all statements that have begun before it, and so for one that waits here.
-- name: TryLockMigrations :one
SELECT pg_try_advisory_lock(727211)::boolean AS locked;

-- name: UnlockMigrations :exec
SELECT pg_advisory_unlock(727211);

-- ListBlockers gives the sessions that a migration of this database waits for.
-- name: ListBlockers :many
SELECT DISTINCT
    blocker.pid::integer AS pid,
    coalesce(blocker.application_name, '')::text AS application_name,
    coalesce(blocker.state, '')::text AS state,
    coalesce(blocker.query, '')::text AS query
FROM pg_stat_activity AS waiting
CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS blocking (pid)
JOIN pg_stat_activity AS blocker ON blocker.pid = blocking.pid
WHERE waiting.application_name = @application_name::text AND waiting.datname = current_database();

-- GetSchema gives how far our schema is, and its baseline. Databases of builds before this table was ours have none.
-- name: GetSchema :one
SELECT version, coalesce(to_jsonb(schema_version) ->> 'baseline', 'none')::text AS baseline FROM schema_version;

-- name: SetSchema :exec
UPDATE schema_version SET version = @version, baseline = @baseline;

-- GetRiverVersion gives how far River's schema is.
-- name: GetRiverVersion :one
SELECT coalesce(max(version), 0)::integer FROM river_migration WHERE line = 'main';
