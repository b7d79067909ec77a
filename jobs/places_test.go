package jobs

import (
	"context"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/uptime"
)

// room is places by a clock that the test moves, and who has them.
type room struct {
	*places

	t       *testing.T
	ctx     context.Context //nolint:containedctx // that of the test
	delayed atomic.Int64    // how long goroutines wait for a processor

	mu     sync.Mutex
	has    map[int64]*place
	began  []int64 // all that have had a place, in order
	gaveUp []int64
}

func inRoom(t *testing.T, most int, test func(r *room)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		r := &room{t: t, ctx: ctx, has: map[int64]*place{}}
		r.places = newPlaces(most, func() time.Duration { return time.Duration(r.delayed.Load()) }, func() {}, func(int) {})
		go r.run(ctx)
		test(r)
		stop()
		synctest.Wait()
	})
}

// want asks for places of monitors at a slot, until ctx is done.
func (r *room) want(ctx context.Context, slot time.Time, monitorIDs ...int64) {
	for _, id := range monitorIDs {
		go func() {
			mine, err := r.take(ctx, candidate{id, slot, func(error) { r.note(func() { r.gaveUp = append(r.gaveUp, id) }) }}, func() {})
			if err == nil {
				r.note(func() { r.has[id], r.began = mine, append(r.began, id) })
			}
		}()
		synctest.Wait() // in this order
	}
}

// may is how many probes may be in their first second.
func (r *room) may() int {
	r.places.mu.Lock()
	defer r.places.mu.Unlock()
	return r.brisk
}

func (r *room) note(what func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	what()
}

func (r *room) order() []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.began)
}

func (r *room) ended() []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.gaveUp)
}

func (r *room) underWay() []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.has))
}

// end ends a monitor's probe.
func (r *room) end(id int64, outcome uptime.Outcome) {
	r.t.Helper()
	var mine *place
	r.note(func() { mine = r.has[id]; delete(r.has, id) })
	require.NotNil(r.t, mine, "monitor %d has a place", id)
	r.giveBack(mine, probe.Result{Outcome: outcome, Total: time.Since(mine.since)})
	synctest.Wait()
}

// sleep lets time go by, and all happen that is due.
func (r *room) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func numbered(from, to int64) (ids []int64) {
	for id := from; id <= to; id++ {
		ids = append(ids, id)
	}
	return ids
}

func TestPlaces(t *testing.T) {
	t.Parallel()

	t.Run("AreNeverMoreThanThereAre", func(t *testing.T) {
		t.Parallel()
		inRoom(t, 3, func(r *room) {
			r.want(r.ctx, time.Now(), numbered(1, 4)...)
			require.Equal(t, []int64{1, 2, 3}, r.order())
			r.end(2, uptime.OK)
			require.Equal(t, []int64{1, 2, 3, 4}, r.order())
		})
	})

	t.Run("TheNewestSlotComesFirst", func(t *testing.T) {
		t.Parallel()
		inRoom(t, 1, func(r *room) {
			now := time.Now()
			r.want(r.ctx, now, 1)
			r.want(r.ctx, now.Add(-time.Second), 2)
			r.want(r.ctx, now.Add(time.Second), 3, 4)
			r.want(r.ctx, now, 5)
			for _, id := range []int64{1, 3, 4, 5, 2} {
				r.end(id, uptime.OK)
			}
		})
	})

	t.Run("WhoLeavesIsNotInTheWay", func(t *testing.T) {
		t.Parallel()
		inRoom(t, 1, func(r *room) {
			r.want(r.ctx, time.Now(), 1)
			ctx, leave := context.WithCancel(r.ctx)
			r.want(ctx, time.Now(), 2, 3)
			r.want(r.ctx, time.Now(), 4)
			leave()
			synctest.Wait()
			r.end(1, uptime.OK)
			require.Equal(t, []int64{1, 4}, r.order())
		})
	})

	t.Run("WhoseTimeIsOverHasNone", func(t *testing.T) {
		t.Parallel()
		inRoom(t, 1, func(r *room) {
			// The process stands still: the deadline passes, and the place comes, before anybody hears of either.
			mine, err := r.take(r.ctx, candidate{giveUp: func(error) {}}, func() {})
			require.NoError(t, err)
			late := make(chan error)
			go func() {
				_, err := r.take(lateOverdue{r.ctx, time.Now().Add(time.Second)}, candidate{}, func() {})
				late <- err
			}()
			r.sleep(2 * time.Second)
			r.giveBack(mine, probe.Result{Outcome: uptime.OK})
			require.ErrorIs(t, <-late, context.DeadlineExceeded)
			require.Zero(t, r.underway.Len(), "it has given it back")
		})
	})
}

