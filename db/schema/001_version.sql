-- How far the schema is, and from which baseline it was made. The migrations that an empty database gets are the baseline,
-- and until the first release they are rewritten as the schema should be: a database that was made from another one is
-- told so.

CREATE TABLE schema_version (
    version integer NOT NULL,
    baseline text NOT NULL
);

COMMENT ON TABLE schema_version IS 'One row, which each migration renews in its own transaction.';
COMMENT ON COLUMN schema_version.version IS 'Number of the last migration.';
COMMENT ON COLUMN schema_version.baseline IS 'A hash of the migrations of the baseline.';

INSERT INTO schema_version (version, baseline) VALUES (0, '');

---- create above / drop below ----

DROP TABLE schema_version;
