-- name: PutSecrets :exec
INSERT INTO monitor_secrets (monitor_id, secrets)
SELECT
    unnest(@monitor_ids::bigint[]),
    unnest(@secrets::jsonb[])
ON CONFLICT (monitor_id) DO UPDATE SET secrets = excluded.secrets;

-- name: DeleteSecrets :exec
DELETE FROM monitor_secrets WHERE monitor_id = ANY(@monitor_ids::bigint[]);

-- name: ListSecrets :many
SELECT * FROM monitor_secrets WHERE monitor_id = ANY(@monitor_ids::bigint[]);
