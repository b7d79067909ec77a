package probe

import (
	"crypto/x509"
	"net/netip"
	"time"

	"riverwatch/uptime"
)

// Result is what came of a probe. What was not measured is nil, never 0.
type Result struct {
	Start         time.Time
	Outcome       uptime.Outcome
	HTTPStatus    *int   // of the last answer that came, 200 to 599, or 101 of a WebSocket
	HTTPVersion   string // "HTTP/1.1", "HTTP/2.0"; empty without an answer
	RegexpMatched *bool  // nil: no regexp, no text to match it against, or not decided

	// The phases of the last hop. Wait is from request written to first byte of the answer; Transfer ends with the body.
	DNS, Connect, TLS, Wait, Transfer *time.Duration

	Total        time.Duration
	BodyBytes    *int64     // decoded bytes read, at most the cap
	BodyExcerpt  string     // of a bad answer: the first of its body, at most 1 KiB, cleaned
	RemoteIP     netip.Addr // zero if no connection was made, and never set for blocked_by_policy
	Error        string     // a sentence for people, at most 200 clean characters; empty when good
	Redirects    []Redirect // that were followed, in order
	Expectations []Expected // that were looked at, in order; the first that is not met gives the outcome

	// Certificate is what the last hop's target showed, trusted or not. Its texts are the target's, and not clean:
	// NewCertificate cleans them.
	Certificate *x509.Certificate
}

// Redirect is an answer that was followed.
type Redirect struct {
	Status   int
	Location string // in normal form, without its query
}

// Expected is an expectation and what was found. Its texts are clean.
type Expected struct {
	Name  string // "status", "regexp", "header Content-Type", "json $.status", …
	Want  string
	Found string
	Met   bool
}
