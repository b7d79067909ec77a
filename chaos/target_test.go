//go:build linux

package chaos_test

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hit is a request that the target got.
type hit struct {
	path string
	at   time.Time
	well bool // it was answered as every monitor expects
}

// answer answers a request, and reports whether that was what every monitor expects.
type answer func(w http.ResponseWriter, r *http.Request) (well bool)

// target is what monitors watch. Its ledger holds every request.
type target struct {
	*httptest.Server

	mu     sync.Mutex
	ledger []hit
	answer answer
}

func newTarget(t *testing.T, host string) *target {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	require.NoError(t, err)
	s := &target{answer: answerAtOnce}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	_ = s.Listener.Close()
	s.Listener = listener
	s.Config.ErrorLog = slog.NewLogLogger(discard.Handler(), slog.LevelDebug)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func (s *target) serve(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	s.mu.Lock()
	answer := s.answer
	s.mu.Unlock()
	s.note(hit{path: r.URL.Path, at: at, well: answer(w, r)})
}

func (s *target) note(h hit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger = append(s.ledger, h)
}

// answers sets how requests that come from now on are answered.
func (s *target) answers(a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = a
}

// hits gives the requests that were answered, in the order in which they came.
func (s *target) hits() []hit {
	s.mu.Lock()
	defer s.mu.Unlock()
	hits := slices.Clone(s.ledger)
	slices.SortFunc(hits, func(a, b hit) int { return a.at.Compare(b.at) })
	return hits
}

// hitsSince gives the requests that came at an instant or later.
func (s *target) hitsSince(at time.Time) []hit {
	return slices.DeleteFunc(s.hits(), func(h hit) bool { return h.at.Before(at) })
}

const wellBody = `{"all": "is well"}` + "\n"

func answerAtOnce(w http.ResponseWriter, _ *http.Request) bool {
	_, err := w.Write([]byte(wellBody))
	return err == nil
}

// answerAfter answers well, and slowly.
func answerAfter(d time.Duration) answer {
	return func(w http.ResponseWriter, r *http.Request) bool {
		select {
		case <-time.After(d):
		case <-r.Context().Done(): // the client has left, which the ledger does not blame on the target
			return true
		}
		return answerAtOnce(w, r)
	}
}
