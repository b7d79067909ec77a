package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
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
	chains  *semaphore.Weighted // places for handshakes with large certificates
	waited  *time.Duration      // by this process, of the attempt

	mu                                     sync.Mutex
	stage                                  stage
	remote                                 netip.Addr
	certificate                            *x509.Certificate
	dns, connect, secure, transfer         *time.Duration
	dnsStart, sent, requested, firstByteAt time.Time
}

// newHop prepares a connection to the host of a URL, and its TLS handshake. elsewhere: it is not the one that the target's
// owner named.
func (a *attempt) newHop(to *url.URL, elsewhere bool) *hop {
	h := &hop{dialer: a.dialer.DialContext, chains: a.chains, waited: &a.waited}
	if version := a.target.Request.IPVersion; version != 0 {
		h.version = strconv.Itoa(version)
	}
	s, _ := schemeNamed(to.Scheme)
	if s.nameserver {
		h.dialer = a.dialer.DialDNS
	}
	if !s.tls {
		return h
	}

	request := a.target.Request
	h.tls = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         to.Hostname(),
		NextProtos:         s.alpn,
		InsecureSkipVerify: request.TLSSkipVerify, //nolint:gosec // its owner asked for it, and is shown that he did
	}
	if request.HTTP2 && s.uses("http2") {
		h.tls.NextProtos = slices.Concat([]string{"h2"}, s.alpn)
	}
	if !elsewhere && request.HostOverride != "" {
		host, _, err := net.SplitHostPort(request.HostOverride)
		if err != nil { // it has no port
			host = strings.Trim(request.HostOverride, "[]")
		}
		h.tls.ServerName = host
	}
	if request.CAPEM != "" {
		h.tls.RootCAs, _ = a.authorities.get(request.CAPEM, withAuthorities)
	}
	if !elsewhere && request.ClientCertPEM != "" { // it is a credential
		certificate, err := tls.X509KeyPair([]byte(request.ClientCertPEM), []byte(a.target.Secrets.ClientKeyPEM))
		if err == nil { // Target.Check has seen to it
			h.tls.Certificates = []tls.Certificate{certificate}
		}
	}
	return h
}

// authoritiesBytes bounds the pools of authorities that are kept, for some 200 groups of them.
const authoritiesBytes = 8 << 20

// withAuthorities gives the authorities of this host together with those of a text. It cannot fail: what is no certificate
// Target.Check has refused.
func withAuthorities(pem string) (roots *x509.CertPool, weight int, err error) {
	const ofHost = 32 << 10 // some 150 of them, in maps
	roots, err = x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	roots.AppendCertsFromPEM([]byte(pem))
	return roots, ofHost + 3*len(pem), nil
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
