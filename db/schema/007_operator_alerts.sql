-- What the people who run this installation must know, as one row however many monitors it is about.

CREATE TABLE operator_alerts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    opened_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    closed_at timestamptz,
    kind text NOT NULL,
    message text NOT NULL,
    workers text[] NOT NULL,
    open_workers text[] NOT NULL,
    CHECK (opened_at <= seen_at)
);

COMMENT ON COLUMN operator_alerts.seen_at IS 'When it was last true: who raises an alert renews it every few seconds. One that is not renewed for a minute is closed.';
COMMENT ON COLUMN operator_alerts.kind IS 'no_sight: a worker cannot see the network.';
COMMENT ON COLUMN operator_alerts.workers IS 'All workers that it was about.';
COMMENT ON COLUMN operator_alerts.open_workers IS 'Those that it is still about.';

CREATE UNIQUE INDEX operator_alerts_open ON operator_alerts (kind) WHERE closed_at IS NULL;

CREATE INDEX operator_alerts_newest ON operator_alerts (opened_at);

---- create above / drop below ----

DROP TABLE operator_alerts;
