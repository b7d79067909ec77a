-- InsertCertificates inserts the certificates that are not there yet.
-- name: InsertCertificates :batchexec
INSERT INTO monitor_certificates (
    monitor_id, first_seen_at, not_before, not_after, fingerprint, subject, issuer, names
) VALUES (
    @monitor_id, @first_seen_at, @not_before, @not_after, @fingerprint, @subject, @issuer, @names
)
ON CONFLICT DO NOTHING;

-- PruneCertificates keeps the newest 100 certificates of each of these monitors: a target could show another one with
-- every scan.
-- name: PruneCertificates :exec
DELETE FROM monitor_certificates AS c
USING (
    SELECT
        monitor_id,
        fingerprint,
        row_number() OVER (PARTITION BY monitor_id ORDER BY first_seen_at DESC, fingerprint) AS place
    FROM monitor_certificates
    WHERE monitor_id = ANY(@monitor_ids::bigint[])
) AS placed
WHERE c.monitor_id = placed.monitor_id AND c.fingerprint = placed.fingerprint AND placed.place > 100;

-- ListCertificates gives the certificates that a monitor's target showed, the one that was new last first: 100 at most.
-- name: ListCertificates :many
SELECT * FROM monitor_certificates
WHERE monitor_id = @monitor_id
ORDER BY first_seen_at DESC, fingerprint
LIMIT 100;
