-- River's two GIN indexes are for those who look for jobs by what is in args or metadata. Nobody here does, and each round
-- writes to them whenever its job changes its state: half of all that a round costs the WAL.

DROP INDEX IF EXISTS river_job_args_index;
DROP INDEX IF EXISTS river_job_metadata_index;

---- create above / drop below ----

CREATE INDEX IF NOT EXISTS river_job_args_index ON river_job USING gin (args);
CREATE INDEX IF NOT EXISTS river_job_metadata_index ON river_job USING gin (metadata);
