package db

import (
	"context"
	"fmt"
	"time"
)

// The least range that one step of NewestScans asks for.
const leastWindow = time.Hour

// NewestScans gives the newest scans of a monitor with a slot from since until before until, newest first, at most
// limit. The key of the log begins with the slot, so each slot that was due is asked for by itself: this asks for as
// many as a page needs, going back, and for more at a time the fewer it finds.
func NewestScans(
	ctx context.Context, conn DBTX, monitorID int64, since, until time.Time, limit int,
) ([]Scan, error) {
	queries := New(conn)
	shortest, err := queries.ShortestInterval(ctx, ShortestIntervalParams{
		MonitorID: monitorID, Since: since, Until: until,
	})
	if err != nil {
		return nil, fmt.Errorf("get the shortest interval of monitor %d: %w", monitorID, err)
	}
	window := max(leastWindow, time.Duration(shortest*limit)*time.Second)
	if shortest == 0 { // it had no schedule: only scans outside rounds can be there, and these have an index
		window = until.Sub(since)
	}

	scans := []Scan{}
	for until.After(since) && len(scans) < limit {
		from := since
		if window < until.Sub(since) {
			from = until.Add(-window)
		}
		step, err := queries.ListScans(ctx, ListScansParams{
			MonitorID: monitorID, Since: from, Until: until, PageSize: limit - len(scans),
		})
		if err != nil {
			return nil, fmt.Errorf("list scans of monitor %d: %w", monitorID, err)
		}
		scans = append(scans, step...)
		until, window = from, 2*window
	}
	return scans, nil
}
