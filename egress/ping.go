package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/icmp"
)

// ErrNoPingSocket is of a host whose kernel gives this process no socket for pings.
var ErrNoPingSocket = errors.New("no socket for pings")

// DialPing gives a ping socket (unprivileged ICMP) to the first address of a host that the policy permits; what is
// written to it goes there and nowhere else. network is "ip", "ip4" or "ip6". Its errors are those of DialContext, and
// ErrNoPingSocket.
func (d *Dialer) DialPing(ctx context.Context, network, host string) (net.Conn, error) {
	addresses, err := d.lookup(ctx, network, host)
	if err != nil {
		return nil, err
	}
	err = ErrRefused
	var to netip.Addr
	for _, addr := range addresses {
		if err = d.Policy.CheckAddr(addr); err == nil {
			to = addr.Unmap()
			break
		}
	}
	if err != nil {
		return nil, err
	}

	if err := d.count(); err != nil {
		return nil, err
	}
	socket, from := "udp4", "0.0.0.0"
	if to.Is6() {
		socket, from = "udp6", "::"
	}
	conn, err := icmp.ListenPacket(socket, from)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoPingSocket, err)
	}
	return &pingConn{conn, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, noPort))}, nil
}

func (d *Dialer) lookup(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if literal, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{literal}, nil
	}
	var heard answers
	addresses, err := newResolver(d.Resolver, &heard).LookupNetIP(ctx, network, host)
	if err != nil {
		return nil, heard.explain(err)
	}
	return addresses, nil
}

// A pingConn is a ping socket that sends to one address. The kernel hands it only the replies to its own identifier.
type pingConn struct {
	*icmp.PacketConn

	to *net.UDPAddr
}

// Write sends a message.
func (c *pingConn) Write(b []byte) (int, error) { return c.WriteTo(b, c.to) }

// Read receives a message.
func (c *pingConn) Read(b []byte) (int, error) {
	n, _, err := c.ReadFrom(b)
	return n, err
}

// RemoteAddr gives the address that is sent to.
func (c *pingConn) RemoteAddr() net.Addr { return c.to }
