package sight

import (
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"

	"riverwatch/db"
	"riverwatch/probe"
	"riverwatch/record"
	"riverwatch/uptime"
)

const (
	// How far back scans count. What failed in that time is taken back once we are blind.
	suspectFor = time.Minute
	// It is suspicious if so many hosts fall silent in that time…
	leastSilent = 5
	// …and they are more than this of all that may be expected to answer.
	silentShare = 0.3
	// Looks in a row that see nothing, until we are blind though nothing else is suspicious.
	failedLooksToBlind = 2
	// Looks in a row that a sentinel has not answered, until people are told: about a quarter of a minute.
	deadAfterLooks = 4
)

// cannotSee is the error of a scan that failed while its worker was blind.
const cannotSee = "this worker cannot see the network"

// view gathers what scans and looks tell of our own network, and decides whether we see it. A look asks whoever
// should answer; Sight makes it.
type view struct {
	now  func() time.Time
	wake chan struct{} // a host has fallen silent

	mu           sync.Mutex
	hosts        map[string]*host // by host and port
	suspects     []suspect        // oldest first
	toScanAgain  map[int64]bool   // monitors whose scan told nothing because we were blind
	blindSince   time.Time        // zero: we see
	suspectSince time.Time        // since when failures are taken back, once we are or were blind
	sawAt        time.Time        // the beginning of the last look that saw
	sawAgainAt   time.Time        // the beginning of the look that ended the last blindness
	failedLooks  int
	unanswered   map[string]int // by sentinel: looks in a row that it has not answered
	written      bool           // there may be failures in the log to take back
}

// host is what was last heard of a host.
type host struct {
	target  string // the URL of a monitor
	at      time.Time
	silence silence // heard; or unheard, when it was heard before
}

// suspect is what a scan that heard nothing, perhaps through our fault, did to a monitor's state.
type suspect struct {
	record.Transition

	at time.Time
}

func newView(now func() time.Time) *view {
	return &view{
		now: now, wake: make(chan struct{}, 1), hosts: map[string]*host{}, toScanAgain: map[int64]bool{},
		unanswered: map[string]int{},
	}
}

// scanned takes in the result of a scan, and gives what is to be recorded: a failure that may be ours is inconclusive
// if we are blind, or were when the scan began.
func (v *view) scanned(monitor db.Monitor, result probe.Result) probe.Result {
	target, err := url.Parse(monitor.URL)
	if err != nil {
		return result
	}
	kind := silenceOf(monitor.URL, result)
	if kind == tellsNothing {
		return result
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	known := v.hosts[target.Host]
	switch {
	case kind == heard && known == nil:
		v.hosts[target.Host] = &host{target: monitor.URL, at: v.now(), silence: heard}
		return result
	case kind == heard:
		known.at, known.silence = v.now(), heard
		return result
	case known != nil, result.Outcome == uptime.Inconclusive: // the fault is ours for sure: DNS is not asked by the target
		v.fellSilent(target.Host, monitor.URL, kind)
	}
	v.wakeUp()
	if v.blindSince.IsZero() && !result.Start.Before(v.sawAgainAt) {
		return result
	}
	v.toScanAgain[monitor.ID] = true
	if result.Outcome != uptime.Inconclusive {
		result.Outcome, result.Error = uptime.Inconclusive, cannotSee
	}
	return result
}

// recorded takes in scans that came to the log, and what they did to the states of monitors. A monitor that was well
// until now is one whose host has fallen silent, whichever worker heard of it before.
func (v *view) recorded(scans []db.Scan, transitions []record.Transition) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, scan := range scans { // one may have been on its way to the log when we found that we are blind
		at := db.EndedAt(scan.Slot, scan.LateMS, scan.TotalUS)
		ofBlind := (!v.blindSince.IsZero() || at.Before(v.sawAgainAt)) && !at.Before(v.suspectSince)
		v.written = v.written || ofBlind && slices.Contains(unheardOutcomes, scan.Outcome)
	}
	for _, t := range transitions {
		kind := silenceOf(t.Monitor.URL, probe.Result{Outcome: t.Outcome})
		if kind != unheard && kind != unheardDNS {
			continue
		}
		v.suspects = append(v.suspects, suspect{Transition: t, at: v.now()})
		wasWell := (t.Before.Status == uptime.Up || t.Before.Status == uptime.Degraded) && t.Before.Failures == 0
		if target, err := url.Parse(t.Monitor.URL); err == nil && wasWell {
			v.fellSilent(target.Host, t.Monitor.URL, kind)
			v.wakeUp()
		}
	}
}

