package probe_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
	"riverwatch/uptime"
)

// A source gives a body bit by bit: each wait of it is a pause, after which so many bytes come.
type source struct {
	pause time.Duration
	left  int
	bits  int
	look  func()
}

func (s *source) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	time.Sleep(s.pause)
	if s.look != nil {
		s.look()
	}
	n := min(len(p), s.left, s.bits)
	for i := range n {
		p[i] = 'a'
	}
	s.left -= n
	return n, nil
}

// silence is a source that never says anything.
type silence struct{ ctx context.Context } //nolint:containedctx // a reader is given none

func (s silence) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

func TestMemory(t *testing.T) {
	t.Parallel()
	const large = 256 << 10

	t.Run("HoldsNoMoreThanItsLimitAndServesAll", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			memory := probe.NewMemory(4 * large)
			most := 0
			var mu sync.Mutex
			var all sync.WaitGroup
			for i := range 50 {
				all.Go(func() {
					body := memory.NewBody(large)
					defer body.Release()
					err := body.ReadFrom(t.Context(), &source{
						pause: 10 * time.Millisecond, left: large - i*1000, bits: probe.PieceBytes, look: func() {
							mu.Lock()
							defer mu.Unlock()
							most = max(most, memory.Used())
						},
					})
					text, lost := body.Text()
					if err != nil || lost || len(text) != large-i*1000 {
						t.Error(err, lost, len(text))
					}
					time.Sleep(time.Second) // it is matched: nobody takes it meanwhile
				})
			}
			all.Wait()
			require.LessOrEqual(t, most, 4*large)
			require.Greater(t, most, 3*large, "it is used")
			require.Zero(t, memory.Used())
		})
	})

	t.Run("TakesFromWhoHasStoodStillForLongest", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			memory := probe.NewMemory(3 * large)
			ctx, stop := context.WithCancel(t.Context())
			var stalled sync.WaitGroup
			moves := memory.NewBody(large) // on and on, since before the others
			stalled.Go(func() {
				_ = moves.ReadFrom(ctx, &source{left: large - 1, bits: probe.PieceBytes, pause: 30 * time.Millisecond})
			})
			time.Sleep(100 * time.Millisecond)
			first, drips, last := memory.NewBody(large), memory.NewBody(large), memory.NewBody(large)
			stalled.Go(func() {
				_ = first.ReadFrom(ctx, io.MultiReader(&source{left: large - 1, bits: probe.PieceBytes}, silence{ctx}))
			})
			synctest.Wait()
			time.Sleep(50 * time.Millisecond)
			stalled.Go(func() { // a byte now and then is no progress
				_ = drips.ReadFrom(ctx, io.MultiReader(
					&source{left: large - 500, bits: probe.PieceBytes},
					&source{left: 400, bits: 1, pause: 10 * time.Millisecond}, silence{ctx}))
			})
			synctest.Wait()

			asked := time.Now()
			require.NoError(t, last.ReadFrom(ctx, &source{left: large, bits: probe.PieceBytes}))
			require.Equal(t, 50*time.Millisecond, time.Since(asked), "when the first has stood still for 100 ms")
			require.True(t, first.Lost())
			require.False(t, drips.Lost(), "it has stood still for less")
			text, lost := last.Text()
			require.False(t, lost)
			require.Len(t, text, large)

			another := memory.NewBody(large)
			require.NoError(t, another.ReadFrom(ctx, &source{left: large, bits: probe.PieceBytes}))
			require.True(t, drips.Lost(), "it is the next")
			require.False(t, last.Lost())
			require.False(t, moves.Lost())

			stop()
			stalled.Wait()
			text, lost = drips.Text()
			require.True(t, lost)
			require.Len(t, text, probe.FreeBytes, "its beginning is there")
			for _, body := range []interface{ Release() }{moves, first, drips, last, another} {
				body.Release()
			}
			require.Zero(t, memory.Used())
		})
	})

	t.Run("TakesNothingFromWhoIsWholeOrMovesOn", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			memory := probe.NewMemory(2 * large)
			whole, slow, waits := memory.NewBody(large), memory.NewBody(large), memory.NewBody(large)
			require.NoError(t, whole.ReadFrom(t.Context(), &source{left: large - 1, bits: probe.PieceBytes}))
			var reads sync.WaitGroup
			reads.Go(func() {
				err := slow.ReadFrom(t.Context(), &source{left: large - 1, bits: probe.PieceBytes, pause: 90 * time.Millisecond})
				if err != nil {
					t.Error(err)
				}
			})
			time.Sleep(500 * time.Millisecond) // it has claimed what it needs
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			require.ErrorContains(t, waits.ReadFrom(ctx, &source{left: large, bits: probe.PieceBytes}), "no memory")
			reads.Wait()
			for _, body := range []interface{ Text() ([]byte, bool) }{whole, slow} {
				text, lost := body.Text()
				require.False(t, lost)
				require.Len(t, text, large-1)
			}
			whole.Release()
			require.NoError(t, memory.NewBody(large).ReadFrom(t.Context(), &source{left: large, bits: probe.PieceBytes}))
		})
	})

	t.Run("TakesNothingThatIsMatched", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			memory := probe.NewMemory(large)
			talks := memory.NewBody(large)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			require.Error(t, talks.ReadFrom(ctx, io.MultiReader(&source{left: large / 2, bits: probe.PieceBytes}, silence{ctx})))
			_, lost := talks.Text() // to be matched, though there may come more
			require.False(t, lost)
			ctx, cancel = context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			require.Error(t, memory.NewBody(large).ReadFrom(ctx, &source{left: large, bits: probe.PieceBytes}))
			require.False(t, talks.Lost())

			ctx, cancel = context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			var reads sync.WaitGroup
			reads.Go(func() { _ = talks.ReadFrom(ctx, silence{ctx}) }) // it goes on to be read
			synctest.Wait()
			require.NoError(t, memory.NewBody(large).ReadFrom(t.Context(), &source{left: large, bits: probe.PieceBytes}))
			reads.Wait()
			require.True(t, talks.Lost())
		})
	})

	t.Run("WhoGivesUpLetsOthersPass", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			memory := probe.NewMemory(2 * large)
			holds := memory.NewBody(large)
			require.NoError(t, holds.ReadFrom(t.Context(), &source{left: large - 1, bits: probe.PieceBytes}))
			ctx, cancel := context.WithCancel(t.Context())
			gaveUp, passed := make(chan error, 1), make(chan error, 1)
			go func() {
				gaveUp <- memory.NewBody(2*large).ReadFrom(ctx, &source{left: 2 * large, bits: probe.PieceBytes})
			}()
			synctest.Wait()
			go func() {
				passed <- memory.NewBody(large).ReadFrom(t.Context(), &source{left: large - 1, bits: probe.PieceBytes})
			}()
			synctest.Wait()
			require.Empty(t, passed, "first come, first served")
			cancel()
			require.Error(t, <-gaveUp)
			require.NoError(t, <-passed)
		})
	})
}

