package probe

import (
	"sync"
	"time"
)

const (
	pulseTick  = 20 * time.Millisecond // how often the pulse beats
	pulseSlack = 20 * time.Millisecond // what it may be late by: beyond it, this process was kept from running
)

// A pulse measures for how long this process could not run: others had the processors, its control group's share was
// used up, or it was stopped. It beats only while a probe is under way.
type pulse struct {
	slack time.Duration

	mu     sync.Mutex
	probes int
	beat   time.Time
	lost   time.Duration
	quit   chan struct{}
}

// join begins a probe, and gives the lag so far.
func (p *pulse) join() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.probes++; p.probes == 1 {
		p.beat, p.quit = time.Now(), make(chan struct{})
		go p.run(p.quit)
	}
	return p.lost + p.late(time.Now())
}

// leave ends a probe.
func (p *pulse) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.probes--; p.probes == 0 {
		p.lost += p.late(time.Now())
		close(p.quit)
	}
}

// lag gives for how long this process could not run, in all. Only a difference of two of them says something, and only
// within a probe.
func (p *pulse) lag() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost + p.late(time.Now())
}

// late gives for how long the next beat is overdue.
func (p *pulse) late(now time.Time) time.Duration { return max(0, now.Sub(p.beat)-pulseTick-p.slack) }

func (p *pulse) run(quit <-chan struct{}) {
	ticker := time.NewTicker(pulseTick)
	defer ticker.Stop()
	for {
		select {
		case <-quit:
			return
		case <-ticker.C:
			p.strike(quit)
		}
	}
}

func (p *pulse) strike(quit <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-quit: // another pulse may run already
	default:
		now := time.Now()
		p.lost += p.late(now)
		p.beat = now
	}
}
