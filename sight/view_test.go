package sight

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/probe"
	"riverwatch/record"
	"riverwatch/uptime"
	"riverwatch/wait"
)

// manual is a clock that is moved by hand.
type manual struct{ at time.Time }

func (m *manual) now() time.Time { return m.at }

func newTestView() (*view, *manual) {
	clock := &manual{at: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)}
	return newView(clock.now), clock
}

// scan is a scan of a monitor of a host that ends now.
func (v *view) scan(host string, outcome uptime.Outcome) probe.Result {
	return v.scanned(db.Monitor{URL: "http://" + host + "/"}, probe.Result{Start: v.now(), Outcome: outcome})
}

// fail is a failed scan of a monitor that was in a state.
func (v *view) fail(host string, outcome uptime.Outcome, before uptime.State) {
	v.scan(host, outcome)
	v.recorded(nil, []record.Transition{{Monitor: db.Monitor{URL: "http://" + host + "/"}, Before: before, Outcome: outcome}})
}

func hosts(n int, prefix string) []string {
	var hosts []string
	for i := range n {
		hosts = append(hosts, fmt.Sprintf("%s%d.example", prefix, i))
	}
	return hosts
}

func TestSilence(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		target  string
		outcome uptime.Outcome
		text    string
		want    silence
	}{
		{"https://a.example/", uptime.OK, "", heard},
		{"https://a.example/", uptime.StatusMismatch, "", heard},
		{"https://a.example/", uptime.ConnectRefused, "", heard},
		{"https://a.example/", uptime.ConnectionClosed, "", heard},
		{"https://a.example/", uptime.DNSNXDomain, "", heard},
		{"https://a.example/", uptime.TimeoutTLS, "", heard},
		{"https://a.example/", uptime.TimeoutHeader, "", heard},
		{"https://a.example/", uptime.TLSExpired, "", heard},
		{"https://a.example/", uptime.TimeoutConnect, "", unheard},
		{"https://a.example/", uptime.ConnectUnreachable, "", unheard},
		{"icmp://a.example", uptime.TimeoutConnect, "", unheard},
		{"https://a.example/", uptime.TimeoutDNS, "", unheardDNS},
		{"https://a.example/", uptime.DNSServfail, "", unheardDNS},
		{"https://a.example/", uptime.DNSError, "", unheardDNS},
		{"dns://192.0.2.1/a.example?type=A", uptime.DNSServfail, "", heard},
		{"dns://192.0.2.1/a.example?type=A", uptime.TimeoutDNS, "", unheardDNS},
		{"https://a.example/", uptime.Inconclusive, probe.NoResolver, unheardDNS},
		{"https://a.example/", uptime.Inconclusive, "the probe was cancelled", tellsNothing},
		{"https://a.example/", uptime.BlockedByPolicy, "", tellsNothing},
		{"https://a.example/", uptime.NotSupported, "", tellsNothing},
	} {
		got := silenceOf(test.target, probe.Result{Outcome: test.outcome, Error: test.text})
		require.Equal(t, test.want, got, "%s %s %s", test.target, test.outcome, test.text)
	}
}

