// Package probe looks at one target once, as the scheme of its URL says, within one deadline, and says what came of it.
//
// The target belongs to a stranger: it may hang, lie, flood or point at our own network. A Prober connects only to
// addresses that egress permits, bounds all that it reads, and hands on no text that it has not cleaned.
package probe

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"time"

	"golang.org/x/sync/semaphore"

	"riverwatch/egress"
	"riverwatch/uptime"
)

// maxHeaderBytes bounds an answer's header, with all the interim (1xx) answers before it.
const maxHeaderBytes = 64 << 10

// Settings are what an operator sets of all probes.
type Settings struct {
	Policy       egress.Policy
	MaxBodyBytes int64          // of a body that are read, counted after decompression; 0 means 1 MiB
	BodyMemory   int            // bytes of all bodies together that are kept to be matched; 0 means 64 MiB
	Resolver     netip.AddrPort // the DNS server to ask; zero: those of /etc/resolv.conf
	Contact      string         // a URL or an e-mail address, for the User-Agent; may be empty
}

// A Prober makes probes. It is safe for concurrent use.
type Prober struct {
	settings  Settings
	userAgent string
	matcher   *matcher
	memory    *memory
	chains    *semaphore.Weighted // places for handshakes with large certificates

	authorities *cache[*x509.CertPool]
	pulse       *pulse
	logger      *slog.Logger
}

// NewProber makes a prober that connects only to addresses that the settings' policy permits.
func NewProber(settings Settings, logger *slog.Logger) *Prober {
	p := &Prober{
		settings:  settings,
		userAgent: userAgent(settings.Contact),
		matcher:   newMatcher(),
		chains:    semaphore.NewWeighted(mostLargeChains),

		authorities: newCache[*x509.CertPool](authoritiesBytes),

		pulse:  &pulse{slack: pulseSlack},
		logger: logger,
	}
	p.settings.MaxBodyBytes = cmp.Or(settings.MaxBodyBytes, defaultBodyBytes)
	p.memory = newMemory(max(cmp.Or(settings.BodyMemory, defaultBodyMemory), int(p.settings.MaxBodyBytes)))
	return p
}

func userAgent(contact string) string {
	if contact == "" {
		return "Riverwatch/1.0 (uptime monitor)"
	}
	return "Riverwatch/1.0 (uptime monitor; " + contact + ")"
}

var errDeadline = errors.New("the probe's deadline has come")

// Probe makes one probe. It returns soon after the target's timeout, whatever the target does, and never panics. If ctx
// ends first, the result is inconclusive.
func (p *Prober) Probe(ctx context.Context, target Target) (result Result) {
	start := time.Now()
	defer func() {
		if reason := recover(); reason != nil { // a bug of ours, which says nothing of the target
			p.logger.ErrorContext(ctx, "probe panicked", slog.String("reason", fmt.Sprint(reason)),
				slog.String("stack", string(debug.Stack())))
			result = Result{Outcome: uptime.Inconclusive, Error: "the probe itself failed"}
		}
		result.Start, result.Total = start, time.Since(start)
	}()

	lag := p.pulse.join()
	defer p.pulse.leave()
	start = time.Now() // only now, as only what keeps the probe from running after it has joined is noticed
	ctx, cancel := context.WithDeadlineCause(ctx, start.Add(target.Timeout), errDeadline)
	defer cancel()
	attempt := attempt{
		Prober: p, target: target, secrets: target.secretTexts(), start: start, lag: lag,
		dialer: egress.Dialer{Policy: p.settings.Policy, Resolver: p.settings.Resolver},
	}
	verdict := attempt.run(ctx)

	result = attempt.result
	result.Outcome = verdict.outcome
	result.Error = attempt.clean(verdict.text)
	if result.Outcome.Failed() {
		result.BodyExcerpt = cleanExcerpt(attempt.hide(result.BodyExcerpt))
	} else {
		result.BodyExcerpt = ""
	}
	if result.Outcome == uptime.BlockedByPolicy {
		result.RemoteIP, result.Certificate = netip.Addr{}, nil
	}
	return result
}
