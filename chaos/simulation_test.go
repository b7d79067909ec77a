package chaos_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/uptime"
)

// The simulation runs a fleet for days of virtual time, with workers that die and freeze, a database that goes away and
// commits that are not heard of, and monitors that are edited all the while.
//
// Real in it are the rules: which slots there are (uptime.Schedule), from and until when they are promised
// (SlotAfter, Close), what a worker does with a round (uptime.Round: Doubts, Believe, Step, Missed), which scans count
// (uptime.Configuration) and how a status follows from them (uptime.Start, uptime.Decide). A model, by hand, is what in
// the program needs Postgres and River: jobs that are unique for ever, handed to one worker, rescued after a minute;
// the log with its key; and in which order a round, the recorder and tend ask the rules and write, which follows
// jobs/round.go, record/recorder.go, record/judge.go and jobs/tend.go. So it shows that the design holds, and the rules
// within it; whether the program follows the design is for the other tests here to show.
func TestSimulation(t *testing.T) {
	t.Parallel()
	first, count := *seedFlag, uint64(4)
	if *longRun {
		count = 400
	}
	if first == 0 {
		first = uint64(time.Now().UnixNano()) % 1_000_000
	}
	began := time.Now()
	for seed := first; seed < first+count && !t.Failed(); seed++ {
		synctest.Test(t, func(t *testing.T) {
			t.Helper()
			s := newSimulation(seed)
			s.run()
			for _, finding := range s.findings() {
				t.Errorf("%s\nrun it again: go test ./chaos -run TestSimulation -chaos.seed=%d", finding, seed)
			}
		})
	}
	hours := float64(count) * simulated.Hours()
	t.Logf("%.0f virtual hours from seed %d on, %.0f a minute", hours, first, hours/time.Since(began).Minutes())
}

const (
	simulated  = 12 * time.Hour
	simCalm    = 30 * time.Minute // without new faults, at the end; a clock may be wrong for 20 of them
	simRescue  = time.Minute
	simSkew    = 2 * time.Second // by which clocks may differ at any time
	simJudged  = time.Minute     // later than that after its interval a scan tells nothing of the present
	simSpread  = time.Second     // over which the requests of a round are spread
	simAccount = 5 * time.Minute // a slot may be at work for so long
)

var simThresholds = uptime.Thresholds{Failure: 3, Success: 2}

type simulation struct {
	mu     sync.Mutex // callbacks run one at a time by virtual time already; this is for the race detector
	random *rand.Rand
	events int64
	end    time.Time

	monitors []*simMonitor
	workers  []*simWorker
	jobs     map[simSlot]*simJob
	open     map[*simJob]bool // those of jobs that are not done
	log      map[simKey]bool
	commits  []simCommit
	gaps     map[uptime.Schedule][]simGap
	requests map[simDue]int // by schedule, since a monitor that was edited may have the same slot by two
	away     time.Time      // until when the database is
	tended   time.Time      // until when slots were compared
	wrong    []string       // what was found not to hold on the way
}

type simMonitor struct {
	id       int64
	safe     bool // its request may be made twice
	schedule uptime.Schedule
	version  int
	paused   bool
	sick     bool
	state    uptime.State
	promises []simPromise

	changedAt time.Time // when its version came into force
	sickUntil time.Time // when its target was last sick, as it is asked now; zero: never
}

func (m *simMonitor) interval() time.Duration {
	return time.Duration(m.schedule.Interval) * time.Second
}

type simPromise struct {
	schedule    uptime.Schedule
	from, until time.Time // until zero: while it holds
}

type simSlot struct {
	schedule uptime.Schedule
	slot     time.Time
}

type simKey struct {
	slot time.Time
	id   int64
}

type simJob struct {
	simSlot

	attempt int
	again   uptime.GapReason // why it runs again
	due     time.Time        // when it is to be taken
	putOff  time.Time        // until when it waits though it was taken; zero: it does not
	running bool
	done    bool
	since   time.Time // when its attempt began
	worker  *simWorker
}

type simWorker struct {
	dead, frozen bool
	thawedAt     time.Time     // when it last stood still
	skew         time.Duration // by which its clock is ahead
}

// simCommit is a change of a monitor's state, in the order in which they were committed: a scan, or a new beginning.
type simCommit struct {
	id      int64
	slot    time.Time
	outcome uptime.Outcome
	judged  bool
	start   *uptime.State
}

type simGap struct {
	from, to time.Time
	id       int64 // 0: all
	reason   uptime.GapReason
}

func newSimulation(seed uint64) *simulation {
	s := &simulation{
		random: rand.New(rand.NewPCG(seed, 0)), jobs: map[simSlot]*simJob{},
		open: map[*simJob]bool{}, gaps: map[uptime.Schedule][]simGap{}, log: map[simKey]bool{},
		requests: map[simDue]int{}, end: time.Now().Add(simulated), tended: time.Now(),
	}
	for range 3 {
		s.workers = append(s.workers, &simWorker{})
	}
	return s
}

