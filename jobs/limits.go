package jobs

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"riverwatch/wait"
)

// Limits bound what a worker has in flight.
type Limits struct {
	Probes        int // of one process, at least 1
	ProbesPerHost int // to one host and port, of all workers together, at least 1
	Results       int // of one process, that wait to be written
}

// Of the scans of its rounds so many may wait for a place in the process. With more, a worker takes no other rounds: they are
// for workers that have time, and to wait in the database costs no memory.
const maxWaiting = 10_000

// limiter hands out the places of Limits.
type limiter struct {
	all     *semaphore.Weighted
	perHost int64
	workers atomic.Int64 // that share the places at a host
	metrics *metrics

	maxWaiting int64
	waiting    atomic.Int64 // for a place in the process
	fullAt     atomic.Int64 // when there were too many last, in Unix nanoseconds

	mu    sync.Mutex
	hosts map[string]*hostPlaces
}

type hostPlaces struct {
	places *semaphore.Weighted
	users  int // holders and waiters; without any, the entry goes
}

func newLimiter(limits Limits, metrics *metrics) *limiter {
	l := &limiter{
		all:     semaphore.NewWeighted(int64(limits.Probes)),
		perHost: int64(limits.ProbesPerHost),
		metrics: metrics,
		hosts:   map[string]*hostPlaces{},

		maxWaiting: maxWaiting,
	}
	l.workers.Store(1)
	return l
}

// acquire waits for a place to probe host until ctx is done. The place at the host comes first, so that those who wait
// for a slow host hold nothing that others need. A probe takes as many of the host's places as there are workers: each
// of these then has its share. With more workers than places each has one, as else it could not probe the host at all.
func (l *limiter) acquire(ctx context.Context, host string) (release func(), err error) {
	places, share := l.join(host), min(l.workers.Load(), l.perHost)
	if err := l.take(ctx, places, share, l.metrics.waitsHost); err != nil {
		l.leave(host)
		return nil, err
	}
	l.waiting.Add(1)
	err = l.take(ctx, l.all, 1, l.metrics.waitsProcess)
	l.waiting.Add(-1)
	if err != nil {
		places.Release(share)
		l.leave(host)
		return nil, err
	}
	return func() {
		l.all.Release(1)
		places.Release(share)
		l.leave(host)
	}, nil
}

// full reports whether too many scans wait, and notes when.
func (l *limiter) full(now time.Time) bool {
	full := l.waiting.Load() > l.maxWaiting
	if full {
		l.fullAt.Store(now.UnixNano())
	}
	return full
}

// wasFullSince reports whether too many scans have waited since an instant.
func (l *limiter) wasFullSince(t time.Time) bool { return l.fullAt.Load() >= t.UnixNano() }

// take takes n places, and counts if they have to be waited for.
func (l *limiter) take(ctx context.Context, places *semaphore.Weighted, n int64, waits prometheus.Counter) error {
	if wait.Over(ctx) {
		return context.DeadlineExceeded
	}
	if places.TryAcquire(n) {
		return nil
	}
	waits.Inc()
	return places.Acquire(ctx, n)
}

func (l *limiter) join(host string) *semaphore.Weighted {
	l.mu.Lock()
	defer l.mu.Unlock()
	entry := l.hosts[host]
	if entry == nil {
		entry = &hostPlaces{places: semaphore.NewWeighted(l.perHost)}
		l.hosts[host] = entry
	}
	entry.users++
	return entry.places
}

func (l *limiter) leave(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entry := l.hosts[host]
	entry.users--
	if entry.users == 0 {
		delete(l.hosts, host)
	}
}
