package jobs

import (
	runtimemetrics "runtime/metrics"
	"slices"
	"time"
)

// newDelay gives a function that tells for how long one goroutine in ten waited for a processor, since it was called last.
// A process feels so whatever keeps it from running: its own work, that of others, its control group's share.
func newDelay() func() time.Duration {
	sample := []runtimemetrics.Sample{{Name: "/sched/latencies:seconds"}}
	var before []uint64
	return func() time.Duration {
		runtimemetrics.Read(sample)
		histogram := sample[0].Value.Float64Histogram()
		delay := quantile(histogram, before, 0.9)
		before = append(before[:0], histogram.Counts...)
		return delay
	}
}

// quantile gives the lower bound of the bucket with a quantile of what a histogram has counted since it stood at before.
func quantile(histogram *runtimemetrics.Float64Histogram, before []uint64, q float64) time.Duration {
	if before == nil {
		return 0
	}
	counts := slices.Clone(histogram.Counts)
	var all uint64
	for i := range counts {
		counts[i] -= before[i]
		all += counts[i]
	}
	rank := uint64(q * float64(all))
	for i, count := range counts {
		if rank < count {
			return time.Duration(max(0, histogram.Buckets[i]) * float64(time.Second))
		}
		rank -= count
	}
	return 0
}
