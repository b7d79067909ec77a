package probe

import "sync"

// A cache keeps what was made of texts, such as regexps of their patterns, up to a weight.
type cache[V any] struct {
	most int // bytes, about

	mu      sync.Mutex
	weight  int
	entries map[string]cached[V]
}

type cached[V any] struct {
	value  V
	weight int
}

func newCache[V any](most int) *cache[V] {
	return &cache[V]{most: most, entries: make(map[string]cached[V])}
}

// get gives what is kept of a text, or else what is made of it, with its weight.
func (c *cache[V]) get(text string, create func(text string) (value V, weight int, err error)) (V, error) {
	c.mu.Lock()
	kept, ok := c.entries[text]
	c.mu.Unlock()
	if ok {
		return kept.value, nil
	}
	value, weight, err := create(text)
	if err != nil {
		return value, err
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.entries[text]; ok { // another one was quicker
		return value, nil
	}
	c.entries[text] = cached[V]{value, weight}
	c.weight += weight
	for victim, kept := range c.entries { // any: the order of a map is random, which needs no list of uses
		if c.weight <= c.most {
			break
		}
		delete(c.entries, victim)
		c.weight -= kept.weight
	}
	return value, nil
}
