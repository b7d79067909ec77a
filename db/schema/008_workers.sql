-- Which worker processes there are, so that they can share what is limited for all of them together.

CREATE TABLE workers (
    name text PRIMARY KEY,
    seen_at timestamptz NOT NULL
);

COMMENT ON COLUMN workers.seen_at IS 'By the database''s clock: a worker says every few seconds that it is there. One that has not for half a minute is not counted.';

---- create above / drop below ----

DROP TABLE workers;
