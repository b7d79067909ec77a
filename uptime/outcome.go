package uptime

import "strings"

// Outcome is what a scan concluded: exactly one code word. The words are part of the product: they are stored in
// monitor_log and answered by the API, so none is ever renamed.
type Outcome string

// A good scan.
const (
	OK          Outcome = "ok"
	OKTruncated Outcome = "ok_truncated" // good, judged on the first bytes of a body longer than the cap
	OKSlow      Outcome = "ok_slow"      // good, but slower than the monitor's degraded_after_ms
)

// The target answered, but not what was expected of it.
const (
	StatusMismatch Outcome = "status_mismatch"
	RegexpMismatch Outcome = "regexp_mismatch"
	RegexpTimeout  Outcome = "regexp_timeout" // the match did not end before the deadline
	HeaderMismatch Outcome = "header_mismatch"
	JSONMismatch   Outcome = "json_mismatch"
	TooSlow        Outcome = "too_slow"         // took longer than the monitor's max_total_ms
	TLSExpiresSoon Outcome = "tls_expires_soon" // in fewer days than the monitor's certificate_days
	NotServing     Outcome = "not_serving"      // gRPC's health service says so, or knows no such service
)

// The deadline came. The word says what was being waited for.
const (
	TimeoutDNS     Outcome = "timeout_dns"
	TimeoutConnect Outcome = "timeout_connect"
	TimeoutTLS     Outcome = "timeout_tls"
	TimeoutHeader  Outcome = "timeout_header"
	TimeoutBody    Outcome = "timeout_body"
)

// The name did not lead to an address, or the address not to a connection.
const (
	DNSNXDomain        Outcome = "dns_nxdomain"
	DNSServfail        Outcome = "dns_servfail"
	DNSEmpty           Outcome = "dns_empty" // the name exists, and has no record of the kind that is needed
	DNSError           Outcome = "dns_error" // any other error, an unreadable answer, aliases that lead nowhere
	ConnectRefused     Outcome = "connect_refused"
	ConnectUnreachable Outcome = "connect_unreachable"
	ConnectionClosed   Outcome = "connection_closed" // closed or reset before the answer's header was whole
)

// TLS failed before a request could be sent.
const (
	TLSProtocol  Outcome = "tls_protocol" // what answered does not speak TLS as we do
	TLSExpired   Outcome = "tls_expired"  // expired, or not valid yet
	TLSHostname  Outcome = "tls_hostname" // a certificate for another name
	TLSUntrusted Outcome = "tls_untrusted"
)

// The answer broke HTTP, or one of our bounds.
const (
	HTTPMalformed    Outcome = "http_malformed"
	HeadersTooLarge  Outcome = "headers_too_large"
	BodyIncomplete   Outcome = "body_incomplete"
	RedirectBlocked  Outcome = "redirect_blocked" // to a scheme or port that we do not follow to
	RedirectInvalid  Outcome = "redirect_invalid"
	RedirectLoop     Outcome = "redirect_loop"
	TooManyRedirects Outcome = "too_many_redirects"
)

const (
	// BlockedByPolicy says that the target's address is one that this installation does not connect to. It is neither
	// up nor down, but a configuration error.
	BlockedByPolicy Outcome = "blocked_by_policy"

	// NotSupported says that this host cannot make such a probe, such as a ping where the kernel forbids it. It is a
	// configuration error too.
	NotSupported Outcome = "not_supported"

	// Inconclusive says that the trouble was ours: no file handles, no ports, cancelled, a panic. It says nothing of
	// the target.
	Inconclusive Outcome = "inconclusive"
)

// Outcomes are all there are.
func Outcomes() []Outcome {
	return []Outcome{
		OK, OKTruncated, OKSlow, StatusMismatch, RegexpMismatch, RegexpTimeout, HeaderMismatch, JSONMismatch, TooSlow,
		TLSExpiresSoon, NotServing, TimeoutDNS, TimeoutConnect, TimeoutTLS, TimeoutHeader, TimeoutBody, DNSNXDomain,
		DNSServfail, DNSEmpty, DNSError, ConnectRefused, ConnectUnreachable, ConnectionClosed, TLSProtocol, TLSExpired,
		TLSHostname, TLSUntrusted, HTTPMalformed, HeadersTooLarge, BodyIncomplete, RedirectBlocked, RedirectInvalid,
		RedirectLoop, TooManyRedirects, BlockedByPolicy, NotSupported, Inconclusive,
	}
}

// Good reports whether the target did all that is expected of it.
func (o Outcome) Good() bool { return o == OK || o == OKTruncated || o == OKSlow }

// Conclusive reports whether the outcome says anything about the target. Inconclusive scans, and those that our own
// configuration kept from being made, count neither for nor against it.
func (o Outcome) Conclusive() bool {
	return o != Inconclusive && o != BlockedByPolicy && o != NotSupported
}

// Failed reports whether the outcome counts against the target.
func (o Outcome) Failed() bool { return o.Conclusive() && !o.Good() }

// TimedOut reports whether the scan ran into its deadline while it waited for its target.
func (o Outcome) TimedOut() bool { return strings.HasPrefix(string(o), "timeout_") }

// Tells reports whether the outcome may change where a monitor stands. Inconclusive scans never do.
func (o Outcome) Tells() bool { return o != Inconclusive }

// Confirms reports whether a scan leaves a monitor as it is that is up and in no doubt, so that its state need not be
// read.
func (o Outcome) Confirms() bool { return o == OK || o == OKTruncated }
