package jobs

import (
	"cmp"
	"container/heap"
	"container/list"
	"context"
	"errors"
	"math"
	"runtime"
	"sync"
	"time"

	"riverwatch/probe"
	"riverwatch/uptime"
	"riverwatch/wait"
)

const (
	// A probe that takes longer than this, in a process that is not kept from running, waits for its target and needs no
	// processor. While places are wanted, one whose target has not been known to take its time is given up then.
	briefly = time.Second
	// How often places adapt to what the process can carry, and probes are given up.
	placesTick = 100 * time.Millisecond
	// Goroutines that are ready to run wait for a processor. If one in ten waits for longer, the process has more probes under
	// way than it can carry: what it measures is its own slowness, and then probes miss their deadlines through no fault of
	// their targets. It is several times what a control group's throttling and the groups of a round's scans cause.
	bearableDelay = 100 * time.Millisecond
	// With so many for each processor none of them is idle for want of a probe, but by the round trips to its target. Then
	// goroutines do not wait, and there are soon more.
	leastBrisk = 16
	// By what part of them the probes that may need a processor become more and fewer, each tick.
	briskUp, briskDown = 20, 5
	// Of how many monitors a process remembers that they hung, or took long: some 10 MB.
	mostPaces = 200_000
)

// errGivenUp is why a probe ends whose place others need.
var errGivenUp = errors.New("the probe was given up: its target took long, and others waited for its place")

// places are those of the probes of one process. Who waits for one gets it in the order of slots, the newest first: a worker
// that has more to do than it can is then on time with what it does. Three things bound the probes under way:
//   - most: all of them, by the memory and the files that they take;
//   - half of that: those of monitors that hung when this process probed them last, so that targets that hang, however many,
//     leave room for those that answer;
//   - brisk: those that began within the last second, which need processors. It adapts to what the process can carry, and while
//     that is too little, time does not count: what a probe waits for is then not known.
//
// A target that has just begun to hang is not known yet. While all places are taken and wanted, the oldest probes of such
// are given up, after a second, or twice the time that their target is known to need. From then on they are known.
type places struct {
	most     int
	least    int                  // brisk is never less
	delay    func() time.Duration // for how long one goroutine in ten waited for a processor, since it was asked last
	onGiveUp func()
	onAdapt  func(brisk int)

	mu       sync.Mutex
	brisk    int
	busiest  int                     // the most that were young since the last tick
	young    int                     // of those under way
	hanging  int                     // of those under way
	underway list.List               // of *place, the oldest first
	quick    waiters                 // for a place
	slow     waiters                 // for a place of those that hang
	paces    map[int64]time.Duration // of monitors that are not quick
}

// hangs is the pace of a monitor whose last probe ran into its deadline, or was given up.
const hangs = time.Duration(math.MaxInt64)

// A candidate is a probe that is to begin.
type candidate struct {
	monitorID int64
	slot      time.Time
	giveUp    context.CancelCauseFunc // ends it
}

// place is that of a probe under way.
type place struct {
	candidate

	pace    time.Duration // that its monitor is known to have; 0: it is quick, or not known
	since   time.Time
	young   bool
	givenUp bool
	of      *list.Element
}

func newPlaces(most int, delay func() time.Duration, onGiveUp func(), onAdapt func(brisk int)) *places {
	return &places{
		most: most, least: min(most, leastBrisk*runtime.GOMAXPROCS(0)), delay: delay, onGiveUp: onGiveUp, onAdapt: onAdapt,
		brisk: most,
		paces: map[int64]time.Duration{},
	}
}

// take waits for a place until ctx is done; waited is told if it has to.
func (p *places) take(ctx context.Context, c candidate, waited func()) (*place, error) {
	if wait.Over(ctx) {
		return nil, context.DeadlineExceeded
	}
	w := &waiter{candidate: c, turn: make(chan *place, 1)}
	p.mu.Lock()
	p.join(w)
	p.fill()
	p.mu.Unlock()
	var mine *place
	select {
	case mine = <-w.turn:
		return mine, nil
	default:
		waited()
	}
	select {
	case mine = <-w.turn:
	case <-ctx.Done():
		if mine = p.leave(w); mine == nil {
			return nil, ctx.Err() //nolint:wrapcheck // the caller's own
		}
	}
	if wait.Over(ctx) {
		p.giveBack(mine, probe.Result{Outcome: uptime.Inconclusive})
		return nil, context.DeadlineExceeded
	}
	return mine, nil
}

// waiting is how many wait for a place.
func (p *places) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.quick.Len() + p.slow.Len()
}

// leave takes a waiter out of its line, and gives its place if it has just come.
func (p *places) leave(w *waiter) *place {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case mine := <-w.turn:
		return mine
	default:
		p.lineOf(w).leave(w)
		return nil
	}
}

// giveBack ends a probe, and notes how long its monitor takes.
func (p *places) giveBack(mine *place, result probe.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.underway.Remove(mine.of)
	if mine.young {
		p.young--
	}
	if mine.pace == hangs {
		p.hanging--
	}
	p.note(mine, result)
	p.fill()
}

