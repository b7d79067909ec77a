package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"riverwatch/egress"
	"riverwatch/uptime"
	"riverwatch/wait"
)

// A verdict is what a probe concludes, and why, for people. Its text may hold bytes of the target: it is cleaned before
// it leaves the package.
type verdict struct {
	outcome uptime.Outcome
	text    string
}

// blocked tells neither the address nor the rule, lest a monitor become a scanner of our network.
var blocked = verdict{
	uptime.BlockedByPolicy,
	"the target's address is one that this installation does not connect to; " +
		"the setting RIVERWATCH_ALLOW_CIDRS can allow a private network",
}

// ended gives the verdict of a probe whose context has ended while it waited: for the target, if the deadline came.
func ended(ctx context.Context, waiting stage) (v verdict, yes bool) {
	if wait.Over(ctx) {
		<-ctx.Done() // who dials goes by the clock, and may know before the context does whose deadline it was
	}
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return verdict{}, false
	case errors.Is(cause, errDeadline):
		return timeout(waiting), true
	}
	return cancelled, true
}

var cancelled = verdict{uptime.Inconclusive, "the probe was cancelled"}

func timeout(waiting stage) verdict {
	switch waiting {
	case inDNS:
		return verdict{uptime.TimeoutDNS, "DNS did not answer before the deadline"}
	case inTLS:
		return verdict{uptime.TimeoutTLS, "the TLS handshake did not end before the deadline"}
	case inHeader:
		return verdict{uptime.TimeoutHeader, "the answer's header did not come before the deadline"}
	case inBody:
		return verdict{uptime.TimeoutBody, "the answer's body did not end before the deadline"}
	case inConnect:
	}
	return verdict{uptime.TimeoutConnect, "no connection was made before the deadline"}
}

// connectVerdict says what an error means before the request is sent.
func (h *hop) connectVerdict(ctx context.Context, err error) verdict {
	h.mu.Lock()
	waiting := h.stage
	h.mu.Unlock()
	if v, yes := ended(ctx, waiting); yes {
		return v
	}
	var lookup *egress.LookupError
	switch {
	case errors.Is(err, egress.ErrPrivateWrite):
		return verdict{
			uptime.BlockedByPolicy,
			"no body is sent to a private address; the setting RIVERWATCH_ALLOW_PRIVATE_WRITES can allow it",
		}
	case errors.Is(err, egress.ErrRefused):
		return blocked
	case errors.Is(err, egress.ErrTooManyDials):
		return verdict{uptime.TooManyRedirects, "the redirects need more connections than a probe may make"}
	case ours(err):
		return ourTrouble
	case errors.As(err, &lookup):
		return lookupVerdict(lookup)
	case waiting == inTLS:
		return tlsVerdict(err)
	}
	return tcpVerdict(err)
}

// NoResolver is the error of a result that is inconclusive because the DNS resolver of this host cannot be reached.
const NoResolver = "this host could not ask its DNS resolver"

var ourTrouble = verdict{uptime.Inconclusive, "this host lacks files, ports or memory, or forbids the connection"}

// ours reports whether an error is this host's, and says nothing of the target. A local firewall's is EPERM or EACCES.
func ours(err error) bool {
	return slices.ContainsFunc([]error{
		syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM, syscall.ENETDOWN,
		syscall.EPERM, syscall.EACCES,
	}, func(errno error) bool { return errors.Is(err, errno) })
}

func lookupVerdict(err *egress.LookupError) verdict {
	switch {
	case resolverUnreachable(err):
		return verdict{uptime.Inconclusive, NoResolver}
	case err.IsTimeout:
		return timeout(inDNS)
	case err.Failed:
		return verdict{uptime.DNSServfail, "DNS failed to resolve the name (SERVFAIL)"}
	case err.IsNotFound && err.Aliases:
		return verdict{uptime.DNSError, "DNS answers with aliases of the name that lead to no address"}
	case err.IsNotFound && err.Empty:
		return noAddress
	case err.IsNotFound:
		return verdict{uptime.DNSNXDomain, "DNS knows no such name (NXDOMAIN)"}
	}
	return verdict{uptime.DNSError, "DNS did not resolve the name: its answer is an error, or cannot be read"}
}

var noAddress = verdict{uptime.DNSEmpty, "DNS knows the name, but no address of it that could be connected to"}

// resolverUnreachable goes by the text, because net keeps no other trace of the cause. The text is never a server's.
func resolverUnreachable(err *egress.LookupError) bool {
	return slices.ContainsFunc([]syscall.Errno{
		syscall.ECONNREFUSED, syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EPERM, syscall.EACCES,
		syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM,
	}, func(errno syscall.Errno) bool { return strings.HasSuffix(err.Err, errno.Error()) })
}

