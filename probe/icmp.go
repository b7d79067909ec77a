package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"riverwatch/uptime"
)

// askICMP sends echo requests to a host until one is answered, over the kernel's unprivileged ping socket.
func askICMP(ctx context.Context, f *fetch, target *url.URL) verdict {
	hop := f.newHop(target, false)
	defer hop.record(&f.result)
	addr, v := f.pingable(hop.context(ctx), hop, target.Hostname())
	if v.outcome != "" {
		return v
	}
	conn, err := pingSocket(addr)
	switch {
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPROTONOSUPPORT):
		return verdict{
			uptime.NotSupported,
			"the kernel of this host permits this process no ping: see the setting net.ipv4.ping_group_range",
		}
	case err != nil:
		return ourTrouble
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	hop.reached(addr)
	if err := ping(ctx, hop, conn, addr); err != nil {
		return pingVerdict(ctx, err)
	}
	return verdict{uptime.OK, ""}
}

// pingable gives the first address of a host that the policy permits.
func (f *fetch) pingable(ctx context.Context, hop *hop, host string) (netip.Addr, verdict) {
	addresses := []netip.Addr{}
	if literal, err := netip.ParseAddr(host); err == nil {
		addresses = append(addresses, literal)
	} else if addresses, err = f.newResolver(&hop.heard).LookupNetIP(ctx, "ip"+hop.version, host); err != nil {
		return netip.Addr{}, hop.connectVerdict(ctx, err)
	}
	for _, addr := range addresses {
		if f.settings.Policy.CheckAddr(addr) == nil {
			return addr.Unmap(), verdict{}
		}
	}
	return netip.Addr{}, blocked
}

func pingSocket(to netip.Addr) (*icmp.PacketConn, error) {
	if to.Is4() {
		return icmp.ListenPacket("udp4", "0.0.0.0")
	}
	return icmp.ListenPacket("udp6", "::")
}

// ping returns once an echo is answered. The kernel hands a ping socket only the replies to its own identifier.
func ping(ctx context.Context, hop *hop, conn *icmp.PacketConn, to netip.Addr) error {
	payload := []byte(rand.Text())
	message := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{Data: payload}}
	if to.Is6() {
		message.Type = ipv6.ICMPTypeEchoRequest
	}
	packed, err := message.Marshal(nil)
	if err != nil {
		return err
	}
	reply := make([]byte, 1500)
	hop.enter(inHeader)
	return askUntilAnswered(ctx, hop, conn, func() error {
		_, err := conn.WriteTo(packed, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 0)))
		return err
	}, func() (bool, error) {
		n, _, err := conn.ReadFrom(reply)
		return err == nil && bytes.Contains(reply[:n], payload), err
	})
}

func pingVerdict(ctx context.Context, err error) verdict {
	if v, yes := ended(ctx, inConnect); yes {
		if v.outcome == uptime.TimeoutConnect {
			v.text = "no echo was answered before the deadline"
		}
		return v
	}
	if ours(err) {
		return ourTrouble
	}
	return tcpVerdict(err)
}
