package main

import (
	"context"
	_ "embed"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// A targetView is what the target saw of the slots of a window.
type targetView struct {
	Requests int         `json:"requests"`
	Twice    int         `json:"requests_beyond_the_first_of_a_scan"`
	Busiest  int         `json:"most_requests_in_a_second"`
	Lateness percentiles `json:"lateness"` // when a request had been read, minus its slot
}

// A scanStart is when a scan began, by the log.
type scanStart struct {
	slot, next time.Time // the monitor's next slot
	at         time.Time
	ofRound    bool
}

// lateUnit is how much earlier than the log says a request may arrive: the log has whole milliseconds.
const lateUnit = 2 * time.Millisecond

// viewOf gives a request to the scan of its monitor that began last before it arrived: one that is more than an interval
// late belongs to its slot all the same. A second one for the same scan is one too many, unless the next slot has come: then
// it is of that one, whose scan is not in the log yet. The starts of each monitor are in order. Of the scans, those of rounds
// with slots in the window count.
func viewOf(ledger ledger, starts map[key][]scanStart, from, until time.Time) (v targetView) {
	var late []time.Duration
	asked := map[*scanStart]bool{}
	bySecond := map[int64]int{}
	for i, monitor := range ledger.Keys {
		at := time.UnixMicro(ledger.At[i])
		began := starts[monitor]
		after, _ := slices.BinarySearchFunc(began, at.Add(lateUnit), func(s scanStart, t time.Time) int { return s.at.Compare(t) })
		if after == 0 {
			continue // of a monitor that is unknown, or a scan from before all of these
		}
		scan := &began[after-1]
		if !scan.ofRound || scan.slot.Before(from) || !scan.slot.Before(until) {
			continue
		}
		if asked[scan] && !at.Before(scan.next) {
			continue
		}
		v.Requests++
		bySecond[at.Unix()]++
		if asked[scan] {
			v.Twice++
			continue
		}
		asked[scan] = true
		late = append(late, at.Sub(scan.slot))
	}
	v.Lateness = percentilesOf(late)
	for _, count := range bySecond {
		v.Busiest = max(v.Busiest, count)
	}
	return v
}

//go:embed sql/starts.sql
var startsSQL string

// starts gives when the scans with slots in a range began, of each monitor in order.
func (f *fleet) starts(ctx context.Context, from, until time.Time) (map[key][]scanStart, error) {
	rows, err := f.conn.Query(ctx, startsSQL, from, until)
	if err != nil {
		return nil, fmt.Errorf("list when scans began: %w", err)
	}
	starts := make(map[key][]scanStart, f.monitors)
	var text string
	var scan scanStart
	var lateMS, interval int
	_, err = pgx.ForEachRow(rows, []any{&text, &interval, &scan.slot, &lateMS, &scan.ofRound}, func() error {
		parsed, err := url.Parse(text)
		if err != nil {
			return err //nolint:wrapcheck // it has been parsed before
		}
		if monitor, ok := parseKey(parsed.Path); ok {
			scan.next = scan.slot.Add(time.Duration(interval) * time.Second)
			scan.at = scan.slot.Add(time.Duration(lateMS) * time.Millisecond)
			starts[monitor] = append(starts[monitor], scan)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list when scans began: %w", err)
	}
	return starts, nil
}
