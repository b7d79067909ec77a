// Package probe makes one HTTP request to one target, within one deadline, and says what came of it.
//
// The target belongs to a stranger: it may hang, lie, flood or point at our own network. A Prober connects only to
// addresses that its Policy permits, bounds all that it reads, and hands on no text that it has not cleaned.
package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"time"

	"riverwatch/uptime"
)

// maxHeaderBytes bounds an answer's header, with all the interim (1xx) answers before it.
const maxHeaderBytes = 64 << 10

// Target is what one probe is to look at.
type Target struct {
	Method           string        // GET, HEAD, OPTIONS, POST, ...
	URL              string        // normal form, as NormalizeURL gives it
	Regexp           string        // empty: none. Not asked of the answer to HEAD, which has no body
	RegexpInvert     bool          // good if the body does not match
	Timeout          time.Duration // one total deadline over DNS, connect, TLS, header, body, redirects and regexp
	AcceptedStatuses []string      // "200-299", "204"; empty means 200-299
	MaxRedirects     int           // 0 to 10. 0: a 3xx is judged as an answer, not followed
}

// Result is what came of it. What was not measured is nil, never 0.
type Result struct {
	Start         time.Time
	Outcome       uptime.Outcome
	HTTPStatus    *int  // of the last answer that came, 200 to 599
	RegexpMatched *bool // nil: no regexp, no body to match it against, or not decided

	// The phases of the last hop. Wait is from request written to first byte of the answer; Transfer ends with the body.
	DNS, Connect, TLS, Wait, Transfer *time.Duration

	Total     time.Duration
	BodyBytes *int64     // decoded bytes read, at most the cap
	RemoteIP  netip.Addr // zero if no connection was made, and never set for blocked_by_policy
	Error     string     // a sentence for people, at most 200 clean characters; empty when good
}

// A Prober makes probes. It is safe for concurrent use.
type Prober struct {
	policy    Policy
	dialer    net.Dialer
	tls       *tls.Config
	transport *http.Transport
	matcher   *matcher
	logger    *slog.Logger
}

// NewProber makes a prober that connects only to addresses that policy permits.
func NewProber(policy Policy, logger *slog.Logger) *Prober {
	p := &Prober{
		policy:  policy,
		tls:     &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}},
		matcher: newMatcher(),
		logger:  logger,
	}
	p.dialer = net.Dialer{
		Resolver:       newResolver(new(net.Dialer).DialContext),
		ControlContext: p.guard,
		KeepAlive:      -1, // a connection lives for one request
	}
	p.transport = &http.Transport{
		Proxy:                  nil, // a proxy of the environment would be dialled, and checked, in the target's place
		DialContext:            p.dial,
		DialTLSContext:         p.dialTLS,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: maxHeaderBytes,
		WriteBufferSize:        1 << 10, // a request without a body is small, and buffers are most of what a probe allocates
		Protocols:              new(http.Protocols),
	}
	p.transport.Protocols.SetHTTP1(true)
	return p
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

	ctx, cancel := context.WithDeadlineCause(ctx, start.Add(target.Timeout), errDeadline)
	defer cancel()
	fetch := fetch{Prober: p, target: target}
	verdict := fetch.run(ctx)

	result = fetch.result
	result.Outcome = verdict.outcome
	result.Error = cleanText(hideQuery(verdict.text, target.URL))
	if result.Outcome == uptime.BlockedByPolicy {
		result.RemoteIP = netip.Addr{}
	}
	return result
}
