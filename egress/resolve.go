package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
)

// A LookupError is the error of a name without an address, with what DNS servers answered to the questions for it.
type LookupError struct {
	*net.DNSError

	Failed  bool // SERVFAIL
	Empty   bool // the name exists, without such a record
	Aliases bool // it has records, which lead to no address
}

// Unwrap gives the error of package net.
func (e *LookupError) Unwrap() error { return e.DNSError }

// answers is what DNS servers answered during one dial. The resolver of package net makes one error of a name that does
// not exist and of one without an address, so its connections are listened in on.
type answers struct {
	failed, empty, some atomic.Bool
}

// hear notes a message from a DNS server (RFC 1035, section 4.1.1).
func (a *answers) hear(message []byte) {
	if len(message) < 12 || message[2]&0x80 == 0 {
		return
	}
	code, records := message[3]&0x0f, int(message[6])<<8|int(message[7])
	switch {
	case code == 2:
		a.failed.Store(true)
	case code == 0 && records == 0:
		a.empty.Store(true)
	case code == 0:
		a.some.Store(true)
	}
}

// explain adds what was heard to an error, if it is one of a lookup.
func (a *answers) explain(err error) error {
	lookup, ok := errors.AsType[*net.DNSError](err)
	if !ok {
		return err
	}
	return &LookupError{DNSError: lookup, Failed: a.failed.Load(), Empty: a.empty.Load(), Aliases: a.some.Load()}
}

// newResolver gives Go's own resolver; the C library's takes 127.1 and 0x7f000001 for addresses. Each dial has one, for
// dials that share one also share lookups. It gives up when nobody waits any more: net would go on for 5 s with each
// server, and an outage of DNS meets all probes at once.
func newResolver(server netip.AddrPort, heard *answers) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if server.IsValid() {
			address = server.String()
		}
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		if udp, ok := conn.(*net.UDPConn); ok {
			return &heardUDP{udp, heard}, nil // net tells a packet connection by its methods
		}
		return &heardTCP{conn, heard}, nil
	}}
}

type heardUDP struct {
	*net.UDPConn

	heard *answers
}

func (c *heardUDP) Read(b []byte) (int, error) {
	n, err := c.UDPConn.Read(b)
	c.heard.hear(b[:n])
	return n, err
}

// A heardTCP is read in two steps, the length of a message and the message.
type heardTCP struct {
	net.Conn

	heard *answers
}

func (c *heardTCP) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.heard.hear(b[:n])
	return n, err
}
