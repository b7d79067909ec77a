package jobs

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

// blindness gathers what scans and looks tell of our own network, and decides whether we see it. A look asks whoever
// should answer; Sight makes it.
type blindness struct {
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
	monitorID     int64
	before, after uptime.State
	at            time.Time
}

func newBlindness(now func() time.Time) *blindness {
	return &blindness{
		now: now, wake: make(chan struct{}, 1), hosts: map[string]*sighting{}, missed: map[int64]bool{},
	}
}

// scanned takes in the result of a scan, and gives what is to be recorded: a failure that may be ours is inconclusive
// if we are blind, or were when the scan began.
func (b *blindness) scanned(monitor db.Monitor, result probe.Result) probe.Result {
	target, err := url.Parse(monitor.URL)
	if err != nil {
		return result
	}
	kind := silenceOf(monitor.URL, result)
	if kind == tellsNothing {
		return result
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	host := b.hosts[target.Host]
	switch {
	case kind == heard && host == nil:
		b.hosts[target.Host] = &sighting{target: monitor.URL, at: b.now(), silence: heard}
		return result
	case kind == heard:
		host.at, host.silence = b.now(), heard
		return result
	case host != nil, result.Outcome == uptime.Inconclusive: // no doubt that the fault is ours: DNS is not asked by the target
		b.fellSilent(target.Host, monitor.URL, kind)
	}
	b.wakeUp()
	if b.blindSince.IsZero() && !result.Start.Before(b.sawAgainAt) {
		return result
	}
	b.missed[monitor.ID] = true
	if result.Outcome != uptime.Inconclusive {
		result.Outcome, result.Error = uptime.Inconclusive, cannotSee
	}
	return result
}

// recorded takes in scans that came to the log, and what they did to the states of monitors. A monitor that was well
// until now is one whose host has fallen silent, whichever worker heard of it before.
func (b *blindness) recorded(scans []db.Scan, changes []change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, scan := range scans { // one may have been on its way to the log when we found that we are blind
		b.written = b.written || slices.Contains(unheardOutcomes, scan.Outcome) && b.doubted(endOf(scan.Slot, scan.LateMS, scan.TotalUS))
	}
	for _, c := range changes {
		kind := silenceOf(c.monitor.URL, probe.Result{Outcome: c.outcome})
		if kind != unheard && kind != unheardDNS {
			continue
		}
		b.doubts = append(b.doubts, doubt{monitorID: c.monitor.ID, before: c.before, after: c.after, at: b.now()})
		wasWell := (c.before.Status == uptime.Up || c.before.Status == uptime.Degraded) && c.before.Failures == 0
		if target, err := url.Parse(c.monitor.URL); err == nil && wasWell {
			b.fellSilent(target.Host, c.monitor.URL, kind)
			b.wakeUp()
		}
	}
}

// doubted reports whether a failure at an instant is one of a blind worker.
func (b *blindness) doubted(at time.Time) bool {
	blind := !b.blindSince.IsZero()
	return (blind || at.Before(b.sawAgainAt)) && !at.Before(b.doubtsSince)
}

// endOf gives the instant at which a scan of the log had ended.
func endOf(slot time.Time, lateMS, totalUS int) time.Time {
	return slot.Add(time.Duration(lateMS)*time.Millisecond + time.Duration(totalUS)*time.Microsecond)
}

// fellSilent notes the instant at which a host fell silent, once.
func (b *blindness) fellSilent(host, target string, kind silence) {
	if known := b.hosts[host]; known == nil || known.silence == heard {
		b.hosts[host] = &sighting{target: target, at: b.now(), silence: kind}
	}
}

func (b *blindness) wakeUp() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// forget drops what is older than doubtsLast, but for what a blind worker knows: it learns nothing new.
func (b *blindness) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.blindSince.IsZero() {
		return
	}
	old := b.now().Add(-doubtsLast)
	maps.DeleteFunc(b.hosts, func(_ string, s *sighting) bool { return s.at.Before(old) })
	recent := slices.IndexFunc(b.doubts, func(d doubt) bool { return !d.at.Before(old) })
	if recent < 0 {
		recent = len(b.doubts)
	}
	b.doubts = slices.Clone(b.doubts[recent:])
}

