package main

import (
	"math"
	"slices"
	"time"
)

// percentiles of durations are in milliseconds.
type percentiles struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

func percentilesOf(durations []time.Duration) percentiles {
	slices.Sort(durations)
	return percentiles{
		P50: milliseconds(percentile(durations, 50)), P99: milliseconds(percentile(durations, 99)),
		Max: milliseconds(percentile(durations, 100)),
	}
}

// percentile gives the smallest of sorted values that p percent of them do not exceed; none: 0.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// per divides, and gives 0 where there is nothing to divide by.
func per[T time.Duration | int | int64 | float64](amount T, count int) float64 {
	if count == 0 {
		return 0
	}
	return float64(amount) / float64(count)
}

// microsecondsPer gives how many microseconds of CPU time one of count things took.
func microsecondsPer(cpu time.Duration, count int) float64 { return per(cpu, count) / 1000 }
