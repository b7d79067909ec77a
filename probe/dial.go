package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// dial connects to a host, as egress permits it.
func (h *hop) dial(ctx context.Context, network, address string) (net.Conn, error) {
	start := time.Now()
	conn, err := h.dialer(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) {
			h.enter(inDNS)
			h.mark(&h.dnsStart)
		},
		DNSDone: func(info httptrace.DNSDoneInfo) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if info.Err == nil {
				h.stage = inConnect
				h.dns = since(h.dnsStart)
			}
		},
	}), network+h.version, address)
	if err != nil {
		return nil, err
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	h.connect = since(start)
	if h.dns != nil { // connecting began when DNS had ended
		*h.connect -= h.dnsStart.Sub(start) + *h.dns
	}
	switch remote := conn.RemoteAddr().(type) {
	case *net.TCPAddr:
		h.remote = remote.AddrPort().Addr().Unmap()
	case *net.UDPAddr: // nothing was sent yet
		h.connect, h.remote = nil, remote.AddrPort().Addr().Unmap()
	}
	return conn, nil
}

// open connects to a host, and makes the TLS handshake if the hop is to have one. It keeps the certificate that the target
// showed, trusted or not.
func (h *hop) open(ctx context.Context, address string) (net.Conn, error) {
	plain, err := h.dial(ctx, "tcp", address)
	if err != nil || h.tls == nil {
		return plain, err
	}

	h.enter(inTLS)
	start := time.Now()
	bounded := &handshakeConn{Conn: plain, ctx: ctx, chains: h.chains, waited: h.waited}
	plain = bounded
	conn := tls.Client(plain, h.tls)
	err = conn.HandshakeContext(ctx)
	bounded.over = true
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		if invalid, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			h.certificate = invalid.UnverifiedCertificates[0]
		}
		_ = plain.Close()
		return nil, err
	}
	h.secure, h.certificate = since(start), conn.ConnectionState().PeerCertificates[0]
	return conn, nil
}

const (
	// What a handshake may have for itself: the chains of public authorities have 3 to 6 KiB.
	freeHandshakeBytes = 16 << 10
	// How many handshakes of a process may have more at a time: parsed, a certificate of 10,000 names takes megabytes, and
	// crypto/tls holds it until the connection is closed.
	mostLargeChains = 8
)

// A handshakeConn bounds what certificates take: beyond its free bytes a handshake waits for a place, which it has until the
// connection is closed.
type handshakeConn struct {
	net.Conn

	ctx    context.Context //nolint:containedctx // the one of the handshake, which reads without
	chains *semaphore.Weighted
	waited *time.Duration
	read   int
	over   bool // the handshake

	mu     sync.Mutex // Close may come at any time
	placed bool
	closed bool
}

// Read implements net.Conn.
func (c *handshakeConn) Read(p []byte) (int, error) {
	if !c.over && c.read > freeHandshakeBytes {
		if err := c.place(); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Read(p)
	c.read += n
	return n, err
}

func (c *handshakeConn) place() error {
	c.mu.Lock()
	placed := c.placed
	c.mu.Unlock()
	if placed {
		return nil
	}
	began := time.Now()
	err := c.chains.Acquire(c.ctx, 1)
	*c.waited += time.Since(began)
	if err != nil {
		return errNoMemory
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.placed = !c.closed; c.closed {
		c.chains.Release(1)
	}
	return nil
}

// Close implements net.Conn.
func (c *handshakeConn) Close() error {
	c.mu.Lock()
	if c.placed {
		c.chains.Release(1)
	}
	c.placed, c.closed = false, true
	c.mu.Unlock()
	return c.Conn.Close()
}