// A match reads pieces as if they were one.
func TestRunesAcrossPieces(t *testing.T) {
	t.Parallel()
	text := []byte("aé\u20ac\U0001F600\xff\xe2\x82b\xf0\x9f\x98")
	var runes []rune
	var sizes []int
	for rest := text; len(rest) > 0; {
		char, size := utf8.DecodeRune(rest)
		runes, sizes, rest = append(runes, char), append(sizes, size), rest[size:]
	}
	for cut := range len(text) + 1 {
		gotRunes, gotSizes := probe.ReadRunes(text[:cut], text[cut:])
		require.Equal(t, runes, gotRunes, cut)
		require.Equal(t, sizes, gotSizes, cut)
	}
	for size := utf8.UTFMax; size <= len(text); size++ {
		gotRunes, gotSizes := probe.ReadRunes(slices.Collect(slices.Chunk(text, size))...)
		require.Equal(t, runes, gotRunes, size)
		require.Equal(t, sizes, gotSizes, size)
	}
}

// F62 in small: bodies that stop one byte before their end hold what others need, and are not heard for it.
func TestBodiesThatStallStarveNobody(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	stalled := hostile.Serve(t, func(conn *net.TCPConn, _ string) {
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("a", size-1))
		_, _ = io.Copy(io.Discard, conn)
	})
	page := strings.Repeat("{", 200<<10) + "é"
	healthy := serve(t, answer(page))
	prober := patient(probe.Settings{Policy: loopback, BodyMemory: 2 * size})

	var stalls sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for range 20 {
		stalls.Go(func() {
			target := get(stalled)
			target.Regexp, target.Timeout = "b", time.Hour
			if result := prober.Probe(ctx, target); result.Outcome != uptime.Inconclusive {
				t.Error(result.Outcome, result.Error)
			}
		})
	}
	for range 20 {
		target := get(healthy)
		target.Regexp = "{é$"
		result := prober.Probe(t.Context(), target)
		require.Equal(t, uptime.OK, result.Outcome, result.Error)
		require.LessOrEqual(t, prober.MemoryUsed(), 2*size)
	}
	stop()
	stalls.Wait()
	require.Zero(t, prober.MemoryUsed())
}

