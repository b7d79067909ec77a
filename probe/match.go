package probe

import (
	"context"
	"errors"
	"io"
	"regexp"
	"runtime"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/semaphore"
)

var (
	errMatchCut   = errors.New("the match was cut by the deadline")
	errMatchSpent = errors.New("the match has used up its processor time")
	errNoMatcher  = errors.New("no matcher was free before the deadline")
)

const (
	// So long a match keeps others from a processor, before it is their turn.
	turnLength = 10 * time.Millisecond
	// So much of a processor's time may a match take in all.
	mostCPU = time.Second
)

// A matcher matches bodies against regexps, as many at a time as there are processors.
type matcher struct {
	free     *semaphore.Weighted
	mostCPU  time.Duration
	compiled *cache[*regexp.Regexp]
}

const (
	compiledBytes       = 24 << 20 // of regexps that are kept compiled: some 5,000 of those that people write
	bytesPerInstruction = 150      // of a regexp, about
)

func newMatcher() *matcher {
	return &matcher{
		free:     semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0))),
		mostCPU:  mostCPU,
		compiled: newCache[*regexp.Regexp](compiledBytes),
	}
}

// match reports whether a text, in any number of pieces, matches a pattern. It returns soon after ctx ends: a match under
// way is cut short, and then not decided, whatever the engine says, because it saw an end of the text that is none.
func (m *matcher) match(ctx context.Context, pattern string, text ...[]byte) (bool, error) {
	compiled, err := m.compiled.get(pattern, compile)
	if err != nil {
		return false, err
	}
	reader := &turnReader{later: text, ctx: ctx, free: m.free, mostCPU: m.mostCPU}
	if reader.err = reader.begin(); reader.err != nil {
		return false, reader.err
	}
	defer reader.end()
	matched := compiled.MatchReader(reader)
	if reader.err != nil {
		return false, reader.err
	}
	return matched, nil
}

// compile gives a pattern compiled, if CheckRegexp accepts it.
func compile(pattern string) (compiled *regexp.Regexp, weight int, err error) {
	instructions, err := checkRegexp(pattern)
	if err != nil {
		return nil, 0, err
	}
	compiled, err = regexp.Compile(pattern)
	return compiled, len(pattern) + instructions*bytesPerInstruction, err
}

// runesPerLook is how many runes are matched between two looks at the clock: at 1,500 instructions, some 3 ms.
const runesPerLook = 64

// A turnReader reads runes while it is its match's turn. It is how a match is cancelled, for which regexp has no other way,
// and how it lets others have their turns: a few slow regexps must not starve all that are quick.
type turnReader struct {
	rest  []byte
	later [][]byte        // what comes after it
	ctx   context.Context //nolint:containedctx // regexp asks for runes without one
	free  *semaphore.Weighted
	err   error // why there are no more runes, if not for the end of the text

	mostCPU  time.Duration
	runes    int
	turn     bool // it has a place, and a thread
	began    time.Time
	cpuBegan time.Duration
	cpu      time.Duration // used in the turns before
	waited   time.Duration
}

// begin waits for a turn.
func (r *turnReader) begin() error {
	asked := time.Now()
	if err := r.free.Acquire(r.ctx, 1); err != nil {
		return errNoMatcher
	}
	runtime.LockOSThread() // whose time is measured
	r.turn, r.began, r.cpuBegan = true, time.Now(), threadCPU()
	r.waited += r.began.Sub(asked)
	return nil
}

// end ends the turn.
func (r *turnReader) end() {
	if !r.turn {
		return
	}
	r.turn, r.cpu = false, r.cpu+threadCPU()-r.cpuBegan
	runtime.UnlockOSThread()
	r.free.Release(1)
}

// look ends the turn when its time has come, and gives why there is none after it.
func (r *turnReader) look() error {
	if r.ctx.Err() != nil {
		if r.waited > r.cpu+threadCPU()-r.cpuBegan {
			return errNoMatcher // others had more of the time than it
		}
		return errMatchCut
	}
	if time.Since(r.began) < turnLength {
		return nil
	}
	r.end()
	if r.cpu >= r.mostCPU {
		return errMatchSpent
	}
	return r.begin()
}

// threadCPU gives the processor time that this thread has used. Only Linux knows; elsewhere it is that of the process, which
// is more.
func threadCPU() time.Duration {
	who := syscall.RUSAGE_SELF
	if runtime.GOOS == "linux" {
		who = 1 // RUSAGE_THREAD
	}
	var usage syscall.Rusage
	_ = syscall.Getrusage(who, &usage) // fails on a bad argument only
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// ReadRune implements io.RuneReader.
func (r *turnReader) ReadRune() (rune, int, error) {
	if r.runes++; r.runes%runesPerLook == 0 && r.err == nil {
		if r.err = r.look(); r.err != nil {
			r.rest, r.later = nil, nil
		}
	}
	for len(r.rest) == 0 && len(r.later) > 0 {
		r.rest, r.later = r.later[0], r.later[1:]
	}
	if len(r.later) > 0 && !utf8.FullRune(r.rest) {
		return r.readAcross()
	}
	if len(r.rest) == 0 {
		return 0, 0, io.EOF
	}
	char, size := utf8.DecodeRune(r.rest)
	r.rest = r.rest[size:]
	return char, size, nil
}

// readAcross reads a rune that lies in two pieces, if it is one. It lies in no more: all but the last are longer than any rune.
func (r *turnReader) readAcross() (rune, int, error) {
	begun, next := len(r.rest), r.later[0]
	var across [utf8.UTFMax]byte
	n := copy(across[:], r.rest)
	n += copy(across[n:], next)
	char, size := utf8.DecodeRune(across[:n])
	if size < begun { // no rune
		r.rest = r.rest[size:]
	} else {
		r.rest, r.later = next[size-begun:], r.later[1:]
	}
	return char, size, nil
}
