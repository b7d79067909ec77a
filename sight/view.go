package sight

import (
	"maps"
	"math/rand/v2"
	"net/netip"
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
	doubtsLast = time.Minute
	// It is suspicious if so many hosts fall silent in that time…
	leastSilent = 5
	// …and they are more than this of all that may be expected to answer.
	silentShare = 0.3
	// Of so many hosts that fell silent, and so many that did not, a look without sentinels asks.
	sampleSize = 5
	// Looks in a row that see nothing, until we are blind though nothing else is suspicious.
	failedLooksToBlind = 2
)

// cannotSee is the error of a scan that failed while its worker was blind.
const cannotSee = "this worker cannot see the network"

// unheardOutcomes are those of a probe that heard nothing from its target, so that the fault may be ours.
var unheardOutcomes = []uptime.Outcome{
	uptime.TimeoutDNS, uptime.DNSServfail, uptime.DNSError, uptime.TimeoutConnect, uptime.ConnectUnreachable,
}

// silence is whether a probe has heard from the network.
type silence int

const (
	tellsNothing silence = iota // it was cut short, or never let out
	heard                       // from the target, or from DNS of it
	unheard                     // nothing
	unheardDNS                  // nothing, not even from DNS
)

func silenceOf(target string, result probe.Result) silence {
	switch {
	case result.Outcome == uptime.Inconclusive && result.Error == probe.NoResolver:
		return unheardDNS
	case !result.Outcome.Conclusive():
		return tellsNothing
	case !slices.Contains(unheardOutcomes, result.Outcome):
		return heard
	case result.Outcome == uptime.TimeoutConnect, result.Outcome == uptime.ConnectUnreachable:
		return unheard
	case probe.IsNameserver(target) && result.Outcome != uptime.TimeoutDNS:
		return heard
	}
	return unheardDNS
}

// view gathers what scans and looks tell of our own network, and decides whether we see it. A look asks whoever
// should answer; Sight makes it.
type view struct {
	now  func() time.Time
	wake chan struct{} // a host has fallen silent

	mu          sync.Mutex
	hosts       map[string]*sighting // by host and port
	doubts      []doubt              // oldest first
	missed      map[int64]bool       // monitors whose scan told nothing because we were blind
	blindSince  time.Time            // zero: we see
	doubtsSince time.Time            // since when failures are taken back, once we are or were blind
	sawAt       time.Time            // the beginning of the last look that saw
	sawAgainAt  time.Time            // the beginning of the look that ended the last blindness
	failedLooks int
	written     bool // there may be failures in the log to take back
}

// sighting is what was last heard of a host.
type sighting struct {
	target  string // the URL of a monitor
	at      time.Time
	silence silence // heard; or unheard, when it was heard before
}

// doubt is what a scan that heard nothing did to a monitor's state.
type doubt struct {
	record.Transition

	at time.Time
}

func newView(now func() time.Time) *view {
	return &view{
		now: now, wake: make(chan struct{}, 1), hosts: map[string]*sighting{}, missed: map[int64]bool{},
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
	host := v.hosts[target.Host]
	switch {
	case kind == heard && host == nil:
		v.hosts[target.Host] = &sighting{target: monitor.URL, at: v.now(), silence: heard}
		return result
	case kind == heard:
		host.at, host.silence = v.now(), heard
		return result
	case host != nil, result.Outcome == uptime.Inconclusive: // no doubt that the fault is ours: DNS is not asked by the target
		v.fellSilent(target.Host, monitor.URL, kind)
	}
	v.wakeUp()
	if v.blindSince.IsZero() && !result.Start.Before(v.sawAgainAt) {
		return result
	}
	v.missed[monitor.ID] = true
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
		v.written = v.written || slices.Contains(unheardOutcomes, scan.Outcome) && v.doubted(db.EndedAt(scan.Slot, scan.LateMS, scan.TotalUS))
	}
	for _, t := range transitions {
		kind := silenceOf(t.Monitor.URL, probe.Result{Outcome: t.Outcome})
		if kind != unheard && kind != unheardDNS {
			continue
		}
		v.doubts = append(v.doubts, doubt{Transition: t, at: v.now()})
		wasWell := (t.Before.Status == uptime.Up || t.Before.Status == uptime.Degraded) && t.Before.Failures == 0
		if target, err := url.Parse(t.Monitor.URL); err == nil && wasWell {
			v.fellSilent(target.Host, t.Monitor.URL, kind)
			v.wakeUp()
		}
	}
}

// doubted reports whether a failure at an instant is one of a blind worker.
func (v *view) doubted(at time.Time) bool {
	blind := !v.blindSince.IsZero()
	return (blind || at.Before(v.sawAgainAt)) && !at.Before(v.doubtsSince)
}

// fellSilent notes the instant at which a host fell silent, once.
func (v *view) fellSilent(host, target string, kind silence) {
	if known := v.hosts[host]; known == nil || known.silence == heard {
		v.hosts[host] = &sighting{target: target, at: v.now(), silence: kind}
	}
}

