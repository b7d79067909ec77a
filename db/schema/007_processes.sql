-- The processes of this installation: which workers there are, and what the people who run it must know of their trouble.

CREATE TABLE workers (
    name text PRIMARY KEY,
    seen_at timestamptz NOT NULL
);

COMMENT ON TABLE workers IS 'Which worker processes there are, so that they can share what is limited for all of them together.';
COMMENT ON COLUMN workers.seen_at IS 'By the database''s clock: a worker says every few seconds that it is there. One that has not for half a minute is not counted.';

CREATE TABLE listeners (
    address text PRIMARY KEY,
    seen_at timestamptz NOT NULL
);

COMMENT ON TABLE listeners IS 'Where the processes of this installation listen: no monitor may have such an address, whichever worker scans it.';
COMMENT ON COLUMN listeners.address IS 'An IP address and a port, such as 10.0.0.5:8080.';
COMMENT ON COLUMN listeners.seen_at IS 'By the database''s clock: a process renews its own each minute. After an hour an address is forgotten.';

CREATE TABLE warnings (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    message text NOT NULL,
    processes text[] NOT NULL,
    open_processes text[] NOT NULL,
    opened_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    closed_at timestamptz,
    CHECK (opened_at <= seen_at)
);

COMMENT ON TABLE warnings IS 'Trouble of Riverwatch itself: one row however many monitors and processes it is about.';
COMMENT ON COLUMN warnings.kind IS 'What it is about, such as no_sight, as a word that never changes; the API''s documentation lists all.';
COMMENT ON COLUMN warnings.processes IS 'All processes that it was about.';
COMMENT ON COLUMN warnings.open_processes IS 'Those that it is still about.';
COMMENT ON COLUMN warnings.seen_at IS 'When it was last true: who raises a warning renews it every few seconds. One that is not renewed for a minute is closed.';

CREATE UNIQUE INDEX warnings_open ON warnings (kind) WHERE closed_at IS NULL;

CREATE INDEX warnings_newest ON warnings (opened_at);

---- create above / drop below ----

DROP TABLE warnings;
DROP TABLE listeners;
DROP TABLE workers;