func TestSuspicion(t *testing.T) {
	t.Parallel()
	well := uptime.State{Status: uptime.Up}
	for name, test := range map[string]struct {
		happens    func(b *view, clock *manual)
		suspicious bool
		inDNS      bool
	}{
		"Nothing": {happens: func(*view, *manual) {}},
		"FourHostsFallSilent": {happens: func(b *view, _ *manual) {
			for _, host := range hosts(4, "a") {
				b.fail(host, uptime.TimeoutConnect, well)
			}
		}},
		"FiveHostsFallSilent": {suspicious: true, happens: func(b *view, _ *manual) {
			for _, host := range hosts(5, "a") {
				b.fail(host, uptime.TimeoutConnect, well)
			}
		}},
		"FiveThatThisWorkerHasHeardOf": {suspicious: true, happens: func(b *view, _ *manual) {
			for _, host := range hosts(5, "a") {
				b.scan(host, uptime.StatusMismatch)
				b.scan(host, uptime.ConnectUnreachable)
			}
		}},
		"FiveThatNobodyHasEverHeardOf": {happens: func(b *view, _ *manual) {
			for _, host := range hosts(5, "a") {
				b.fail(host, uptime.TimeoutConnect, uptime.State{Status: uptime.Pending})
			}
		}},
		"FiveThatWereSilentBefore": {happens: func(b *view, _ *manual) {
			for _, host := range hosts(5, "a") {
				b.fail(host, uptime.TimeoutConnect, uptime.State{Status: uptime.Up, Failures: 1})
				b.fail(host, uptime.TimeoutConnect, uptime.State{Status: uptime.Down})
			}
		}},
		"FiveThatFailInAnotherWay": {happens: func(b *view, _ *manual) {
			for _, host := range hosts(5, "a") {
				b.fail(host, uptime.ConnectRefused, well)
			}
		}},
		"FivePortsOfOneHost": {happens: func(b *view, _ *manual) {
			for port := range 5 {
				b.fail(fmt.Sprintf("a.example:%d", 8080+port), uptime.TimeoutConnect, well)
			}
		}},
		"FiveHostsThatAnswerAtAnotherPort": {happens: func(b *view, _ *manual) {
			for _, host := range hosts(5, "a") {
				b.scan(host, uptime.OK)
				b.fail(host+":8080", uptime.TimeoutConnect, well)
			}
		}},
		"SixOfTwenty": {happens: func(b *view, _ *manual) {
			for i, host := range hosts(20, "a") {
				b.scan(host, uptime.OK)
				if i < 6 {
					b.fail(host, uptime.TimeoutConnect, well)
				}
			}
		}},
		"SevenOfTwenty": {suspicious: true, happens: func(b *view, _ *manual) {
			for i, host := range hosts(20, "a") {
				b.scan(host, uptime.OK)
				if i < 7 {
					b.fail(host, uptime.TimeoutConnect, well)
				}
			}
		}},
		"ThoseThatWereSilentBeforeDoNotDilute": {suspicious: true, happens: func(b *view, _ *manual) {
			for _, host := range hosts(50, "dead") {
				b.fail(host, uptime.TimeoutConnect, uptime.State{Status: uptime.Down})
			}
			for _, host := range hosts(5, "a") {
				b.fail(host, uptime.TimeoutConnect, well)
			}
		}},
		"FiveThatAnswerAgain": {happens: func(b *view, _ *manual) {
			for _, host := range hosts(5, "a") {
				b.fail(host, uptime.TimeoutConnect, well)
			}
			b.scan("a3.example", uptime.OK)
		}},
		"FiveOverMoreThanAMinute": {happens: func(b *view, clock *manual) {
			for _, host := range hosts(5, "a") {
				b.fail(host, uptime.TimeoutConnect, well)
				clock.at = clock.at.Add(16 * time.Second)
			}
			b.forget()
		}},
		"InDNS": {suspicious: true, inDNS: true, happens: func(b *view, _ *manual) {
			for i, host := range hosts(5, "a") {
				b.fail(host, []uptime.Outcome{uptime.TimeoutDNS, uptime.DNSServfail, uptime.DNSError}[i%3], well)
			}
		}},
		"WithoutResolverOfItsOwn": {suspicious: true, inDNS: true, happens: func(b *view, _ *manual) {
			for _, host := range hosts(5, "a") {
				b.scanned(db.Monitor{URL: "http://" + host + "/"},
					probe.Result{Start: b.now(), Outcome: uptime.Inconclusive, Error: probe.NoResolver})
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, clock := newTestView()
			test.happens(b, clock)
			suspicious, inDNS := b.suspicious()
			require.Equal(t, test.suspicious, suspicious)
			require.Equal(t, test.inDNS, suspicious && inDNS)
			require.Equal(t, test.suspicious, b.uneasy())
			require.False(t, b.blind(), "only a look decides")
		})
	}
}

func TestLooks(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		suspicious bool
		looks      []bool
		found      []news
	}{
		"OneFailedLookIsNone":     {looks: []bool{true, false, true}, found: []news{noNews, noNews, noNews}},
		"TwoInARow":               {looks: []bool{false, false, false}, found: []news{noNews, wentBlind, noNews}},
		"NotInARow":               {looks: []bool{false, true, false}, found: []news{noNews, noNews, noNews}},
		"OneIsEnoughIfSuspicious": {suspicious: true, looks: []bool{false}, found: []news{wentBlind}},
		"NoneIfSuspiciousButSeen": {suspicious: true, looks: []bool{true, true}, found: []news{noNews, noNews}},
		"AndBack": {
			looks: []bool{false, false, true, true, false, false},
			found: []news{noNews, wentBlind, sawAgain, noNews, noNews, wentBlind},
		},
		"BackFromSuspicion": {
			suspicious: true, looks: []bool{false, true, false}, found: []news{wentBlind, sawAgain, noNews},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, clock := newTestView()
			if test.suspicious {
				for _, host := range hosts(5, "a") {
					b.fail(host, uptime.TimeoutConnect, uptime.State{Status: uptime.Up})
				}
			}
			blind := false
			for i, sees := range test.looks {
				clock.at = clock.at.Add(time.Second)
				got := b.looked(clock.at, sees)
				require.Equal(t, test.found[i], got, i)
				blind = (blind || got == wentBlind) && got != sawAgain
				require.Equal(t, blind, b.blind(), i)
			}
		})
	}
}

