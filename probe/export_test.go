package probe

import (
	"context"
	"crypto/tls"
	"io"
	"net/url"
	"slices"
	"time"

	"golang.org/x/sync/semaphore"

	"riverwatch/uptime"
)

// OccupyMatchers takes all places for matching, until it lets them go.
func (p *Prober) OccupyMatchers() (letGo func()) {
	taken := int64(0)
	for p.matcher.free.TryAcquire(1) {
		taken++
	}
	return func() { p.matcher.free.Release(taken) }
}

// Break makes each probe panic.
func (p *Prober) Break() { p.pulse = nil }

// ConnectOutcome is what an error means before the request is sent, DNS and TLS aside.
func ConnectOutcome(err error) uptime.Outcome {
	return new(hop).connectVerdict(context.Background(), err).outcome
}

// HeaderOutcome is what an error means while the answer's header is read.
func HeaderOutcome(err error) uptime.Outcome { return headerVerdict(context.Background(), err).outcome }

// BodyOutcome is what an error means while the answer's body is read.
func BodyOutcome(err error) uptime.Outcome { return bodyVerdict(context.Background(), err).outcome }

// MatchOutcome is what an error means while the body is matched.
func MatchOutcome(ctx context.Context, err error) uptime.Outcome {
	return matchVerdict(ctx, err).outcome
}

var (
	ErrMatchCut = errMatchCut
	AcceptOf    = acceptOf
	CleanText   = cleanText
	NewMatcher  = newMatcher
)

// NewMatcherOf makes a matcher of so many processors.
func NewMatcherOf(places int64) *matcher {
	m := newMatcher()
	m.free = semaphore.NewWeighted(places)
	return m
}

// CutAfter gives why a match is cut by its deadline that has waited for so long, and has hardly run.
func CutAfter(waited time.Duration) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	reader := turnReader{ctx: ctx, cpuBegan: threadCPU(), waited: waited}
	return reader.look()
}

// Match is match.
func (m *matcher) Match(ctx context.Context, pattern string, body []byte) (bool, error) {
	return m.match(ctx, pattern, body)
}

// NewCache makes a cache of numbers.
func NewCache(most int) *cache[int] { return newCache[int](most) }

// Get is get.
func (c *cache[V]) Get(text string, create func(string) (V, int, error)) (V, error) {
	return c.get(text, create)
}

// Weight is what is kept, and how much that is together.
func (c *cache[V]) Weight() (entries, weight int) { return len(c.entries), c.weight }

// BePatient makes a prober judge deadlines as if this machine had nothing else to do. With the race detector and coverage a
// match takes ten times as long.
func (p *Prober) BePatient() { p.pulse.slack, p.matcher.mostCPU = time.Hour, time.Minute }

// Halt keeps probes from beginning, until they are let go on.
func (p *Prober) Halt() (goOn func()) {
	p.pulse.mu.Lock()
	return p.pulse.mu.Unlock
}

// OccupyMemory takes the whole budget of bodies, and gives it back to nobody who waits for it.
func (p *Prober) OccupyMemory() {
	p.memory.mu.Lock()
	defer p.memory.mu.Unlock()
	p.memory.used = p.memory.limit
}

// BorrowMemory is OccupyMemory, until it is given back.
func (p *Prober) BorrowMemory() (giveBack func()) {
	p.OccupyMemory()
	return func() {
		p.memory.mu.Lock()
		defer p.memory.mu.Unlock()
		p.memory.used = 0
		p.memory.settle()
	}
}

// MemoryUsed is how much of the budget of bodies is in use.
func (p *Prober) MemoryUsed() int { return p.memory.Used() }

// MemoryWaiting is how many bodies wait for memory.
func (p *Prober) MemoryWaiting() int {
	p.memory.mu.Lock()
	defer p.memory.mu.Unlock()
	return p.memory.waiting.Len()
}

// Used is how much is in use.
func (m *memory) Used() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// NewMemory is newMemory.
func NewMemory(limit int) *memory { return newMemory(limit) }

// NewBody makes a body that may come to have so many bytes.
func (m *memory) NewBody(most int) *keptBody { return &keptBody{memory: m, most: most} }

// ReadFrom is readFrom, and whole if the source ends.
func (b *keptBody) ReadFrom(ctx context.Context, source io.Reader) error {
	ended, err := b.readFrom(ctx, source)
	if ended {
		b.whole()
	}
	return err
}

// Text gives what is kept, and whether the rest is lost.
func (b *keptBody) Text() ([]byte, bool) {
	text, lost := b.text()
	return slices.Concat(text...), lost
}

// Lost reports whether the body has given way.
func (b *keptBody) Lost() bool {
	b.memory.mu.Lock()
	defer b.memory.mu.Unlock()
	return b.lost
}

// Release is release.
func (b *keptBody) Release() { b.release() }

// What of a body is outside the budget, and how much is allotted at a time.
const (
	FreeBytes  = freePieces * pieceBytes
	PieceBytes = pieceBytes
)

// ReadRunes gives the runes of a text in pieces, as a match reads them.
func ReadRunes(text ...[]byte) (runes []rune, sizes []int) {
	reader := turnReader{later: text, ctx: context.Background(), free: semaphore.NewWeighted(1)}
	for {
		char, size, err := reader.ReadRune()
		if err != nil {
			return runes, sizes
		}
		runes, sizes = append(runes, char), append(sizes, size)
	}
}

// OccupyChains takes all places for large certificates, until it lets them go, and gives how many there were.
func (p *Prober) OccupyChains() (taken int64, letGo func()) {
	for p.chains.TryAcquire(1) {
		taken++
	}
	return taken, func() { p.chains.Release(taken) }
}

// What bounds headers and certificates.
const (
	MostHeaderLines = mostHeaderLines
	MostLargeChains = mostLargeChains
)

// PrepareHop is newHop to a target.
func (p *Prober) PrepareHop(target Target) *tls.Config {
	to, err := url.Parse(target.URL)
	if err != nil {
		panic(err)
	}
	return (&attempt{Prober: p, target: target}).newHop(to, false).tls
}
