-- What a monitor asks, beyond method and URL, and what it expects, beyond status and one regexp.

ALTER TABLE monitors
ADD COLUMN request jsonb NOT NULL DEFAULT '{}',
ADD COLUMN expectations jsonb NOT NULL DEFAULT '{}',
ADD COLUMN secret_names text[] NOT NULL DEFAULT '{}';

COMMENT ON COLUMN monitors.request IS 'Headers, body, user name, TLS and connection options; an option that is not there has its default.';
COMMENT ON COLUMN monitors.expectations IS 'More regexps, of headers, values of a JSON body, times, days of the certificate.';
COMMENT ON COLUMN monitors.secret_names IS 'What monitor_secrets holds of it: basic_password, bearer_token, client_key_pem, header Name.';

-- Apart from monitors, so that fewer people and programs may read it.
CREATE TABLE monitor_secrets (
    monitor_id bigint PRIMARY KEY REFERENCES monitors,
    secrets jsonb NOT NULL
);

COMMENT ON TABLE monitor_secrets IS 'The secrets of a monitor''s request. The API shows their names only, from monitors.secret_names.';

ALTER TABLE monitor_log ADD COLUMN body_excerpt text;

COMMENT ON COLUMN monitor_log.body_excerpt IS 'Of a bad answer: the first of its body, at most 1 KiB, cleaned.';

---- create above / drop below ----

ALTER TABLE monitor_log DROP COLUMN body_excerpt;
DROP TABLE monitor_secrets;
ALTER TABLE monitors DROP COLUMN request, DROP COLUMN expectations, DROP COLUMN secret_names;
