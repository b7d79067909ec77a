package probe

import (
	"slices"
	"strconv"
	"strings"
)

const (
	minStatus = 200
	maxStatus = 599

	maxStatusRanges = 20
)

// statusRange is a range of HTTP statuses, both ends included.
type statusRange struct{ low, high int }

var success = statusRange{200, 299}

// CheckStatuses checks a list of accepted statuses: at most 20, each such as "204" or "200-299", within 200 to 599.
func CheckStatuses(statuses []string) error {
	if len(statuses) > maxStatusRanges {
		return inputError("status_invalid", "has %d items, and may have %d", len(statuses), maxStatusRanges)
	}
	for i, text := range statuses {
		if _, ok := parseStatusRange(text); !ok {
			return inputError("status_invalid",
				`item %d must be a status such as "204" or a range such as "200-299", within %d to %d`, i+1, minStatus, maxStatus)
		}
	}
	return nil
}

// accepts reports whether a status is among those accepted; of an empty list, 200 to 299.
func accepts(statuses []string, status int) bool {
	if len(statuses) == 0 {
		return success.contains(status)
	}
	return slices.ContainsFunc(statuses, func(text string) bool {
		accepted, ok := parseStatusRange(text)
		return ok && accepted.contains(status)
	})
}

func (r statusRange) contains(status int) bool { return r.low <= status && status <= r.high }

func parseStatusRange(text string) (r statusRange, ok bool) {
	lowText, highText, isRange := strings.Cut(text, "-")
	if !isRange {
		highText = lowText
	}
	low, okLow := parseStatus(lowText)
	high, okHigh := parseStatus(highText)
	return statusRange{low, high}, okLow && okHigh && low <= high
}

func parseStatus(text string) (status int, ok bool) {
	status, err := strconv.Atoi(text)
	return status, err == nil && len(text) == 3 && minStatus <= status && status <= maxStatus // no +20, no 0200
}