// run lets time pass until the end.
func (s *simulation) run() {
	s.mu.Lock()
	for id := range int64(12) {
		s.after(s.upTo(time.Minute), func() { s.create(id + 1) })
	}
	s.every(10*time.Minute, s.killSomeone)
	s.every(15*time.Minute, s.freezeSomeone)
	s.every(25*time.Minute, s.setSomeonesClock)
	s.every(20*time.Minute, s.loseDatabase)
	s.every(5*time.Minute, s.editSomething)
	s.every(7*time.Minute, s.changeHealth)
	s.repeat(30*time.Second, s.rescue)
	s.repeat(time.Minute, s.tend)
	s.mu.Unlock()
	time.Sleep(time.Until(s.end))
	s.mu.Lock()
	s.end = time.Time{} // what is still to come does nothing
	s.mu.Unlock()
	synctest.Wait()
}

// after calls f after d. No two calls have the same instant, so that they always come in the same order.
func (s *simulation) after(d time.Duration, f func()) {
	s.events++
	at := time.Now().Add(d).Truncate(time.Millisecond).Add(time.Millisecond + time.Duration(s.events%1_000_000))
	time.AfterFunc(time.Until(at), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.end.IsZero() {
			f()
		}
	})
}

func (s *simulation) repeat(d time.Duration, f func()) {
	s.after(d, func() {
		f()
		s.repeat(d, f)
	})
}

// every calls f about each d, until the calm before the end.
func (s *simulation) every(d time.Duration, f func()) {
	s.after(s.upTo(2*d), func() {
		if time.Until(s.end) > simCalm {
			f()
			s.every(d, f)
		}
	})
}

func (s *simulation) upTo(d time.Duration) time.Duration {
	return time.Duration(s.random.Int64N(int64(d)))
}
func (s *simulation) chance(percent int) bool { return s.random.IntN(100) < percent }
func (s *simulation) reachable() bool         { return !time.Now().Before(s.away) }

// ---- faults ----

func (s *simulation) killSomeone() {
	victims := s.workers[:1+s.random.IntN(len(s.workers))] // now and then all of them
	down := s.upTo(3 * time.Minute)
	for i, victim := range victims {
		victim.dead = true
		s.after(down, func() { s.workers[i] = &simWorker{} })
	}
}

func (s *simulation) freezeSomeone() {
	victim := s.workers[s.random.IntN(len(s.workers))]
	victim.frozen = true
	s.after(s.upTo(3*time.Minute), func() { victim.frozen, victim.thawedAt = false, time.Now() })
}

// setSomeonesClock makes a clock wrong: by an hour, or by as little as nobody minds.
func (s *simulation) setSomeonesClock() {
	skews := []time.Duration{-time.Hour, time.Hour, -simSkew, simSkew}
	victim := s.workers[s.random.IntN(len(s.workers))]
	victim.skew = skews[s.random.IntN(len(skews))]
	s.after(s.upTo(20*time.Minute), func() { victim.skew = 0 })
}

func (s *simulation) loseDatabase() { s.away = time.Now().Add(s.upTo(2 * time.Minute)) }

func (s *simulation) changeHealth() {
	if len(s.monitors) > 0 {
		m := s.monitors[s.random.IntN(len(s.monitors))]
		if m.sick {
			m.sickUntil = time.Now()
		}
		m.sick = !m.sick
	}
}

func TestSimulationFindsFaults(t *testing.T) {
	t.Parallel()
	breakings := map[string]func(s *simulation){
		"ALostRow": func(s *simulation) {
			for key := range s.log {
				delete(s.log, key)
			}
		},
		"AGapTwice": func(s *simulation) {
			gap := simGap{from: s.end.Add(-time.Minute), to: s.end, reason: uptime.ServiceDown}
			s.addGap(s.monitors[0].schedule, gap)
			s.addGap(s.monitors[0].schedule, gap)
		},
		"AWrongState":   func(s *simulation) { s.monitors[0].state.Failures = 77 },
		"ARequestTwice": func(s *simulation) { s.monitors[0].safe, s.requests[simDue{id: s.monitors[0].id}] = false, 2 },
	}
	for name, breakIt := range breakings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSimulation(1)
				s.end = time.Now().Add(time.Hour)
				s.run()
				require.Empty(t, s.findings())
				breakIt(s)
				require.NotEmpty(t, s.findings())
			})
		})
	}
}

func TestSimulationReplays(t *testing.T) {
	t.Parallel()
	var commits [2][]simCommit
	for i := range commits {
		synctest.Test(t, func(*testing.T) {
			s := newSimulation(7)
			s.end = time.Now().Add(time.Hour)
			s.run()
			for _, c := range s.commits {
				c.start = nil // a pointer
				commits[i] = append(commits[i], c)
			}
		})
	}
	require.NotEmpty(t, commits[0])
	require.Equal(t, commits[0], commits[1], "the same seed is the same run")
}
