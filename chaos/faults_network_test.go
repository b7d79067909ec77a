//go:build linux

package chaos_test

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Faults of the network between us and Postgres.
func networkFaults() []fault {
	return []fault{
		{"F18", "connections are cut at random bytes", true, setup{gaps: lostWithTheDatabase, late: lateAgain}, cutAtRandom},
		{"F19", "the network swallows everything", false, setup{gaps: lostWithTheDatabase, late: lateAgain}, swallow},
		{"F20", "the database is slow to reach", true, setup{}, slowDown},
		{"F27", "notifications are lost", true, setup{}, loseNotifications},
	}
}

// cutAtRandom cuts each connection after some bytes: between statements, in the middle of one, or between a commit and
// the word that it is done.
func cutAtRandom(t *testing.T, w *world) {
	t.Helper()
	random := rand.New(rand.NewPCG(w.random.Uint64(), 0))
	w.hurt(func() {
		w.proxy.cutAfter(func() int64 { return 500 + random.Int64N(30_000) })
		time.Sleep(full(10*time.Second, time.Minute))
		w.proxy.cutAfter(nil)
	})
}

func swallow(t *testing.T, w *world) {
	t.Helper()
	w.hurt(func() {
		w.proxy.silent.Store(true)
		time.Sleep(full(15*time.Second, time.Minute))
		w.proxy.silent.Store(false)
	})
}

func slowDown(t *testing.T, w *world) {
	t.Helper()
	w.proxy.delay.Store(int64(100 * time.Millisecond)) // each way
	time.Sleep(full(12*time.Second, time.Minute))
	w.proxy.delay.Store(0)
}

// loseNotifications cuts whoever listens, again and again: jobs are found by asking.
func loseNotifications(t *testing.T, w *world) {
	t.Helper()
	listens := func(l *link) bool { return l.listens.Load() }
	cuts := 0
	for until := time.Now().Add(full(11*time.Second, time.Minute)); time.Now().Before(until); {
		cuts += w.proxy.cut(listens)
		time.Sleep(100 * time.Millisecond)
	}
	if cuts < 2 {
		t.Errorf("only %d connections were found that listen", cuts)
	}
}