// lateOverdue is a context whose deadline passes and that does not end.
type lateOverdue struct {
	context.Context //nolint:containedctx // it is one

	deadline time.Time
}

func (l lateOverdue) Deadline() (time.Time, bool) { return l.deadline, true }

func TestPlacesOfThoseThatHang(t *testing.T) {
	t.Parallel()

	t.Run("AreHalf", func(t *testing.T) {
		t.Parallel()
		for _, hung := range []uptime.Outcome{uptime.TimeoutConnect, uptime.TimeoutHeader, uptime.TimeoutBody} {
			inRoom(t, 4, func(r *room) {
				r.want(r.ctx, time.Now(), 1, 2, 3)
				for id := range int64(3) {
					r.end(id+1, hung)
				}
				r.want(r.ctx, time.Now(), 1, 2, 3, 4, 5)
				require.ElementsMatch(t, []int64{1, 2, 4, 5}, r.order()[3:], "the third waits for one of those that hang")
				r.end(4, uptime.OK)
				require.NotContains(t, r.underWay(), int64(3))
				r.end(1, uptime.OK) // it has come back
				require.Contains(t, r.underWay(), int64(3))
				r.want(r.ctx, time.Now(), 1)
				require.Contains(t, r.underWay(), int64(1), "it is one of the others again")
			})
		}
	})

	t.Run("AnInconclusiveProbeTellsNothingOfThem", func(t *testing.T) {
		t.Parallel()
		inRoom(t, 2, func(r *room) {
			for _, outcome := range []uptime.Outcome{uptime.TimeoutHeader, uptime.Inconclusive} {
				r.want(r.ctx, time.Now(), 1)
				r.end(1, outcome)
			}
			require.Equal(t, hangs, r.paces[1])
		})
	})

	t.Run("ComeByTheirSlotsToo", func(t *testing.T) {
		t.Parallel()
		inRoom(t, 2, func(r *room) {
			now := time.Now()
			r.want(r.ctx, now, 1)
			r.end(1, uptime.TimeoutHeader)
			r.want(r.ctx, now, 2, 3)
			r.want(r.ctx, now.Add(-time.Second), 4)
			r.want(r.ctx, now, 1)
			r.end(2, uptime.OK)
			require.Equal(t, []int64{1, 2, 3, 1}, r.order())
		})
	})
}

