package jobs

import (
	"context"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"
)

// Limits bound the probes in flight of one process.
type Limits struct {
	Probes        int // in all, at least 1
	ProbesPerHost int // to one host and port, at least 1
}

// limiter hands out the places of Limits.
type limiter struct {
	all     *semaphore.Weighted
	perHost int64
	waits   *prometheus.CounterVec

	mu    sync.Mutex
	hosts map[string]*hostPlaces
}

type hostPlaces struct {
	places *semaphore.Weighted
	users  int // holders and waiters; without any, the entry goes
}

func newLimiter(limits Limits, waits *prometheus.CounterVec) *limiter {
	return &limiter{
		all:     semaphore.NewWeighted(int64(limits.Probes)),
		perHost: int64(limits.ProbesPerHost),
		waits:   waits,
		hosts:   map[string]*hostPlaces{},
	}
}

// acquire waits for a place to probe host until ctx is done. The place at the host comes first, so that those who wait
// for a slow host hold nothing that others need.
func (l *limiter) acquire(ctx context.Context, host string) (release func(), err error) {
	places := l.join(host)
	if err := l.take(ctx, places, "host"); err != nil {
		l.leave(host)
		return nil, err
	}
	if err := l.take(ctx, l.all, "process"); err != nil {
		places.Release(1)
		l.leave(host)
		return nil, err
	}
	return func() {
		l.all.Release(1)
		places.Release(1)
		l.leave(host)
	}, nil
}

// take takes a place, and counts if it has to be waited for.
func (l *limiter) take(ctx context.Context, places *semaphore.Weighted, limit string) error {
	if ctx.Err() == nil && places.TryAcquire(1) {
		return nil
	}
	l.waits.WithLabelValues(limit).Inc()
	return places.Acquire(ctx, 1)
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