func TestABlindWorkersFailuresAreInconclusive(t *testing.T) {
	t.Parallel()
	b, clock := newTestView()
	require.Equal(t, uptime.TimeoutConnect, b.scan("a.example", uptime.TimeoutConnect).Outcome)

	b.looked(clock.at, false)
	b.looked(clock.at, false)
	failed := b.scan("a.example", uptime.TimeoutConnect)
	require.Equal(t, uptime.Inconclusive, failed.Outcome)
	require.Equal(t, cannotSee, failed.Error)
	require.Equal(t, uptime.OK, b.scan("b.example", uptime.OK).Outcome, "what was heard was heard")
	require.Equal(t, uptime.StatusMismatch, b.scan("c.example", uptime.StatusMismatch).Outcome)

	began := clock.at
	clock.at = clock.at.Add(time.Second)
	require.Equal(t, sawAgain, b.looked(clock.at, true))
	blindly := b.scanned(db.Monitor{ID: 7, URL: "http://d.example/"},
		probe.Result{Start: began, Outcome: uptime.TimeoutConnect})
	require.Equal(t, uptime.Inconclusive, blindly.Outcome, "it began while we were blind")
	require.Equal(t, uptime.TimeoutConnect, b.scan("a.example", uptime.TimeoutConnect).Outcome)
	require.Equal(t, []int64{0, 7}, b.takeToScanAgain())
	require.Empty(t, b.takeToScanAgain())
	b.giveBack([]int64{7})
	require.Equal(t, []int64{7}, b.takeToScanAgain())
}

func TestSuspects(t *testing.T) {
	t.Parallel()
	up := uptime.State{Status: uptime.Up}
	b, clock := newTestView()
	start := clock.at
	b.fail("a.example", uptime.TimeoutConnect, up)
	_, ok := b.takeSuspects()
	require.False(t, ok, "we see")

	clock.at = start.Add(50 * time.Second)
	b.looked(clock.at, true)
	clock.at = start.Add(55 * time.Second)
	b.fail("b.example", uptime.TimeoutConnect, up)
	b.fail("c.example", uptime.StatusMismatch, up)
	b.looked(clock.at, false)
	clock.at = start.Add(57 * time.Second)
	require.Equal(t, wentBlind, b.looked(clock.at, false))
	suspects, ok := b.takeSuspects()
	require.True(t, ok)
	require.Equal(t, start.Add(50*time.Second-time.Millisecond), suspects.since, "until then we saw")
	require.Len(t, suspects.byMonitor[0], 1, "of b; a failed before, and c answered")

	_, ok = b.takeSuspects()
	require.False(t, ok, "once")
	b.giveBackSuspects()
	_, ok = b.takeSuspects()
	require.True(t, ok, "again, after a failure to write")

	late := func(after time.Duration, outcome uptime.Outcome) bool {
		b.recorded([]db.Scan{{Slot: start.Add(after), Outcome: outcome}}, nil)
		_, ok := b.takeSuspects()
		return ok
	}
	require.True(t, late(56*time.Second, uptime.TimeoutConnect), "one that was on its way, whatever it changed")
	require.False(t, late(56*time.Second, uptime.StatusMismatch))
	require.False(t, late(49*time.Second, uptime.TimeoutConnect))

	clock.at = start.Add(3 * time.Minute)
	b.forget()
	require.Equal(t, 2, b.silentHosts(), "the blind forget nothing")
	b.looked(clock.at, true)
	suspects, _ = b.takeSuspects()
	require.Equal(t, clock.at, suspects.until, "since then we see")
	require.True(t, late(56*time.Second, uptime.TimeoutConnect))
	require.False(t, late(3*time.Minute, uptime.TimeoutConnect))
	b.forget()
	require.Zero(t, b.silentHosts())
	require.Empty(t, b.suspects)
}

func TestSuspectsOfDNSGoBackAMinute(t *testing.T) {
	t.Parallel()
	b, clock := newTestView()
	b.looked(clock.at, true) // by a sentinel without a name
	for _, host := range hosts(5, "a") {
		b.fail(host, uptime.TimeoutDNS, uptime.State{Status: uptime.Up})
	}
	require.Equal(t, wentBlind, b.looked(clock.at.Add(time.Second), false))
	suspects, _ := b.takeSuspects()
	require.Equal(t, clock.at.Add(-time.Minute), suspects.since)
}