func TestProbesAreGivenUp(t *testing.T) {
	t.Parallel()

	t.Run("WhenOthersWaitForTheirPlaces", func(t *testing.T) {
		t.Parallel()
		inRoom(t, 3, func(r *room) {
			r.want(r.ctx, time.Now(), 1, 2)
			r.sleep(500 * time.Millisecond)
			r.want(r.ctx, time.Now(), 3)
			r.sleep(time.Minute)
			require.Empty(t, r.ended(), "nobody waits")
			r.want(r.ctx, time.Now(), 4, 5)
			r.sleep(placesTick)
			synctest.Wait()
			require.Equal(t, []int64{1, 2}, r.ended(), "the oldest, as many as are wanted")
			r.sleep(time.Minute)
			require.Len(t, r.ended(), 2, "they are about to end")
			r.end(1, uptime.Inconclusive)
			r.end(2, uptime.Inconclusive)
			require.Equal(t, hangs, r.paces[1])
			require.Contains(t, r.underWay(), int64(5))
		})
	})

	t.Run("NotWithinASecond", func(t *testing.T) {
		t.Parallel()
		inRoom(t, 1, func(r *room) {
			r.want(r.ctx, time.Now(), 1, 2)
			r.sleep(briefly - time.Millisecond)
			require.Empty(t, r.ended())
			r.sleep(placesTick + time.Millisecond)
			synctest.Wait()
			require.Equal(t, []int64{1}, r.ended())
		})
	})

	t.Run("NotOfATargetThatIsKnownToTakeItsTime", func(t *testing.T) {
		t.Parallel()
		inRoom(t, 1, func(r *room) {
			r.want(r.ctx, time.Now(), 1)
			r.sleep(3 * time.Second)
			r.end(1, uptime.OK)
			r.want(r.ctx, time.Now(), 1, 2)
			r.sleep(6 * time.Second)
			require.Empty(t, r.ended(), "twice as long as it took")
			r.sleep(2 * placesTick)
			synctest.Wait()
			require.Equal(t, []int64{1}, r.ended())
		})
	})

	t.Run("NotOfThoseThatHang", func(t *testing.T) {
		t.Parallel()
		inRoom(t, 2, func(r *room) {
			r.want(r.ctx, time.Now(), 1)
			r.end(1, uptime.TimeoutHeader)
			r.want(r.ctx, time.Now(), 1, 2, 3)
			r.sleep(time.Minute)
			require.Equal(t, []int64{2}, r.ended(), "it has its own place, and its own time")
			r.end(2, uptime.Inconclusive)
			require.Contains(t, r.underWay(), int64(3))
		})
	})
}

func TestPlacesAdapt(t *testing.T) {
	t.Parallel()
	least := int64(leastBrisk * runtime.GOMAXPROCS(0))
	inRoom(t, 10*int(least), func(r *room) {
		r.want(r.ctx, time.Now(), numbered(1, 2*least)...)
		require.Len(t, r.underWay(), 2*int(least))
		r.delayed.Store(int64(bearableDelay + time.Millisecond))
		r.sleep(placesTick + time.Millisecond)
		require.EqualValues(t, 2*least-2*least/briskDown, r.may(), "less than were under way")
		r.want(r.ctx, time.Now(), -1)
		require.NotContains(t, r.underWay(), int64(-1))
		r.sleep(20 * placesTick)
		require.EqualValues(t, least, r.may(), "so few cannot be too many")
		require.NotContains(t, r.underWay(), int64(-1), "what the others wait for is not known")
		r.end(1, uptime.OK)
		require.NotContains(t, r.underWay(), int64(-1), "there are still too many")

		r.delayed.Store(int64(bearableDelay))
		r.sleep(placesTick)
		require.EqualValues(t, least+least/briskUp, r.may())
		require.Contains(t, r.underWay(), int64(-1), "the others wait for their targets, and need no processor")
		r.sleep(100 * placesTick)
		require.Equal(t, r.most, r.may(), "all again, after some seconds")
		for _, id := range r.underWay() {
			r.end(id, uptime.OK)
		}
		require.Zero(t, r.young)
		require.Zero(t, r.underway.Len())
	})
}

func TestWhatIsKnownOfMonitorsIsBounded(t *testing.T) {
	t.Parallel()
	p := newPlaces(1, func() time.Duration { return 0 }, func() {}, func(int) {})
	for id := range int64(mostPaces + 1) {
		mine, err := p.take(t.Context(), candidate{monitorID: id}, func() {})
		require.NoError(t, err)
		p.giveBack(mine, probe.Result{Outcome: uptime.TimeoutHeader})
	}
	require.Len(t, p.paces, 1)
}
