-- From which baseline this database was made. The migrations that an empty database gets are the baseline, and until the
-- first release they are rewritten as the schema should be: a database that was made from another one is told so.

CREATE TABLE schema_baseline (
    hash text NOT NULL
);

COMMENT ON TABLE schema_baseline IS 'One row: a hash of the migrations of the baseline, as they were when the first of them ran.';

INSERT INTO schema_baseline (hash) VALUES (current_setting('riverwatch.baseline'));

---- create above / drop below ----

DROP TABLE schema_baseline;
