-- LockMigrations makes the migrations of ten processes that start at once run one after the other. River's migrator
-- takes no lock of its own. Held until UnlockMigrations, or the end of the connection.
-- name: LockMigrations :exec
SELECT pg_advisory_lock(727211);

-- name: UnlockMigrations :exec
SELECT pg_advisory_unlock(727211);

-- SchemaVersions gives the versions of our schema and of River's.
-- name: SchemaVersions :one
SELECT
    (SELECT version FROM schema_version)::integer AS riverwatch,
    (SELECT coalesce(max(version), 0) FROM river_migration WHERE line = 'main')::integer AS river;

-- NameBaseline tells the first migration, on this connection, what schema_baseline is to say.
-- name: NameBaseline :exec
SELECT set_config('riverwatch.baseline', @hash::text, false);

-- name: GetSchemaVersion :one
SELECT version FROM schema_version;

-- name: GetBaseline :one
SELECT hash FROM schema_baseline;
