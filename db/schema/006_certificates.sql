-- The certificates that targets showed: a row when a monitor's target shows one for the first time, and none per scan.

CREATE TABLE monitor_certificates (
    monitor_id bigint NOT NULL REFERENCES monitors,
    fingerprint text NOT NULL,
    subject text NOT NULL,
    issuer text NOT NULL,
    names text[] NOT NULL,
    not_before timestamptz NOT NULL,
    not_after timestamptz NOT NULL,
    first_seen_at timestamptz NOT NULL,
    PRIMARY KEY (monitor_id, fingerprint)
);

COMMENT ON TABLE monitor_certificates IS 'What the targets'' certificates say; of each monitor the 100 that were new last.';
COMMENT ON COLUMN monitor_certificates.fingerprint IS 'SHA-256 of the certificate''s DER, in hexadecimal.';
COMMENT ON COLUMN monitor_certificates.names IS 'DNS names and addresses that it is for; the first 100.';

---- create above / drop below ----

DROP TABLE monitor_certificates;
