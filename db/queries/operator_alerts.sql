-- RaiseAlert opens the alert of a kind, or renews the one that is open, on behalf of a worker.
-- name: RaiseAlert :exec
INSERT INTO operator_alerts AS a (opened_at, seen_at, kind, message, workers, open_workers)
VALUES (@at, @at, @kind, @message, ARRAY[@worker::text], ARRAY[@worker::text])
ON CONFLICT (kind) WHERE closed_at IS NULL DO UPDATE SET
    seen_at = greatest(a.seen_at, excluded.seen_at),
    workers = CASE WHEN a.workers @> excluded.workers THEN a.workers ELSE a.workers || excluded.workers END,
    open_workers = CASE
        WHEN a.open_workers @> excluded.open_workers THEN a.open_workers
        ELSE a.open_workers || excluded.open_workers
    END;

-- WithdrawAlert says that the open alert of a kind is no longer about a worker, and closes it if it is about no other.
-- name: WithdrawAlert :exec
UPDATE operator_alerts SET
    open_workers = array_remove(open_workers, @worker::text),
    closed_at = CASE WHEN open_workers <@ ARRAY[@worker::text] THEN greatest(@at::timestamptz, seen_at) END
WHERE kind = @kind AND closed_at IS NULL AND open_workers @> ARRAY[@worker::text];

-- CloseStaleAlerts closes the alerts that nobody has renewed for a minute: who raised them is gone. The clock of who
-- closes them may be ahead.
-- name: CloseStaleAlerts :exec
UPDATE operator_alerts SET closed_at = greatest(least(@at::timestamptz, clock_timestamp()), seen_at), open_workers = '{}'
WHERE closed_at IS NULL AND seen_at < least(@at::timestamptz, clock_timestamp()) - INTERVAL '1 minute';

-- ListAlerts gives the newest alerts, newest first.
-- name: ListAlerts :many
SELECT * FROM operator_alerts
ORDER BY opened_at DESC, id DESC
LIMIT @page_size::integer;