func TestMemoryThatIsUsedUp(t *testing.T) {
	t.Parallel()
	asks := map[string]func(*probe.Target){
		"Regexp": matching("x"),
		"JSON": func(target *probe.Target) {
			target.Expectations.JSON = []probe.JSONExpectation{{Path: "$.x", Op: probe.OpExists}}
		},
	}
	for name, ask := range asks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			prober := patient(onLoopback)
			prober.OccupyMemory()
			target := get(serve(t, answer(`{"x": "`+strings.Repeat("a", probe.FreeBytes)+`"}`)))
			ask(&target)
			target.Timeout = 200 * time.Millisecond
			result := prober.Probe(t.Context(), target)
			require.Equal(t, uptime.Inconclusive, result.Outcome, "it is no fault of the target")
			require.Contains(t, result.Error, "no memory")

			target.URL, target.Timeout = serve(t, answer(`{"x": "`+strings.Repeat("a", probe.FreeBytes-9)+`"}`)), time.Minute
			result = prober.Probe(t.Context(), target)
			require.Equal(t, uptime.OK, result.Outcome, "a small body waits for nobody")
		})
	}

	t.Run("TCP", func(t *testing.T) {
		t.Parallel()
		prober := patient(onLoopback)
		prober.OccupyMemory()
		target := get(hostile.As("tcp", hostile.HangsUpTCP(t, strings.Repeat("a", probe.FreeBytes)+"b")))
		target.Method, target.Regexp, target.Timeout = "", "b", 200*time.Millisecond
		require.Equal(t, uptime.Inconclusive, prober.Probe(t.Context(), target).Outcome)
	})

	t.Run("NothingIsAskedOfTheBody", func(t *testing.T) {
		t.Parallel()
		prober := patient(onLoopback)
		prober.OccupyMemory()
		result := prober.Probe(t.Context(), get(serve(t, answer(strings.Repeat("a", 1<<20)))))
		require.Equal(t, uptime.OK, result.Outcome)
		require.EqualValues(t, 1<<20, *result.BodyBytes)
	})
}