func TestGroups(t *testing.T) {
	t.Parallel()
	well := uptime.State{Status: uptime.Up}
	sentinels := []string{"https://example.com/", "tcp://192.0.2.1:443"}

	t.Run("SentinelsIfThereAreAny", func(t *testing.T) {
		t.Parallel()
		b, _ := newTestView()
		require.Equal(t, []group{{targets: sentinels, sentinels: true}}, b.groups(sentinels))
		require.Empty(t, b.groups(nil))
	})

	t.Run("AndHostsOfMonitorsIfNoneOfThemAnswered", func(t *testing.T) {
		t.Parallel()
		b, clock := newTestView()
		b.scan("well.example", uptime.OK)
		require.Len(t, b.groups(sentinels), 1)
		b.looked(clock.at, false)
		require.Equal(t, []group{
			{targets: sentinels, sentinels: true}, {most: true}, {targets: []string{"tcp://well.example:80"}, most: true},
		}, b.groups(sentinels))
		b.looked(clock.at, true)
		require.Len(t, b.groups(sentinels), 1)
	})

	t.Run("WithoutThemSomeOfTheSilentAndOfTheOthers", func(t *testing.T) {
		t.Parallel()
		b, _ := newTestView()
		for _, host := range hosts(10, "a") {
			b.fail(host+":8080", uptime.TimeoutConnect, well)
		}
		for _, host := range hosts(3, "well") {
			b.scan(host, uptime.OK)
		}
		groups := b.groups(nil)
		require.Len(t, groups, 2)
		require.Len(t, groups[0].targets, 5)
		for _, target := range groups[0].targets {
			require.Regexp(t, `^tcp://a\d\.example:8080$`, target)
		}
		require.ElementsMatch(t, []string{"tcp://well0.example:80", "tcp://well1.example:80", "tcp://well2.example:80"},
			groups[1].targets)
	})

	t.Run("InAnOutageOfDNSOnlyWhoHasAName", func(t *testing.T) {
		t.Parallel()
		b, _ := newTestView()
		for _, host := range hosts(5, "a") {
			b.fail(host, uptime.TimeoutDNS, well)
		}
		b.scan("192.0.2.7", uptime.OK)
		b.scan("[2001:db8::7]:8080", uptime.OK)
		require.Equal(t, group{targets: sentinels[:1], sentinels: true}, b.groups(sentinels)[0])
		groups := b.groups(sentinels[1:])
		require.Len(t, groups[0].targets, 5)
		require.Empty(t, groups[1].targets)
	})

	t.Run("EnoughAnswers", func(t *testing.T) {
		t.Parallel()
		for _, test := range []struct {
			most        bool
			answers     []silence
			sees, tells bool
		}{
			{false, []silence{unheard, heard, unheard}, true, true},
			{false, []silence{unheard, unheardDNS}, false, true},
			{false, []silence{tellsNothing, tellsNothing}, false, false},
			{false, nil, false, false},
			{true, []silence{heard, unheard}, false, true},
			{true, []silence{heard, heard, unheard}, true, true},
			{true, []silence{heard, tellsNothing, tellsNothing}, true, true},
		} {
			sees, tells := group{most: test.most}.sees(test.answers)
			require.Equal(t, test.sees, sees, test.answers)
			require.Equal(t, test.tells, tells, test.answers)
		}
	})
}

// network is a prober whose network can be cut.
type network struct {
	cut  atomic.Bool
	asks atomic.Int32
}

func (n *network) Probe(_ context.Context, target probe.Target) probe.Result {
	n.asks.Add(1)
	result := probe.Result{Start: time.Now(), Outcome: uptime.OK}
	if n.cut.Load() {
		time.Sleep(target.Timeout)
		result.Outcome = uptime.TimeoutConnect
	}
	return result
}

// watch runs a sight without database in a bubble, and gives what it notes.
func watch(t *testing.T, sentinels []string) (*network, *view, *[]news) {
	t.Helper()
	n := &network{}
	logger := slog.New(slog.DiscardHandler)
	sight := New(Config{Prober: n, Sentinels: sentinels, Worker: "test", Now: time.Now, Logger: logger})
	found := &[]news{}
	sight.follow = func(_ context.Context, one news) {
		if one != noNews {
			*found = append(*found, one)
		}
	}
	t.Cleanup(wait.Beside(t.Context(), sight.Run))
	return n, sight.view, found
}