func (v *view) wakeUp() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// forget drops what is older than doubtsLast, but for what a blind worker knows: it learns nothing new.
func (v *view) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.blindSince.IsZero() {
		return
	}
	old := v.now().Add(-doubtsLast)
	maps.DeleteFunc(v.hosts, func(_ string, s *sighting) bool { return s.at.Before(old) })
	recent := slices.IndexFunc(v.doubts, func(d doubt) bool { return !d.at.Before(old) })
	if recent < 0 {
		recent = len(v.doubts)
	}
	v.doubts = slices.Clone(v.doubts[recent:])
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
		name := hostname(host)
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

func hostname(hostPort string) string {
	return (&url.URL{Host: hostPort}).Hostname()
}

// A party is who a look asks. It sees if enough of those answer who can tell anything.
type party struct {
	targets []string
	most    bool // enough is more than half; else one
}

// sees says what the answers of a party mean, if anything.
func (p party) sees(answers []silence) (sees, tells bool) {
	answered, asked := 0, 0
	for _, answer := range answers {
		if answer == heard {
			answered++
		}
		if answer != tellsNothing {
			asked++
		}
	}
	if p.most {
		return 2*answered > asked, asked > 0
	}
	return answered > 0, asked > 0
}

// parties says whom to ask: the sentinels; without any, if there is something to suspect, some of the hosts that fell
// silent, and some of those that did not: where these answer, the trouble is not ours. In an outage of DNS only who has
// a name counts, as the others are seen as ever.
func (v *view) parties(sentinels []string) []party {
	v.mu.Lock()
	defer v.mu.Unlock()
	suspicious, inDNS := v.suspicious()
	if inDNS && suspicious {
		sentinels = slices.DeleteFunc(slices.Clone(sentinels), isAddress)
	}
	if len(sentinels) > 0 {
		return []party{{targets: sentinels}}
	}
	if !suspicious && v.blindSince.IsZero() {
		return nil
	}
	var silent, well []string
	for _, s := range v.hosts {
		switch {
		case inDNS && isAddress(s.target):
		case s.silence == heard:
			well = append(well, s.target)
		default:
			silent = append(silent, s.target)
		}
	}
	return []party{{targets: sample(silent), most: true}, {targets: sample(well), most: true}}
}

// isAddress reports whether a URL names its host by address.
func isAddress(target string) bool {
	parsed, err := url.Parse(target)
	if err != nil {
		return false
	}
	_, err = netip.ParseAddr(parsed.Hostname())
	return err == nil
}

// sample draws a few targets, and gives URLs by which to see no more than whether their hosts answer.
func sample(targets []string) []string {
	rand.Shuffle(len(targets), func(i, j int) { targets[i], targets[j] = targets[j], targets[i] }) //nolint:gosec // a sample
	targets = targets[:min(len(targets), sampleSize)]
	for i, target := range targets {
		targets[i] = probe.ConnectURL(target)
	}
	return targets
}

// turn is what a look has changed.
type turn int

const (
	noTurn turn = iota
	wentBlind
	sawAgain
)

// looked takes in what a look saw that began at an instant.
func (v *view) looked(at time.Time, sees bool) turn {
	v.mu.Lock()
	defer v.mu.Unlock()
	if sees {
		v.failedLooks, v.sawAt = 0, at
		if v.blindSince.IsZero() {
			return noTurn
		}
		v.blindSince, v.sawAgainAt = time.Time{}, at
		v.written = true // what failed since the last look
		maps.DeleteFunc(v.hosts, func(_ string, s *sighting) bool { return s.silence != heard })
		return sawAgain
	}
	v.failedLooks++
	suspicious, inDNS := v.suspicious()
	if !v.blindSince.IsZero() || v.failedLooks < failedLooksToBlind && !suspicious {
		return noTurn
	}
	v.blindSince, v.written = v.now(), true
	v.doubtsSince = v.blindSince.Add(-doubtsLast)
	if v.sawAt.After(v.doubtsSince) && !inDNS { // what was seen may have had no name
		v.doubtsSince = v.sawAt.Add(-time.Millisecond) // by which the log may round a scan's end down
	}
	return wentBlind
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

// doubtful is what a blind worker takes back: failures that ended since an instant until before another, and what they
// did to each monitor, oldest first.
type doubtful struct {
	since, until time.Time
	byMonitor    map[int64][]doubt
}

// takeDoubts gives what is to be taken back, if anything is.
func (v *view) takeDoubts() (d doubtful, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.written || v.doubtsSince.IsZero() {
		return doubtful{}, false
	}
	v.written = false
	d = doubtful{since: v.doubtsSince, until: v.sawAgainAt, byMonitor: map[int64][]doubt{}}
	if !v.blindSince.IsZero() {
		d.until = v.now().Add(time.Hour) // until we see again
	}
	for _, one := range v.doubts {
		if !one.at.Before(d.since) {
			d.byMonitor[one.Monitor.ID] = append(d.byMonitor[one.Monitor.ID], one)
		}
	}
	return d, true
}

// giveBackDoubts is for who could not write what came of them.
func (v *view) giveBackDoubts() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.written = true
}

// takeMissed gives the monitors whose scans told nothing because we were blind.
func (v *view) takeMissed() []int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	missed := slices.Sorted(maps.Keys(v.missed))
	clear(v.missed)
	return missed
}

func (v *view) giveBackMissed(monitorIDs []int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, id := range monitorIDs {
		v.missed[id] = true
	}
}
