-- The processes of this installation: which workers there are, and what the people who run it must know of their trouble.

CREATE TABLE workers (
    name text PRIMARY KEY,
    seen_at timestamptz NOT NULL
);

COMMENT ON TABLE workers IS 'Which worker processes there are, so that they can share what is limited for all of them together.';
COMMENT ON COLUMN workers.seen_at IS 'By the database''s clock: a worker says every few seconds that it is there. One that has not for half a minute is not counted.';

CREATE TABLE operator_alerts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    message text NOT NULL,
    workers text[] NOT NULL,
    open_workers text[] NOT NULL,
    opened_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    closed_at timestamptz,
    CHECK (opened_at <= seen_at)
);

COMMENT ON TABLE operator_alerts IS 'Trouble of Riverwatch itself: one row however many monitors and processes it is about.';
COMMENT ON COLUMN operator_alerts.kind IS 'no_sight: a worker cannot see the network. clock_skew: the clocks of a process and of the database differ.';
COMMENT ON COLUMN operator_alerts.workers IS 'All processes that it was about.';
COMMENT ON COLUMN operator_alerts.open_workers IS 'Those that it is still about.';
COMMENT ON COLUMN operator_alerts.seen_at IS 'When it was last true: who raises an alert renews it every few seconds. One that is not renewed for a minute is closed.';

CREATE UNIQUE INDEX operator_alerts_open ON operator_alerts (kind) WHERE closed_at IS NULL;

CREATE INDEX operator_alerts_newest ON operator_alerts (opened_at);

---- create above / drop below ----

DROP TABLE operator_alerts;
DROP TABLE workers;
