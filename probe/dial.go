package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// maxDials bounds the connections of one probe, over all addresses of all hops: a target must not make us its flood.
const maxDials = 8

var errTooManyDials = errors.New("the probe has used up its connections")

// guard decides on each address that the dialer is about to connect to. It alone protects: it comes after DNS, so that
// no name, however resolved, and no redirect leads to an address that the policy refuses.
func (p *Prober) guard(ctx context.Context, network, address string, _ syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil || network != "tcp4" && network != "tcp6" {
		return errRefused
	}
	if err := p.policy.Check(addr); err != nil {
		return err
	}
	if hopOf(ctx).dials.Add(1) > maxDials {
		return errTooManyDials
	}
	return nil
}

// newResolver gives Go's own resolver; the C library's takes 127.1 and 0x7f000001 for addresses. It gives up when
// nobody waits any more: net would go on for 5 s with each server, and an outage of DNS meets all probes at once.
func newResolver(dial func(ctx context.Context, network, address string) (net.Conn, error)) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		return conn, nil
	}}
}

// dial connects to the first address of a host that can be connected to.
func (p *Prober) dial(ctx context.Context, network, address string) (net.Conn, error) {
	hop := hopOf(ctx)
	start := time.Now()
	conn, err := p.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, hop.dialError(err)
	}
	hop.connected(start, conn.RemoteAddr())
	return newPatientConn(conn), nil
}

// dialTLS is dial with a TLS handshake.
func (p *Prober) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	plain, err := p.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}

	hop := hopOf(ctx)
	hop.enter(inTLS)
	start := time.Now()
	config := p.tls.Clone()
	config.ServerName = host
	conn := tls.Client(plain, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = plain.Close()
		return nil, err
	}
	hop.secured(start)
	return newPatientConn(conn), nil
}

// A patientConn reads nothing until something was written. Targets that speak first (SSH, SMTP) or hang up at once
// would otherwise race with our request, and net/http has another error for each order, and for some a line in our log.
type patientConn struct {
	net.Conn
	wrote     chan struct{}
	wroteOnce sync.Once
}

func newPatientConn(conn net.Conn) *patientConn {
	return &patientConn{Conn: conn, wrote: make(chan struct{})}
}

func (c *patientConn) Read(b []byte) (int, error) {
	<-c.wrote
	return c.Conn.Read(b)
}

func (c *patientConn) Write(b []byte) (int, error) {
	c.wroteOnce.Do(func() { close(c.wrote) })
	return c.Conn.Write(b)
}

func (c *patientConn) Close() error {
	c.wroteOnce.Do(func() { close(c.wrote) })
	return c.Conn.Close()
}
