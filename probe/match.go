package probe

import (
	"context"
	"errors"
	"io"
	"regexp"
	"runtime"
	"sync"
	"unicode/utf8"

	"golang.org/x/sync/semaphore"
)

var (
	errMatchCut  = errors.New("the match was cut by the deadline")
	errNoMatcher = errors.New("no matcher was free before the deadline")
)

// A matcher matches bodies against regexps, as many at a time as there are processors.
type matcher struct {
	free *semaphore.Weighted

	mu       sync.Mutex
	compiled map[string]*regexp.Regexp // a cache
}

func newMatcher() *matcher {
	return &matcher{
		free:     semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0))),
		compiled: make(map[string]*regexp.Regexp),
	}
}

// match reports whether a body matches a pattern. It returns soon after ctx ends: a match under way is cut short, and
// then not decided, whatever the engine says, because it saw an end of the body that is none.
func (m *matcher) match(ctx context.Context, pattern string, body []byte) (bool, error) {
	compiled, err := m.compile(pattern)
	if err != nil {
		return false, err
	}
	if err := m.free.Acquire(ctx, 1); err != nil {
		return false, errNoMatcher
	}
	defer m.free.Release(1)

	reader := &cutReader{rest: body, cut: ctx.Done()}
	matched := compiled.MatchReader(reader)
	if reader.wasCut {
		return false, errMatchCut
	}
	return matched, nil
}

// maxCompiled bounds the cache, at worst to some 200 MiB.
const maxCompiled = 1000

// compile gives a pattern compiled, if CheckRegexp accepts it.
func (m *matcher) compile(pattern string) (*regexp.Regexp, error) {
	m.mu.Lock()
	compiled := m.compiled[pattern]
	m.mu.Unlock()
	if compiled != nil {
		return compiled, nil
	}

	if err := CheckRegexp(pattern); err != nil {
		return nil, err
	}
	compiled, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.compiled) >= maxCompiled {
		for victim := range m.compiled { // any: the order of a map is random, which needs no list of uses
			delete(m.compiled, victim)
			break
		}
	}
	m.compiled[pattern] = compiled
	return compiled, nil
}

// runesPerLook is how many runes are matched between two looks at the clock: at 1,500 instructions, some 3 ms.
const runesPerLook = 64

// A cutReader reads runes until it is cut. It is how a match is cancelled, for which regexp has no other way.
type cutReader struct {
	rest   []byte
	cut    <-chan struct{}
	wasCut bool
	runes  int
}

// ReadRune implements io.RuneReader.
func (r *cutReader) ReadRune() (rune, int, error) {
	if r.runes++; r.runes%runesPerLook == 0 {
		select {
		case <-r.cut:
			r.rest, r.wasCut = nil, true
		default:
		}
	}
	if len(r.rest) == 0 {
		return 0, 0, io.EOF
	}
	char, size := utf8.DecodeRune(r.rest)
	r.rest = r.rest[size:]
	return char, size, nil
}
