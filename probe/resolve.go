package probe

import (
	"context"
	"net"
	"sync/atomic"
)

// lookup is what the answers of DNS servers to one hop said. The resolver of package net makes one error of a name that
// does not exist and of one without an address, so its connections are listened in on.
type lookup struct {
	servfail, empty, answered atomic.Bool
}

// hear notes a message from a DNS server (RFC 1035, section 4.1.1).
func (l *lookup) hear(message []byte) {
	if len(message) < 12 || message[2]&0x80 == 0 {
		return
	}
	code, answers := message[3]&0x0f, int(message[6])<<8|int(message[7])
	switch {
	case code == 2:
		l.servfail.Store(true)
	case code == 0 && answers == 0:
		l.empty.Store(true)
	case code == 0:
		l.answered.Store(true)
	}
}

// newResolver gives Go's own resolver; the C library's takes 127.1 and 0x7f000001 for addresses. Each hop has one, for
// hops that share one also share lookups. It gives up when nobody waits any more: net would go on for 5 s with each
// server, and an outage of DNS meets all probes at once.
func (p *Prober) newResolver(heard *lookup) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if p.settings.Resolver.IsValid() {
			address = p.settings.Resolver.String()
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

	heard *lookup
}

func (c *heardUDP) Read(b []byte) (int, error) {
	n, err := c.UDPConn.Read(b)
	c.heard.hear(b[:n])
	return n, err
}

// A heardTCP is read in two steps, the length of a message and the message.
type heardTCP struct {
	net.Conn

	heard *lookup
}

func (c *heardTCP) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.heard.hear(b[:n])
	return n, err
}