func tcpVerdict(err error) verdict {
	var addrErr *net.AddrError
	var netErr net.Error
	switch {
	case errors.As(err, &addrErr):
		return noAddress // of this version of IP
	case errors.As(err, &netErr) && netErr.Timeout():
		return timeout(inConnect)
	case isRefused(err):
		return verdict{uptime.ConnectRefused, "the connection was refused: nothing listens on the port"}
	case hungUp(err):
		return closed
	}
	return verdict{uptime.ConnectUnreachable, "the address cannot be reached"}
}

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

var closed = verdict{uptime.ConnectionClosed, "the target closed the connection before it answered"}

// hungUp reports whether the other side ended the connection.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func tlsVerdict(err error) verdict {
	var (
		invalid     x509.CertificateInvalidError
		hostname    x509.HostnameError
		noRoots     x509.SystemRootsError
		certificate *tls.CertificateVerificationError
	)
	detail := innermost(err).Error()
	switch {
	case hungUp(err):
		return closed
	case errors.As(err, &noRoots):
		return verdict{uptime.Inconclusive, "this host has no root certificates"}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return verdict{uptime.TLSExpired, "the certificate is not valid at this time: " + detail}
	case errors.As(err, &hostname):
		return verdict{uptime.TLSHostname, "the certificate is for another name: " + detail}
	case errors.As(err, &certificate):
		return verdict{uptime.TLSUntrusted, "the certificate is not trusted: " + detail}
	}
	return verdict{uptime.TLSProtocol, "the TLS handshake failed: " + detail}
}

// headerVerdict says what an error means between the request and the end of the answer's header.
func headerVerdict(ctx context.Context, err error) verdict {
	if v, yes := ended(ctx, inHeader); yes {
		return v
	}
	var opErr *net.OpError
	switch {
	case ours(err):
		return ourTrouble
	case errors.As(err, &opErr) && opErr.Op == "remote error": // an alert: of TLS 1.3, some come after the handshake
		return tlsVerdict(err)
	case hungUp(err), opErr != nil, endedStream(err):
		return closed
	case tooLarge(err):
		return verdict{
			uptime.HeadersTooLarge,
			fmt.Sprintf("the answer's header is larger than 64 KiB, or has more than %d lines", mostHeaderLines),
		}
	}
	return verdict{uptime.HTTPMalformed, "the answer is not valid HTTP: " + innermost(err).Error()}
}

// tooLarge goes by the text of HTTP/2, because net/http has no error value for it.
func tooLarge(err error) bool {
	return errors.Is(err, errHeadersTooLarge) || slices.ContainsFunc([]string{
		"response header list larger than advertised limit", "header list too large", "too many 1xx informational",
	}, func(text string) bool { return strings.Contains(err.Error(), text) })
}

// endedStream reports whether the other side ended an HTTP/2 stream or connection: RST_STREAM, or GOAWAY. It goes by the
// text too.
func endedStream(err error) bool {
	text := err.Error()
	return strings.HasPrefix(text, "stream error:") && strings.HasSuffix(text, "received from peer") ||
		strings.Contains(text, "GOAWAY") || strings.Contains(text, "client connection lost")
}

// bodyLost is of a body that came whole, though so slowly that others were given its memory.
var bodyLost = verdict{uptime.Inconclusive, "this host lacked the memory to keep the answer's body until it was whole"}

// bodyVerdict says what an error means in the body.
func bodyVerdict(ctx context.Context, err error) verdict {
	if errors.Is(err, errNoMemory) && errors.Is(context.Cause(ctx), errDeadline) {
		return verdict{uptime.Inconclusive, "this host had no memory free for the answer's body before the deadline"}
	}
	if v, yes := ended(ctx, inBody); yes {
		return v
	}
	var opErr *net.OpError
	switch {
	case ours(err):
		return ourTrouble
	case hungUp(err), errors.As(err, &opErr), endedStream(err),
		strings.Contains(err.Error(), "unexpected EOF"): // in a trailer
		return verdict{uptime.BodyIncomplete, "the connection ended before the answer's body"}
	}
	return verdict{uptime.HTTPMalformed, "the answer's body is not valid HTTP: " + innermost(err).Error()}
}

// matchVerdict says why a match was not decided. A target does not pay for our lack of processors.
func matchVerdict(ctx context.Context, err error) verdict {
	switch {
	case errors.Is(err, errMatchCut) && errors.Is(context.Cause(ctx), errDeadline):
		return verdict{uptime.RegexpTimeout, "the regexp was not matched to the end of the body before the deadline"}
	case errors.Is(err, errMatchCut):
		return cancelled
	case errors.Is(err, errMatchSpent):
		return verdict{uptime.RegexpTimeout, fmt.Sprintf("the regexp took over %s of a processor's time", mostCPU)}
	case errors.Is(err, errNoMatcher):
		return verdict{uptime.Inconclusive, "this host was too busy to match the regexp before the deadline"}
	}
	return verdict{uptime.Inconclusive, "the regexp is not one that CheckRegexp accepts"}
}

// innermost gives the error that says what happened, without those that say to which of our ports and URLs.
func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
