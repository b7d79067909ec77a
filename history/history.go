// Package history holds what becomes of the log: it is rolled up into hours and days, and dropped by age and size; and what the
// past says of a monitor, read from the log, the hours or the days, whichever holds it.
package history

import (
	"time"
)

// HourOf gives the beginning of the hour of an instant.
func HourOf(at time.Time) time.Time { return at.UTC().Truncate(time.Hour) }

// DayOf gives the beginning of the day of an instant, in UTC.
func DayOf(at time.Time) time.Time { return at.UTC().Truncate(day) }

const day = 24 * time.Hour
