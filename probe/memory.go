package probe

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

// stallPatience is how long a body may stand still while others wait for its memory.
const stallPatience = 100 * time.Millisecond

var errNoMemory = errors.New("no memory for the body was free before the deadline")

// A memory is the budget of all bodies that a process keeps. A body takes the whole of what it may come to need at once,
// in the order of asking, and holds nothing of the budget until then: none waits that another waits for.
//
// A target that stops in the middle must not hold what others wait for: of the bodies that are still read, the one that
// has stood still for longest gives way. Little is lost by it, as what stalls until its deadline is never matched.
type memory struct {
	limit    int // bytes
	patience time.Duration

	mu      sync.Mutex
	used    int
	reading list.List   // *keptBody: that are read; first who has stood still for longest
	waiting list.List   // *keptBody: first come, first served
	timer   *time.Timer // until the first of reading has stood still for long enough; nil: nobody waits for that
}

func newMemory(limit int) *memory { return &memory{limit: limit, patience: stallPatience} }

// claim waits until a body has so much of the budget, or ctx is done.
func (m *memory) claim(ctx context.Context, body *keptBody, bytes int) error {
	m.mu.Lock()
	body.claimed, body.granted = bytes, make(chan struct{})
	body.element = m.waiting.PushBack(body)
	m.settle()
	m.mu.Unlock()

	select {
	case <-body.granted:
		return nil
	case <-ctx.Done():
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-body.granted: // at the last moment
		return nil
	default:
	}
	m.waiting.Remove(body.element)
	body.claimed, body.element = 0, nil
	m.settle() // it may have stood before others that need less
	return errNoMemory
}

// settle serves those who wait, as far as there is memory, or some can be taken back.
func (m *memory) settle() {
	for first := m.waiting.Front(); first != nil; first = m.waiting.Front() {
		body := first.Value.(*keptBody) //nolint:forcetypeassert // it holds no others
		for m.used+body.claimed > m.limit {
			if !m.takeBack() {
				return
			}
		}
		m.waiting.Remove(first)
		m.used += body.claimed
		body.progressed, body.element = time.Now(), m.reading.PushBack(body)
		close(body.granted)
	}
}

// takeBack takes its memory from the body that has stood still for longest, if that is long; if not, there is another look
// when it will be.
func (m *memory) takeBack() bool {
	first := m.reading.Front()
	if first == nil {
		return false // all that is held is being matched, and will be released
	}
	body := first.Value.(*keptBody) //nolint:forcetypeassert // it holds no others
	if left := m.patience - time.Since(body.progressed); left > 0 {
		if m.timer == nil {
			m.timer = time.AfterFunc(left, m.look)
		}
		return false
	}
	m.reading.Remove(first)
	m.used -= body.claimed
	body.claimed, body.element = 0, nil
	body.lose()
	return true
}

func (m *memory) look() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.timer = nil
	m.settle()
}

// progress notes that a body moves on.
func (m *memory) progress(body *keptBody) {
	if body.element != nil {
		body.progressed = time.Now()
		m.reading.MoveToBack(body.element)
	}
}

// keep lowers what a body holds to so many bytes. It waits for its target no more, but for us, and so gives way to none.
func (m *memory) keep(body *keptBody, bytes int) {
	if body.element != nil {
		m.reading.Remove(body.element)
	}
	m.used -= body.claimed - bytes
	body.claimed, body.element = bytes, nil
	m.settle()
}