func TestSightLooks(t *testing.T) {
	t.Parallel()

	t.Run("AtTheSentinelsEveryFiveSeconds", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			n, b, found := watch(t, []string{"https://example.com/"})
			time.Sleep(61 * time.Second)
			synctest.Wait()
			require.Equal(t, int32(12), n.asks.Load())
			n.cut.Store(true)
			time.Sleep(12 * time.Second) // 5 s, a timeout, a second, a timeout
			synctest.Wait()
			require.Equal(t, []news{wentBlind}, *found)
			require.True(t, b.blind())
			n.cut.Store(false)
			time.Sleep(3 * time.Second)
			synctest.Wait()
			require.Equal(t, []news{wentBlind, sawAgain}, *found)
			require.False(t, b.blind())
		})
	})

	t.Run("AtOnceWhenAHostFallsSilentButNotEachTime", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			n, b, found := watch(t, []string{"https://example.com/"})
			time.Sleep(6 * time.Second)
			before := n.asks.Load()
			for range 100 {
				b.scan("a.example", uptime.TimeoutConnect)
				time.Sleep(10 * time.Millisecond)
			}
			synctest.Wait()
			require.LessOrEqual(t, n.asks.Load()-before, int32(2))
			require.GreaterOrEqual(t, n.asks.Load()-before, int32(1))
			require.Empty(t, *found)
		})
	})

	t.Run("WithoutSentinelsAtHostsThatFellSilent", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			n, b, found := watch(t, nil)
			for _, host := range hosts(20, "a") {
				b.scan(host, uptime.OK)
			}
			time.Sleep(10 * time.Second)
			require.Zero(t, n.asks.Load(), "there is nothing to ask")
			n.cut.Store(true)
			for _, host := range hosts(10, "a") {
				b.scan(host, uptime.TimeoutConnect)
			}
			time.Sleep(4500 * time.Millisecond)
			synctest.Wait()
			require.Equal(t, []news{wentBlind}, *found)
			time.Sleep(5 * time.Minute)
			n.cut.Store(false)
			time.Sleep(5 * time.Second)
			synctest.Wait()
			require.Equal(t, []news{wentBlind, sawAgain}, *found)
			before := n.asks.Load()
			time.Sleep(time.Minute)
			require.Equal(t, before, n.asks.Load(), "all is well")
		})
	})

	t.Run("AnOutageOfOthersIsNotOurs", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			n, b, found := watch(t, nil)
			for _, host := range hosts(20, "a") {
				b.scan(host, uptime.OK)
			}
			for _, host := range hosts(10, "a") {
				b.scan(host, uptime.TimeoutConnect)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			require.Positive(t, n.asks.Load())
			require.Empty(t, *found)
		})
	})
}

func TestFirstSuspect(t *testing.T) {
	t.Parallel()
	at := func(n int) time.Time { return time.Date(2026, 6, 1, 12, 0, n, 0, time.UTC) }
	up := uptime.State{Status: uptime.Up, Since: at(0), JudgedSlot: at(0)}
	failing := uptime.State{Status: uptime.Up, Since: at(0), JudgedSlot: at(1), Failures: 1}
	down := uptime.State{Status: uptime.Down, Since: at(2), JudgedSlot: at(2)}
	anew := uptime.Start(at(3), false)
	failingAnew := uptime.Decide(anew, at(4), uptime.TimeoutConnect, uptime.Thresholds{Failure: 3, Success: 2})
	suspectOf := func(before, after uptime.State) suspect {
		return suspect{Transition: record.Transition{Before: before, After: after}}
	}
	first, second, third := suspectOf(up, failing), suspectOf(failing, down), suspectOf(anew, failingAnew)
	for name, test := range map[string]struct {
		suspects []suspect
		present  uptime.State
		want     []suspect
	}{
		"None":                   {present: up},
		"TheFirstOfTwo":          {suspects: []suspect{first, second}, present: down, want: []suspect{first}},
		"AnotherWorkerWentOn":    {suspects: []suspect{first}, present: down, want: []suspect{first}},
		"BegunAnewSince":         {suspects: []suspect{first, second}, present: anew},
		"PausedSince":            {suspects: []suspect{first, second}, present: uptime.Start(at(3), true)},
		"BegunAnewInBetween":     {suspects: []suspect{first, second, third}, present: failingAnew, want: []suspect{third}},
		"OfOneThatIsNewAndFalls": {suspects: []suspect{third}, present: failingAnew, want: []suspect{third}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := firstSuspect(slices.Clone(test.suspects), test.present)
			require.Equal(t, len(test.want) == 1, ok)
			if ok {
				require.Equal(t, test.want[0], got)
			}
		})
	}
}
