package jobs

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"riverwatch/probe"
	"riverwatch/wait"
)

// Limits bound what a worker has in flight.
type Limits struct {
	Probes        int // of one process, at least 1
	ProbesPerHost int // to one host and port, of all workers together, at least 1
	Results       int // of one process, that wait to be written
	Retries       int // quick second looks that one process asks for in a second; 0: none
}

const (
	// So many scans of its rounds may wait for a place in the process. With more, a worker takes no other rounds: they are
	// for workers that have time, and to wait in the database costs no memory.
	maxWaiting = 10_000
	// When so many wait for hosts, a host has at most a hundred of them: what comes is left out. A worker whose monitors are
	// all at hosts that hang would else hold them all, and one that waited for hosts like these would scan nothing else.
	maxWaitingForHosts = 10_000
	waitingForHost     = 100
)

// errCrowded is why a scan does not even wait for its host.
var errCrowded = errors.New("too many scans wait for their hosts")

// limiter hands out the places of Limits.
type limiter struct {
	*places

	perHost int64
	workers atomic.Int64 // that share the places at a host
	metrics *metrics

	maxWaiting int
	fullAt     atomic.Int64 // when there were too many last, in Unix nanoseconds

	hostsMu      sync.Mutex
	hosts        map[string]*hostPlaces
	waitForHosts int
}

type hostPlaces struct {
	places  *semaphore.Weighted
	users   int // holders and waiters; without any, the entry goes
	waiting int // of these
}

func newLimiter(limits Limits, metrics *metrics) *limiter {
	l := &limiter{
		places:  newPlaces(limits.Probes, newDelay(), metrics.givenUp.Inc, func(brisk int) { metrics.mayBegin.Set(float64(brisk)) }),
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
// release gives the place back, with what came of the probe.
func (l *limiter) acquire(ctx context.Context, host string, c candidate) (release func(probe.Result), err error) {
	share := min(l.workers.Load(), l.perHost)
	at, err := l.awaitHost(ctx, host, share)
	if err != nil {
		return nil, err
	}
	mine, err := l.take(ctx, c, l.metrics.waitsProcess.Inc)
	if err != nil {
		at.places.Release(share)
		l.leaveHost(host)
		return nil, err
	}
	return func(result probe.Result) {
		l.giveBack(mine, result)
		at.places.Release(share)
		l.leaveHost(host)
	}, nil
}

// full reports whether too many scans wait, and notes when.
func (l *limiter) full(now time.Time) bool {
	full := l.waiting() > l.maxWaiting
	if full {
		l.fullAt.Store(now.UnixNano())
	}
	return full
}

// wasFullSince reports whether too many scans have waited since an instant.
func (l *limiter) wasFullSince(t time.Time) bool { return l.fullAt.Load() >= t.UnixNano() }

// awaitHost takes a share of a host's places, and counts if it has to be waited for.
func (l *limiter) awaitHost(ctx context.Context, host string, share int64) (at *hostPlaces, err error) {
	if wait.Over(ctx) {
		return nil, context.DeadlineExceeded
	}
	at, free := l.joinHost(host, share)
	if free {
		return at, nil
	}
	defer func() {
		if err != nil {
			l.leaveHost(host)
		}
	}()
	l.metrics.waitsHost.Inc()
	if !l.mayWait(at) {
		return nil, errCrowded
	}
	err = at.places.Acquire(ctx, share)
	l.hostsMu.Lock()
	defer l.hostsMu.Unlock()
	at.waiting--
	l.waitForHosts--
	return at, err
}

// mayWait reports whether a scan may wait for a host, and counts it then.
func (l *limiter) mayWait(at *hostPlaces) bool {
	l.hostsMu.Lock()
	defer l.hostsMu.Unlock()
	if l.waitForHosts >= maxWaitingForHosts && at.waiting >= waitingForHost {
		return false
	}
	at.waiting++
	l.waitForHosts++
	return true
}

// joinHost counts a user of a host, who has its share at once if it is free.
func (l *limiter) joinHost(host string, share int64) (at *hostPlaces, free bool) {
	l.hostsMu.Lock()
	defer l.hostsMu.Unlock()
	at = l.hosts[host]
	if at == nil {
		at = &hostPlaces{places: semaphore.NewWeighted(l.perHost)}
		l.hosts[host] = at
	}
	at.users++
	return at, at.places.TryAcquire(share)
}

func (l *limiter) leaveHost(host string) {
	l.hostsMu.Lock()
	defer l.hostsMu.Unlock()
	at := l.hosts[host]
	at.users--
	if at.users == 0 {
		delete(l.hosts, host)
	}
}