// A body that gave way and comes whole in the end is not judged, but what does not need it is.
func TestBodyThatGaveWay(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]uptime.Outcome{200: uptime.Inconclusive, 500: uptime.StatusMismatch} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			half, goesOn := strings.Repeat("a", 300<<10), make(chan struct{})
			goOn := sync.OnceFunc(func() { close(goesOn) })
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				_, _ = io.WriteString(w, half)
				_ = http.NewResponseController(w).Flush()
				<-goesOn
				_, _ = io.WriteString(w, half)
			})
			t.Cleanup(goOn)
			prober := patient(probe.Settings{Policy: loopback, BodyMemory: 1 << 20})
			results := make(chan probe.Result, 1)
			go func() {
				target := get(url)
				target.Regexp = "a"
				results <- prober.Probe(t.Context(), target)
			}()
			require.Eventually(t, func() bool { return prober.MemoryUsed() > 0 }, time.Minute, time.Millisecond)
			other := get(serve(t, answer(strings.Repeat("b", 1<<20))))
			other.Regexp = "b$"
			result := prober.Probe(t.Context(), other)
			require.Equal(t, uptime.OK, result.Outcome, result.Error)
			goOn()
			result = <-results
			require.Equal(t, want, result.Outcome, result.Error)
			require.EqualValues(t, 600<<10, *result.BodyBytes, "it was read to its end")
			require.Nil(t, result.RegexpMatched)
			require.Zero(t, prober.MemoryUsed())
		})
	}
}

// A body that waits for its turn to be matched gives way to none.
func TestBodyThatIsWholeIsKept(t *testing.T) {
	t.Parallel()
	prober := patient(probe.Settings{Policy: loopback, BodyMemory: 1 << 20})
	letGo := prober.OccupyMatchers()
	page := get(serve(t, answer(strings.Repeat("a", 1<<20))))
	page.Regexp = "a$"
	results := make(chan probe.Result, 2)
	go func() { results <- prober.Probe(t.Context(), page) }()
	require.Eventually(t, func() bool { return prober.MemoryUsed() > 0 }, time.Minute, time.Millisecond)
	go func() { results <- prober.Probe(t.Context(), page) }()
	require.Eventually(t, func() bool { return prober.MemoryWaiting() == 1 }, time.Minute, time.Millisecond)
	time.Sleep(500 * time.Millisecond) // longer than it would have to stand still
	require.Equal(t, 1, prober.MemoryWaiting())
	letGo()
	for range cap(results) {
		result := <-results
		require.Equal(t, uptime.OK, result.Outcome, result.Error)
	}
}

// A body of unknown length takes what it may need, and keeps what it has.
func TestBodyThatIsShorterThanItMightBe(t *testing.T) {
	t.Parallel()
	prober := patient(onLoopback)
	letGo := prober.OccupyMatchers()
	page := get(serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 9 {
			_, _ = io.WriteString(w, strings.Repeat("a", probe.PieceBytes))
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = io.WriteString(w, "the end") // not at the end of a piece: the next one may be begun there
	}))
	page.Regexp = "athe end$"
	results := make(chan probe.Result, 1)
	go func() { results <- prober.Probe(t.Context(), page) }()
	require.Eventually(t, func() bool { return prober.MemoryUsed() == 10*probe.PieceBytes-probe.FreeBytes },
		time.Minute, time.Millisecond)
	letGo()
	result := <-results
	require.Equal(t, uptime.OK, result.Outcome, result.Error)
}

// What a probe waited for is no time of its target's.
func TestTimeThatWasWaitedForMemory(t *testing.T) {
	t.Parallel()
	prober := patient(onLoopback)
	giveBack := prober.BorrowMemory()
	slow := make(chan probe.Result, 1)
	go func() {
		target := get(serve(t, answer(strings.Repeat("a", 1<<20))))
		target.Regexp, target.Expectations.MaxTotalMS, target.Timeout = "a", 1000, time.Hour
		slow <- prober.Probe(t.Context(), target)
	}()
	time.Sleep(1200 * time.Millisecond) // longer than it may take
	giveBack()
	result := <-slow
	require.Equal(t, uptime.OK, result.Outcome, result.Error)
	require.Greater(t, result.Total, time.Second)
}
