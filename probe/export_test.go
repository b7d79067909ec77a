package probe

import (
	"context"
	"time"

	"golang.org/x/sync/semaphore"

	"riverwatch/uptime"
)

// OccupyMatchers takes all places for matching.
func (p *Prober) OccupyMatchers() {
	for p.matcher.free.TryAcquire(1) {
	}
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
	MaxCompiled = maxCompiled
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

// Kept is how many patterns are kept compiled.
func (m *matcher) Kept() int { return len(m.compiled) }

// BePatient makes a prober judge deadlines as if this machine had nothing else to do.
func (p *Prober) BePatient() { p.pulse.slack = time.Hour }

// Halt keeps probes from beginning, until they are let go on.
func (p *Prober) Halt() (goOn func()) {
	p.pulse.mu.Lock()
	return p.pulse.mu.Unlock
}
