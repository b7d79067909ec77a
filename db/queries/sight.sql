-- TakeBackScans makes scans inconclusive that a worker wrote while it could not see the network: those with a slot since
-- since that ended since ended_since until before ended_until with one of outcomes, page_size at most.
-- name: TakeBackScans :many
SELECT take_back_scans(
    @since::timestamptz, @worker::text, @outcomes::text[], @ended_since::timestamptz, @ended_until::timestamptz,
    @page_size::integer, @error::text
)::bigint AS monitor_id;

-- ListOutcomes gives what the scans of some monitors concluded since an instant, in the order of their slots.
-- name: ListOutcomes :many
SELECT slot, monitor_id, outcome, monitor_version, late_ms, total_us FROM monitor_log
WHERE slot >= @since AND monitor_id = ANY(@monitor_ids::bigint[])
ORDER BY slot, monitor_id;
