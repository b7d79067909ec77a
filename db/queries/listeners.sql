-- ShareListeners notes where a process listens, forgets those that ended an hour ago, and gives where all listen.
-- name: ShareListeners :many
WITH noted AS (
    INSERT INTO listeners (address, seen_at) SELECT unnest(@own::text[]), now()
    ON CONFLICT (address) DO UPDATE SET seen_at = excluded.seen_at
    RETURNING address
), forgotten AS (
    DELETE FROM listeners WHERE seen_at < now() - INTERVAL '1 hour' AND address <> ALL (@own::text[])
)
SELECT address FROM noted
UNION
SELECT address FROM listeners WHERE seen_at >= now() - INTERVAL '1 hour';
