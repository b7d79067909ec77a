package jobs

import (
	"context"
	"time"

	"github.com/riverqueue/river/rivertype"
)

// Waiting is how many results the recorder has taken and not begun to write.
func (r *Recorder) Waiting() int { return len(r.records) }

// SetStartWithin sets how long a probe may wait for its turn.
func (s *Scanner) SetStartWithin(d time.Duration) { s.startWithin = d }

// RetryAfter is when a job is tried again whose attempt failed now.
func RetryAfter(attempt int) time.Time {
	return retrySoon{}.NextRetry(&rivertype.JobRow{Attempt: attempt})
}

// SetDrain gives the recorder longer to write what is left at its stop, on a busy machine.
func (r *Recorder) SetDrain(drain time.Duration) { r.drain = drain }

// Workers is how many workers share the places at a host.
func (s *Scanner) Workers() int { return int(s.limiter.workers.Load()) }

// SkewOf is by how much our clock is at least ahead of the database's.
func SkewOf(asked, theirs, answered time.Time) time.Duration { return skewOf(asked, theirs, answered) }

// Compare compares once.
func (c *Clock) Compare(ctx context.Context) error { return c.compare(ctx) }

// SetMaxWaiting sets how many scans may wait before the worker takes no other rounds.
func (s *Scanner) SetMaxWaiting(n int) { s.limiter.maxWaiting = int64(n) }

// WasFull says that too many scans waited at an instant.
func (s *Scanner) WasFull(at time.Time) { s.limiter.fullAt.Store(at.UnixNano()) }

// WaitForPlace is how many scans wait for a place in the process.
func (s *Scanner) WaitForPlace() int { return int(s.limiter.waiting.Load()) }
