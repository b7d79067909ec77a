package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// stage is what a hop is waiting for.
type stage int

const (
	inConnect stage = iota
	inDNS
	inTLS
	inHeader
	inBody
)

// A hop is one connection on the way to the verdict: how it is made, how far it got and what was measured. net/http and
// the dialer call its trace from goroutines of theirs, some of them after the hop is over.
type hop struct {
	dialer  func(ctx context.Context, network, address string) (net.Conn, error) // of egress
	version string                                                               // "4", "6"; empty: either
	tls     *tls.Config

	mu                                     sync.Mutex
	stage                                  stage
	remote                                 netip.Addr
	certificate                            *x509.Certificate
	dns, connect, secure, transfer         *time.Duration
	dnsStart, sent, requested, firstByteAt time.Time
}

// newHop prepares a connection to the host of a URL. elsewhere: it is not the one that the target's owner named.
func (a *attempt) newHop(to *url.URL, elsewhere bool) *hop {
	h := &hop{dialer: a.dialer.DialContext}
	if version := a.target.Request.IPVersion; version != 0 {
		h.version = strconv.Itoa(version)
	}
	s, _ := schemeNamed(to.Scheme)
	if s.nameserver {
		h.dialer = a.dialer.DialDNS
	}
	if s.tls {
		h.tls = a.tlsConfig(to, s, elsewhere)
	}
	return h
}

func (h *hop) enter(next stage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stage = next
}

func (h *hop) mark(moment *time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*moment = time.Now()
}

func (h *hop) received() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.transfer = since(h.firstByteAt)
}

// record writes what was measured into the result, in place of an earlier hop's.
func (h *hop) record(result *Result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	result.DNS, result.Connect, result.TLS, result.Wait, result.Transfer = h.dns, h.connect, h.secure, nil, h.transfer
	if !h.firstByteAt.IsZero() {
		// The answer may overtake the news that the request is written: then it is waited for from when we began to write,
		// which takes microseconds.
		written := h.requested
		if written.IsZero() || written.After(h.firstByteAt) {
			written = h.sent
		}
		result.Wait = new(h.firstByteAt.Sub(written))
	}
	result.RemoteIP, result.Certificate = h.remote, h.certificate
}

func since(start time.Time) *time.Duration {
	elapsed := time.Since(start)
	return &elapsed
}
