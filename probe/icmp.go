package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/url"
	"syscall"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"riverwatch/egress"
	"riverwatch/uptime"
)

type icmpProtocol struct{}

func (icmpProtocol) mayRepeat(Target) bool { return true } // an echo changes nothing

func (icmpProtocol) rest(u *url.URL) (string, error) { return "", noPath(u) }

// ask sends echo requests to a host until one is answered, over the kernel's unprivileged ping socket.
func (icmpProtocol) ask(ctx context.Context, a *attempt, target *url.URL) verdict {
	hop := a.newHop(target, false)
	hop.dialer = a.dialer.DialPing
	defer hop.record(&a.result)
	conn, err := hop.dial(ctx, "ip", target.Hostname())
	switch {
	case err == nil:
	case !errors.Is(err, egress.ErrNoPingSocket):
		return hop.connectVerdict(ctx, err)
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPROTONOSUPPORT):
		return verdict{
			uptime.NotSupported,
			"the kernel of this host permits this process no ping: see the setting net.ipv4.ping_group_range",
		}
	default:
		return ourTrouble
	}
	defer func() { _ = conn.Close() }()
	defer interrupt(ctx, conn)()

	err = hop.ping(ctx, conn)
	if err == nil {
		return verdict{uptime.OK, ""}
	}
	v, late := ended(ctx, inConnect)
	switch {
	case late && v.outcome == uptime.TimeoutConnect:
		v.text = "no echo was answered before the deadline"
	case late:
	case ours(err):
		v = ourTrouble
	default:
		v = tcpVerdict(err)
	}
	return v
}

// ping returns once an echo is answered.
func (h *hop) ping(ctx context.Context, conn net.Conn) error {
	payload := []byte(rand.Text())
	message := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{Data: payload}}
	if h.remote.Is6() {
		message.Type = ipv6.ICMPTypeEchoRequest
	}
	packed, err := message.Marshal(nil)
	if err != nil {
		return err
	}
	reply := make([]byte, 1500)
	h.enter(inHeader)
	return askUntilAnswered(ctx, h, conn, func() error {
		_, err := conn.Write(packed)
		return err
	}, func() (bool, error) {
		n, err := conn.Read(reply)
		return err == nil && bytes.Contains(reply[:n], payload), err
	})
}
