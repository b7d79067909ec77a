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
		{"F19", "the network swallows everything", false, withNetwork(setup{
			workers: 1, gaps: lostWithTheDatabase, late: lateAgain, healed: databaseIsBack,
		}), swallow},
		{"F19", "the database's host says nothing more", false, setup{gaps: lostWithTheDatabase, late: lateAgain}, fallSilent},
		{"F20", "the database is slow to reach", true, setup{p99: 5 * time.Second}, slowDown},
		{"F27", "notifications are lost", true, setup{p99: 3 * time.Second}, loseNotifications},
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

// swallow lets no packet through between the worker and the rest of the world. No call waits for TCP to give up: each has a
// deadline of its own.
func swallow(t *testing.T, w *world) {
	t.Helper()
	w.replaceWorkerByRemote(t, "")
	w.awaitScans(t, time.Now(), len(w.monitors)/4, 30*time.Second)
	w.hurt(func() {
		w.cutNetwork(t)
		time.Sleep(full(15*time.Second, time.Minute))
		w.connectNetwork(t)
	})
}

// fallSilent lets a kernel acknowledge what is sent to the database, and hands it over when nobody waits for the answer any
// more: who asked for jobs then is given some that nobody works, and that come back when they are rescued.
func fallSilent(t *testing.T, w *world) {
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