// note notes the pace of a monitor. What is known of too many is forgotten: they are given their second again.
func (p *places) note(mine *place, result probe.Result) {
	switch {
	case mine.givenUp, result.Outcome.TimedOut():
		if len(p.paces) >= mostPaces {
			clear(p.paces)
		}
		p.paces[mine.monitorID] = hangs
	case !result.Outcome.Conclusive(): // it tells nothing
	case result.Total > briefly:
		p.paces[mine.monitorID] = result.Total
	default:
		delete(p.paces, mine.monitorID)
	}
}

// join puts a waiter in its line.
func (p *places) join(w *waiter) {
	w.pace = p.paces[w.monitorID]
	p.lineOf(w).join(w)
}

func (p *places) lineOf(w *waiter) *waiters {
	if w.pace == hangs {
		return &p.slow
	}
	return &p.quick
}

// fill gives free places to those who wait.
func (p *places) fill() {
	for p.underway.Len() < p.most && p.young < p.brisk {
		line := &p.quick
		if p.hanging < max(1, p.most/2) && p.slow.before(line) {
			line = &p.slow
		}
		if line.Len() == 0 {
			return
		}
		w := line.next()
		mine := &place{candidate: w.candidate, pace: w.pace, since: time.Now(), young: true}
		mine.of = p.underway.PushBack(mine)
		if mine.pace == hangs {
			p.hanging++
		}
		p.young++
		p.busiest = max(p.busiest, p.young)
		w.turn <- mine
	}
}

// run adapts places to what the process can carry, until ctx is done.
func (p *places) run(ctx context.Context) {
	for wait.For(ctx, placesTick) {
		p.tick()
	}
}

func (p *places) tick() {
	delay, now := p.delay(), time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if starved := delay > bearableDelay; starved {
		used := min(p.brisk, p.busiest)
		p.brisk = max(p.least, used-used/briskDown)
	} else {
		p.brisk = min(p.most, p.brisk+max(1, p.brisk/briskUp))
		p.age(now)
	}
	p.onAdapt(p.brisk)
	p.busiest = p.young
	p.fill()
	if p.underway.Len() == p.most {
		p.giveUp(now, p.quick.Len())
	}
}

// age notes which probes wait for their targets.
func (p *places) age(now time.Time) {
	for e := p.underway.Back(); e != nil; e = e.Prev() {
		mine := placeOf(e)
		if now.Sub(mine.since) < briefly {
			continue
		}
		if !mine.young {
			break
		}
		mine.young = false
		p.young--
	}
}

// giveUp ends the oldest probes that may hang, as many as are wanted.
func (p *places) giveUp(now time.Time, wanted int) {
	for e := p.underway.Front(); e != nil && wanted > 0; e = e.Next() {
		mine := placeOf(e)
		age := now.Sub(mine.since)
		switch {
		case mine.givenUp: // its place is about to be free
			wanted--
		case age < briefly: // and so are all after it
			return
		case mine.pace == hangs: // it has a place of those that hang
		case age > 2*mine.pace:
			mine.givenUp = true
			mine.giveUp(errGivenUp)
			p.onGiveUp()
			wanted--
		}
	}
}

func placeOf(e *list.Element) *place {
	return e.Value.(*place) //nolint:forcetypeassert // nothing else is in it
}

// waiter is a probe that waits for its place.
type waiter struct {
	candidate

	pace  time.Duration
	came  int         // before others with the same slot
	index int         // in its line
	turn  chan *place // buffered
}

// waiters are a line, those of the newest slot first.
type waiters struct {
	line waiterHeap
	came int
}

func (w *waiters) Len() int { return len(w.line) }

func (w *waiters) join(one *waiter) {
	w.came++
	one.came = w.came
	heap.Push(&w.line, one)
}

func (w *waiters) next() *waiter {
	return heap.Pop(&w.line).(*waiter) //nolint:forcetypeassert // nothing else is in it
}

func (w *waiters) leave(one *waiter) { heap.Remove(&w.line, one.index) }

// before reports whether the first of a line is to come before that of another.
func (w *waiters) before(other *waiters) bool {
	return w.Len() > 0 && (other.Len() == 0 || w.line[0].slot.After(other.line[0].slot))
}

// waiterHeap implements heap.Interface.
type waiterHeap []*waiter

func (h waiterHeap) Len() int { return len(h) }

func (h waiterHeap) Less(i, j int) bool {
	return cmp.Or(h[j].slot.Compare(h[i].slot), cmp.Compare(h[i].came, h[j].came)) < 0
}

func (h waiterHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *waiterHeap) Push(one any) {
	w := one.(*waiter) //nolint:forcetypeassert // nothing else is pushed
	w.index = len(*h)
	*h = append(*h, w)
}

// Pop implements heap.Interface.
func (h *waiterHeap) Pop() any {
	last := len(*h) - 1
	w := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return w
}
