-- RaiseWarning opens the warning of a kind, or renews the one that is open, on behalf of a process.
-- name: RaiseWarning :exec
INSERT INTO warnings AS w (opened_at, seen_at, kind, message, processes, open_processes)
VALUES (@at, @at, @kind, @message, ARRAY[@process::text], ARRAY[@process::text])
ON CONFLICT (kind) WHERE closed_at IS NULL DO UPDATE SET
    seen_at = greatest(w.seen_at, excluded.seen_at),
    message = excluded.message,
    processes = CASE WHEN w.processes @> excluded.processes THEN w.processes ELSE w.processes || excluded.processes END,
    open_processes = CASE
        WHEN w.open_processes @> excluded.open_processes THEN w.open_processes
        ELSE w.open_processes || excluded.open_processes
    END;

-- WithdrawWarning says that the open warning of a kind is no longer about a process, and closes it if it is about no
-- other.
-- name: WithdrawWarning :exec
UPDATE warnings SET
    open_processes = array_remove(open_processes, @process::text),
    closed_at = CASE WHEN open_processes <@ ARRAY[@process::text] THEN greatest(@at::timestamptz, seen_at) END
WHERE kind = @kind AND closed_at IS NULL AND open_processes @> ARRAY[@process::text];

-- CloseStaleWarnings closes the warnings that nobody has renewed for a minute: who raised them is gone. The clock of who
-- closes them may be ahead.
-- name: CloseStaleWarnings :exec
UPDATE warnings SET closed_at = greatest(least(@at::timestamptz, clock_timestamp()), seen_at), open_processes = '{}'
WHERE closed_at IS NULL AND seen_at < least(@at::timestamptz, clock_timestamp()) - INTERVAL '1 minute';

-- ListWarnings gives the newest warnings, newest first.
-- name: ListWarnings :many
SELECT * FROM warnings
ORDER BY opened_at DESC, id DESC
LIMIT @page_size::integer;
