package db

import (
	"context"
	"fmt"
	"time"
)

const (
	// The least range that one step of NewestScans asks for.
	leastWindow = time.Hour
	// So many slots NewestScans asks for at most, in some tenths of a second: of a log that is mostly gaps, few are found.
	mostSlots = 50_000
)

// NewestScans gives the newest scans of a monitor with a slot from since until before until, newest first, at most
// limit, and the instant from which on these are all: since, or, where more slots were due than are asked for at a time, a
// later one, before which the next call goes on. The key of the log begins with the slot, so each slot that was due is asked
// for by itself: this asks for as many as a page needs, going back, and for more at a time the fewer it finds.
func NewestScans(
	ctx context.Context, conn DBTX, monitorID int64, since, until time.Time, limit int,
) (scans []Scan, from time.Time, err error) {
	queries := New(conn)
	shortest, err := queries.ShortestInterval(ctx, ShortestIntervalParams{
		MonitorID: monitorID, Since: since, Until: until,
	})
	if err != nil {
		return nil, since, fmt.Errorf("get the shortest interval of monitor %d: %w", monitorID, err)
	}
	window := max(leastWindow, time.Duration(shortest*limit)*time.Second)
	if shortest == 0 { // it had no schedule: only scans outside rounds can be there, and these have an index
		window = until.Sub(since)
	} else if bound := until.Add(-time.Duration(shortest*mostSlots) * time.Second); bound.After(since) {
		since = bound
	}

	scans = []Scan{}
	for until.After(since) && len(scans) < limit {
		from := since
		if window < until.Sub(since) {
			from = until.Add(-window)
		}
		step, err := queries.ListScans(ctx, ListScansParams{
			MonitorID: monitorID, Since: from, Until: until, PageSize: limit - len(scans),
		})
		if err != nil {
			return nil, since, fmt.Errorf("list scans of monitor %d: %w", monitorID, err)
		}
		scans = append(scans, step...)
		until, window = from, 2*window
	}
	if len(scans) == limit {
		return scans, scans[limit-1].Slot, nil
	}
	return scans, since, nil
}