// fellSilent notes the instant at which a host fell silent, once.
func (v *view) fellSilent(hostPort, target string, kind silence) {
	if known := v.hosts[hostPort]; known == nil || known.silence == heard {
		v.hosts[hostPort] = &host{target: target, at: v.now(), silence: kind}
	}
}

func (v *view) wakeUp() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// forget drops what is older than suspectFor, but for what a blind worker knows: it learns nothing new.
func (v *view) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.blindSince.IsZero() {
		return
	}
	old := v.now().Add(-suspectFor)
	maps.DeleteFunc(v.hosts, func(_ string, s *host) bool { return s.at.Before(old) })
	recent := slices.IndexFunc(v.suspects, func(d suspect) bool { return !d.at.Before(old) })
	if recent < 0 {
		recent = len(v.suspects)
	}
	v.suspects = slices.Clone(v.suspects[recent:])
}

// suspicious reports whether so many hosts have fallen silent that the fault may be ours, and whether most of them did
// so in DNS. A host answers if any of its ports does.
func (v *view) suspicious() (yes, inDNS bool) {
	if v.countSilent() < leastSilent { // nearly always
		return false, false
	}
	silent, dns := 0, 0
	names := map[string]silence{}
	for host, s := range v.hosts {
		name := (&url.URL{Host: host}).Hostname()
		if known, ok := names[name]; !ok || known != heard {
			names[name] = s.silence
		}
	}
	for _, s := range names {
		if s != heard {
			silent++
		}
		if s == unheardDNS {
			dns++
		}
	}
	return silent >= leastSilent && float64(silent) > silentShare*float64(len(names)), 2*dns > silent
}

// looked takes in what a look saw that began at an instant.
func (v *view) looked(at time.Time, sees bool) news {
	v.mu.Lock()
	defer v.mu.Unlock()
	if sees {
		v.failedLooks, v.sawAt = 0, at
		if v.blindSince.IsZero() {
			return noNews
		}
		v.blindSince, v.sawAgainAt = time.Time{}, at
		v.written = true // what failed since the last look
		maps.DeleteFunc(v.hosts, func(_ string, s *host) bool { return s.silence != heard })
		return sawAgain
	}
	v.failedLooks++
	suspicious, inDNS := v.suspicious()
	if !v.blindSince.IsZero() || v.failedLooks < failedLooksToBlind && !suspicious {
		return noNews
	}
	v.blindSince, v.written = v.now(), true
	v.suspectSince = v.blindSince.Add(-suspectFor)
	if v.sawAt.After(v.suspectSince) && !inDNS { // what was seen may have had no name
		v.suspectSince = v.sawAt.Add(-time.Millisecond) // by which the log may round a scan's end down
	}
	return wentBlind
}

// askedSentinels takes in which sentinels answered a look.
func (v *view) askedSentinels(sentinels []string, answers []silence) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, sentinel := range sentinels {
		switch answers[i] {
		case heard:
			delete(v.unanswered, sentinel)
		case unheard, unheardDNS:
			v.unanswered[sentinel]++
		case tellsNothing:
		}
	}
}

// deadSentinels gives those that do not answer though we see the network, in order.
func (v *view) deadSentinels() (dead []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.blindSince.IsZero() {
		return nil
	}
	for sentinel, looks := range v.unanswered {
		if looks >= deadAfterLooks {
			dead = append(dead, sentinel)
		}
	}
	slices.Sort(dead)
	return dead
}

// blind reports whether we cannot see the network.
func (v *view) blind() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.blindSince.IsZero()
}

// uneasy reports whether the next look should come soon.
func (v *view) uneasy() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	suspicious, _ := v.suspicious()
	return suspicious || v.failedLooks > 0 || !v.blindSince.IsZero()
}

// silentHosts gives how many hosts fell silent lately.
func (v *view) silentHosts() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.countSilent()
}

func (v *view) countSilent() (silent int) {
	for _, s := range v.hosts {
		if s.silence != heard {
			silent++
		}
	}
	return silent
}

// takeToScanAgain gives the monitors whose scans told nothing because we were blind.
func (v *view) takeToScanAgain() []int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	ids := slices.Sorted(maps.Keys(v.toScanAgain))
	clear(v.toScanAgain)
	return ids
}

func (v *view) giveBack(monitorIDs []int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, id := range monitorIDs {
		v.toScanAgain[id] = true
	}
}
