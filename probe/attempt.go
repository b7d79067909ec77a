package probe

import (
	"cmp"
	"context"
	"encoding/base64"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"riverwatch/egress"
	"riverwatch/uptime"
)

// An attempt is a probe under way.
type attempt struct {
	*Prober

	target  Target
	secrets []string // that are hidden in texts
	start   time.Time
	lag     time.Duration // of the pulse, when the probe began
	waited  time.Duration // for memory
	result  Result
	unmet   verdict // of the first expectation that is not met; zero if there is none
	dialer  egress.Dialer
}

func (a *attempt) run(ctx context.Context) verdict {
	target, err := url.Parse(a.target.URL)
	if err != nil {
		return unchecked
	}
	scheme, known := schemeNamed(target.Scheme)
	if !known {
		return unchecked
	}
	v := scheme.protocol.ask(ctx, a, target)
	if v.outcome.Good() {
		a.expectCertificate()
		v = a.expectInTime(v)
	}
	return a.starved(v)
}

// unchecked is of targets that Target.Check and NormalizeURL would have refused.
var unchecked = verdict{uptime.Inconclusive, "the target was never checked"}

// met gives the verdict of the first expectation that is not met, or else the one that is given.
func (a *attempt) met(good verdict) verdict {
	if a.unmet.outcome != "" {
		return a.unmet
	}
	return good
}

// starved takes back what a probe says of time, if this process was kept from running meanwhile, or waited for memory: for
// a fifth of the deadline, or for half of it where a regexp was at work, which itself keeps others from running.
func (a *attempt) starved(v verdict) verdict {
	bearable := a.target.Timeout / 5
	switch {
	case v.outcome == uptime.RegexpTimeout:
		bearable = a.target.Timeout / 2
	case v.outcome != uptime.TooSlow && !v.outcome.TimedOut():
		return v
	}
	if a.pulse.lag()-a.lag+a.waited > bearable {
		return verdict{uptime.Inconclusive, "this host was too busy to tell: its processors or memory were not free for the probe"}
	}
	return v
}

// clean makes a text fit to be stored and shown: without secrets, as cleanText says.
func (a *attempt) clean(text string) string { return cleanText(a.hide(text)) }

// hide takes the secrets of a target out of a text, and the query of its URL, which may be one: some targets echo what
// they are sent.
func (a *attempt) hide(text string) string {
	if text == "" {
		return ""
	}
	text = hideQuery(text, a.target.URL)
	for _, secret := range a.secrets {
		text = strings.ReplaceAll(text, secret, "…")
	}
	return text
}

// secretTexts gives what must not be shown of what a target echoes: its secrets as they stand, and as they are sent. The
// longest comes first, so that one that holds another is hidden whole.
func (t Target) secretTexts() []string {
	texts := slices.AppendSeq([]string{t.Secrets.BasicPassword, t.Secrets.BearerToken}, maps.Values(t.Secrets.Headers))
	if t.hasBasicAuth() {
		texts = append(texts, base64.StdEncoding.EncodeToString([]byte(t.Request.BasicUsername+":"+t.Secrets.BasicPassword)))
	}
	texts = slices.DeleteFunc(texts, func(text string) bool { return text == "" })
	slices.SortFunc(texts, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return texts
}
