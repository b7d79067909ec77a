-- Tables that River's migrator makes and keeps, and a view of Postgres' own, as far as our queries read them. For sqlc
-- alone.

CREATE TABLE river_job (
    id bigint PRIMARY KEY,
    state text NOT NULL,
    kind text NOT NULL,
    args jsonb NOT NULL,
    queue text NOT NULL,
    created_at timestamptz NOT NULL,
    scheduled_at timestamptz NOT NULL
);

CREATE TABLE river_queue (
    name text PRIMARY KEY,
    paused_at timestamptz
);

CREATE TABLE river_migration (
    line text NOT NULL,
    version bigint NOT NULL
);

CREATE TABLE pg_stat_activity (
    pid integer,
    datname name,
    application_name text,
    state text,
    query text
);