// suspicious reports whether so many hosts have fallen silent that the fault may be ours, and whether most of them did
// so in DNS. A host answers if any of its ports does.
func (b *blindness) suspicious() (yes, inDNS bool) {
	if b.countSilent() < leastSilent { // nearly always
		return false, false
	}
	silent, dns := 0, 0
	names := map[string]silence{}
	for host, s := range b.hosts {
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
func (b *blindness) parties(sentinels []string) []party {
	b.mu.Lock()
	defer b.mu.Unlock()
	suspicious, inDNS := b.suspicious()
	if inDNS && suspicious {
		sentinels = slices.DeleteFunc(slices.Clone(sentinels), isAddress)
	}
	if len(sentinels) > 0 {
		return []party{{targets: sentinels}}
	}
	if !suspicious && b.blindSince.IsZero() {
		return nil
	}
	var silent, well []string
	for _, s := range b.hosts {
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
func (b *blindness) looked(at time.Time, sees bool) turn {
	b.mu.Lock()
	defer b.mu.Unlock()
	if sees {
		b.failedLooks, b.sawAt = 0, at
		if b.blindSince.IsZero() {
			return noTurn
		}
		b.blindSince, b.sawAgainAt = time.Time{}, at
		b.written = true // what failed since the last look
		maps.DeleteFunc(b.hosts, func(_ string, s *sighting) bool { return s.silence != heard })
		return sawAgain
	}
	b.failedLooks++
	suspicious, inDNS := b.suspicious()
	if !b.blindSince.IsZero() || b.failedLooks < failedLooksToBlind && !suspicious {
		return noTurn
	}
	b.blindSince, b.written = b.now(), true
	b.doubtsSince = b.blindSince.Add(-doubtsLast)
	if b.sawAt.After(b.doubtsSince) && !inDNS { // what was seen may have had no name
		b.doubtsSince = b.sawAt.Add(-time.Millisecond) // by which the log may round a scan's end down
	}
	return wentBlind
}

// blind reports whether we cannot see the network.
func (b *blindness) blind() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.blindSince.IsZero()
}

// uneasy reports whether the next look should come soon.
func (b *blindness) uneasy() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	suspicious, _ := b.suspicious()
	return suspicious || b.failedLooks > 0 || !b.blindSince.IsZero()
}

// silentHosts gives how many hosts fell silent lately.
func (b *blindness) silentHosts() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.countSilent()
}

func (b *blindness) countSilent() (silent int) {
	for _, s := range b.hosts {
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
func (b *blindness) takeDoubts() (d doubtful, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.written || b.doubtsSince.IsZero() {
		return doubtful{}, false
	}
	b.written = false
	d = doubtful{since: b.doubtsSince, until: b.sawAgainAt, byMonitor: map[int64][]doubt{}}
	if !b.blindSince.IsZero() {
		d.until = b.now().Add(time.Hour) // until we see again
	}
	for _, one := range b.doubts {
		if !one.at.Before(d.since) {
			d.byMonitor[one.monitorID] = append(d.byMonitor[one.monitorID], one)
		}
	}
	return d, true
}

// giveBackDoubts is for who could not write what came of them.
func (b *blindness) giveBackDoubts() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.written = true
}

// takeMissed gives the monitors whose scans told nothing because we were blind.
func (b *blindness) takeMissed() []int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	missed := slices.Sorted(maps.Keys(b.missed))
	clear(b.missed)
	return missed
}

func (b *blindness) giveBackMissed(monitorIDs []int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range monitorIDs {
		b.missed[id] = true
	}
}
