// Package egress makes the connections to hosts that somebody else names: the targets of probes, the receivers of
// messages. Nothing else in Riverwatch dials them.
//
// It guarantees that no connection is made, and no packet sent, to an address that the Policy refuses:
//
//   - Each address is decided on in the moment before its socket connects (Dialer.guard), after DNS. There is no second
//     lookup, and no name, URL or redirect that leads around it.
//   - What is not permitted is refused: what is not on the public Internet nor on the operator's allow-list, what is on
//     the floor, which no allow-list lifts, and the ports of other protocols.
//   - An address that stands for another one (IPv4-mapped, NAT64) is judged as that one; forms that can stand for any
//     (6to4, Teredo, ISATAP) are refused.
//   - Names are resolved by Go's own resolver, on connections to the DNS servers of the operator alone.
//   - One Dialer makes 8 connections at most.
//
// Deadlines, TLS, and bounds on what is read are the caller's.
package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
)

// maxDials bounds the connections of one Dialer, over all addresses that it tries: a stranger must not make us a flood.
const maxDials = 8

// ErrTooManyDials is of a Dialer that has made all its connections.
var ErrTooManyDials = errors.New("all connections that may be made were made")

// A Dialer makes the connections for one purpose: a probe with its redirects, a message to a receiver. It is used up
// after 8 connections. The zero Dialer connects to the public Internet. It is safe for concurrent use.
type Dialer struct {
	Policy   Policy
	Resolver netip.AddrPort // the DNS server to ask; zero: those of /etc/resolv.conf

	dials atomic.Int32
}

// DialContext connects to the first address of a host that can be connected to; address is host:port. network is "tcp"
// or "udp", or one of these with 4 or 6 at its end, for one version of IP. An httptrace.ClientTrace in ctx is told of
// lookups and connections.
//
// An error wraps ErrRefused if the policy refuses all addresses, ErrTooManyDials, a *LookupError, or else is that of the
// first address that the policy permits.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d.dial(ctx, network, address, d.Policy.Check)
}

// DialWrite is DialContext for a connection on which a stranger's own bytes are sent.
func (d *Dialer) DialWrite(ctx context.Context, network, address string) (net.Conn, error) {
	return d.dial(ctx, network, address, d.Policy.CheckWrite)
}

// DialDNS is DialContext for a host that is to be asked as a DNS server.
func (d *Dialer) DialDNS(ctx context.Context, network, address string) (net.Conn, error) {
	return d.dial(ctx, network, address, d.Policy.CheckDNS)
}

func (d *Dialer) dial(
	ctx context.Context, network, address string, check func(netip.AddrPort) error,
) (net.Conn, error) {
	var (
		heard answers
		tried firstError
	)
	dialer := net.Dialer{
		KeepAlive: -1, // a connection lives for one request
		Resolver:  newResolver(d.Resolver, &heard),
		Control: func(network, address string, _ syscall.RawConn) error {
			return d.guard(network, address, check)
		},
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		ConnectDone: func(_, _ string, err error) { tried.note(err) },
	})
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, tried.or(heard.explain(err))
	}
	return conn, nil
}

// guard decides on each address that a socket is about to connect to. It alone protects.
func (d *Dialer) guard(network, address string, check func(netip.AddrPort) error) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil || !slices.Contains([]string{"tcp4", "tcp6", "udp4", "udp6"}, network) {
		return fmt.Errorf("%w: %s %s", ErrRefused, network, address)
	}
	if err := check(addr); err != nil {
		return err
	}
	return d.count()
}

// count notes a connection that is about to be made.
func (d *Dialer) count() error {
	if d.dials.Add(1) > maxDials {
		return ErrTooManyDials
	}
	return nil
}

// firstError is the first error that says something about the host. An address that the policy refuses is passed over,
// and the error of net.Dialer may be of that one. It is told by several goroutines, some of which outlast the dial.
type firstError struct {
	mu  sync.Mutex
	err error
}

func (f *firstError) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil && !errors.Is(err, ErrRefused) && !errors.Is(err, ErrTooManyDials) {
		f.err = err
	}
}

func (f *firstError) or(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	return err
}
