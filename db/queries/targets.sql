-- ListTargets gives the monitors with a tag, or, if it is null, all, with where they stand and when the certificate that their
-- target showed last expires: page_size at most, in the order of their ids.
-- name: ListTargets :many
SELECT
    m.id, m.key, m.name, m.tags, m.method, m.url, m.interval_seconds, m.phase_ms, s.status, s.since,
    c.not_after
FROM monitors AS m
INNER JOIN monitor_states AS s ON s.monitor_id = m.id
LEFT JOIN monitor_certificates AS c
    ON
        c.monitor_id = m.id AND c.fingerprint = (
            SELECT n.fingerprint FROM monitor_certificates AS n
            WHERE n.monitor_id = m.id
            ORDER BY n.first_seen_at DESC, n.fingerprint
            LIMIT 1
        )
WHERE m.deleted_at IS NULL AND (sqlc.narg(tag)::text IS NULL OR m.tags @> ARRAY[sqlc.narg(tag)::text])
ORDER BY m.id
LIMIT @page_size::integer;

-- LastScans gives the newest scan of each of some monitors that is of one of two slots of its own, or of none, from since until before
-- until, and is not inconclusive. since and until must be no further apart than needed: they say which chunks of the log are asked.
-- name: LastScans :many
SELECT DISTINCT ON (l.monitor_id)
    l.monitor_id, l.slot, l.outcome, l.http_status, l.total_us, l.dns_us, l.connect_us, l.tls_us, l.wait_us, l.transfer_us
FROM (
    SELECT m.*
    FROM (
        SELECT unnest(@monitor_ids::bigint[]) AS monitor_id, unnest(@slots::timestamptz[]) AS slot
        UNION ALL
        SELECT unnest(@monitor_ids::bigint[]), unnest(@slots_before::timestamptz[])
    ) AS due
    CROSS JOIN LATERAL (
        SELECT r.* FROM monitor_log AS r
        WHERE r.slot = due.slot AND r.monitor_id = due.monitor_id AND r.slot >= @since::timestamptz AND r.slot < @until::timestamptz
        OFFSET 0 -- one after the other, each by the key: never all rows of the range
    ) AS m
    UNION ALL
    SELECT m.*
    FROM unnest(@monitor_ids::bigint[]) AS of (monitor_id)
    CROSS JOIN LATERAL (
        SELECT r.* FROM monitor_log AS r
        WHERE
            r.monitor_id = of.monitor_id AND r.reason <> 'round' AND r.outcome <> 'inconclusive'
            AND r.slot >= @since::timestamptz AND r.slot < @until::timestamptz
        ORDER BY r.slot DESC
        LIMIT 1
    ) AS m
) AS l
WHERE l.outcome <> 'inconclusive'
ORDER BY l.monitor_id, l.slot DESC;
