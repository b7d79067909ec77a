package sight

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"riverwatch/probe"
	"riverwatch/uptime"
)

const (
	lookTimeout = 2 * time.Second
	// Of so many hosts that fell silent, and so many that did not, a look without sentinels asks.
	sampleSize = 5
)

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

// Look looks once, if there is somebody to look at, and does what follows from it: it asks all groups at once, and one that
// sees is enough.
func (s *Sight) Look(ctx context.Context) {
	s.view.forget()
	at, groups := s.Now(), s.view.groups(s.Sentinels)
	var open sync.WaitGroup
	answers := make([][]silence, len(groups))
	for i, group := range groups {
		answers[i] = make([]silence, len(group.targets))
		for j, target := range group.targets {
			open.Go(func() {
				answers[i][j] = silenceOf(target, s.Prober.Probe(ctx, probe.Target{
					URL: target, Method: http.MethodGet, Timeout: lookTimeout,
				}))
			})
		}
	}
	open.Wait()
	if ctx.Err() != nil {
		return
	}

	told, saw := false, false
	for i, group := range groups {
		if group.sentinels {
			s.view.askedSentinels(group.targets, answers[i])
		}
		sees, tells := group.sees(answers[i])
		told, saw = told || tells, saw || tells && sees
	}
	found := noNews
	if told {
		found = s.view.looked(at, saw)
	}
	s.follow(ctx, found)
}

// news is what a look has changed.
type news int

const (
	noNews news = iota
	wentBlind
	sawAgain
)

// A group is who a look asks. It sees if enough of those answer who can tell anything.
type group struct {
	targets   []string
	sentinels bool
	most      bool // enough is more than half; else one
}

// sees says what the answers of a group mean, if anything.
func (g group) sees(answers []silence) (sees, tells bool) {
	answered, asked := 0, 0
	for _, answer := range answers {
		if answer == heard {
			answered++
		}
		if answer != tellsNothing {
			asked++
		}
	}
	if g.most {
		return 2*answered > asked, asked > 0
	}
	return answered > 0, asked > 0
}

// groups says whom to ask: the sentinels, and if there is something to suspect, they among it, some of the hosts that fell
// silent, and some of those that did not: where these answer, the trouble is not ours. In an outage of DNS only who has
// a name counts, as the others are seen as ever.
func (v *view) groups(sentinels []string) []group {
	v.mu.Lock()
	defer v.mu.Unlock()
	suspicious, inDNS := v.suspicious()
	if inDNS && suspicious {
		sentinels = slices.DeleteFunc(slices.Clone(sentinels), isAddress)
	}
	var groups []group
	if len(sentinels) > 0 {
		groups = append(groups, group{targets: sentinels, sentinels: true})
	}
	if !suspicious && v.failedLooks == 0 && v.blindSince.IsZero() {
		return groups
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
	return append(groups, group{targets: sample(silent), most: true}, group{targets: sample(well), most: true})
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
