//go:build linux

package chaos_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// The target notes a request when it has read it, and the log when the probe began: on a busy machine one is well
	// after the other, but never near to another slot.
	clockSlack = 2 * time.Second
	// How long a probe may wait for its turn, with what a busy machine adds.
	longestWait = 13 * time.Second
	// A round may begin until its next slot, and a scan outside rounds, which is tried again, for two minutes.
	longestStart = interval*time.Second + longestWait
	longestTries = 2*time.Minute + longestWait
)

// row is a scan of the log, as far as it is to be compared with the ledger.
type row struct {
	slot       time.Time
	start, end time.Time
	answered   bool // it has an HTTP status, so that there was a request
}

func (r row) String() string {
	return clock(r.slot) + " from " + clock(r.start) + " until " + clock(r.end)
}

// lostScan is a scan of which nothing is known: a request may have been made from an instant until before another one.
type lostScan struct{ from, until time.Time }

func (l lostScan) String() string { return clock(l.from) + " until " + clock(l.until) }

// account compares what the target was asked on behalf of one monitor with what the tables say of it: each request
// belongs to one row, or to one scan that was lost, and each row that tells of an answer has its request. It
// gives what does not fit. All are in order of time.
func account(hits []time.Time, rows []row, lost []lostScan) (findings []string) {
	open, rows := slices.Clone(hits), slices.Clone(rows)
	// Those that need a request come first: one without an answer may be near to a second look with one.
	slices.SortStableFunc(rows, func(a, b row) int {
		switch {
		case a.answered == b.answered:
			return 0
		case a.answered:
			return -1
		}
		return 1
	})
	for _, r := range rows {
		i := slices.IndexFunc(open, func(at time.Time) bool {
			return !at.Before(r.start.Add(-clockSlack)) && !at.After(r.end.Add(clockSlack))
		})
		switch {
		case i >= 0:
			open = slices.Delete(open, i, i+1)
		case r.answered:
			findings = append(findings, fmt.Sprintf("the row of %s tells of an answer that the target never gave", clock(r.slot)))
		}
	}
	lost = slices.Clone(lost)
	slices.SortFunc(lost, func(a, b lostScan) int { return a.until.Compare(b.until) }) // the first that ends is taken first
	for _, at := range open {
		i := slices.IndexFunc(lost, func(l lostScan) bool { return !at.Before(l.from) && at.Before(l.until) })
		if i < 0 {
			findings = append(findings, fmt.Sprintf("the request of %s belongs to no row and to no declared gap", clock(at)))
			continue
		}
		lost = slices.Delete(lost, i, i+1)
	}
	return findings
}

func clock(at time.Time) string { return at.UTC().Format("15:04:05.000") }

func TestAccount(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	at := func(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }
	scan := func(slot, start, end float64) row {
		return row{slot: at(slot), start: at(start), end: at(end), answered: true}
	}
	lost := func(slots ...float64) (all []lostScan) {
		for _, slot := range slots {
			all = append(all, lostScan{at(slot), at(slot).Add(longestStart)})
		}
		return all
	}
	tests := []struct {
		name string
		hits []time.Time
		rows []row
		lost []lostScan
		want string
	}{
		{"AllFits", []time.Time{at(0.1), at(10.1)}, []row{scan(0, 0, 1), scan(10, 10, 11)}, nil, ""},
		{"TwoRequestsForOneRow", []time.Time{at(0.1), at(0.2)}, []row{scan(0, 0, 1)}, nil, "belongs to no row"},
		{"ARowWithoutARequest", nil, []row{scan(0, 0, 1)}, nil, "never gave"},
		{"ARequestWhoseResultWasLost", []time.Time{at(0.1)}, nil, lost(0), ""},
		{"TwoRequestsForOneLostSlot", []time.Time{at(0.1), at(0.2)}, nil, lost(0), "belongs to no row"},
		{"AGapWithoutARequest", nil, nil, lost(0), ""},
		{"TwoLostSlots", []time.Time{at(0.1), at(10.1)}, nil, lost(10, 0), ""},
		{
			"AScanThatWasTriedAgainBetweenTwoSlots",
			[]time.Time{at(10.1), at(75)},
			nil,
			append([]lostScan{{at(1), at(1).Add(longestTries)}}, lost(10)...), "",
		},
		{"ALateRequest", []time.Time{at(40)}, nil, lost(0), "belongs to no row"},
		{
			"AnInconclusiveRowTakesNoneThatAnotherNeeds",
			[]time.Time{at(1.1)},
			[]row{{slot: at(0), start: at(0), end: at(0)}, scan(1, 1, 2)},
			nil, "",
		},
		{"AnInconclusiveRowNeedsNone", nil, []row{{slot: at(0), start: at(0), end: at(1)}}, nil, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			findings := strings.Join(account(test.hits, test.rows, test.lost), "\n")
			require.Contains(t, findings, test.want)
			require.Equal(t, test.want == "", findings == "")
		})
	}
}
