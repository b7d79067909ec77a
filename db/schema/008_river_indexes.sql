-- River's two GIN indexes are for those who look for jobs by what is in args or metadata. Nobody here does, and each round
-- writes to them whenever its job changes its state: half of all that a round costs the WAL.

DROP INDEX IF EXISTS river_job_args_index;
DROP INDEX IF EXISTS river_job_metadata_index;

-- The scans of a monitor that people asked for: they are few, and bounded by how many there are already.
CREATE INDEX river_job_asked ON river_job (((args ->> 'monitor_id')::bigint)) WHERE kind = 'scan' AND args ->> 'reason' = 'asked';

---- create above / drop below ----

DROP INDEX IF EXISTS river_job_asked;
CREATE INDEX IF NOT EXISTS river_job_args_index ON river_job USING gin (args);
CREATE INDEX IF NOT EXISTS river_job_metadata_index ON river_job USING gin (metadata);
