package egress

import (
	"net/netip"
	"slices"
	"strings"
)

// PermitsHost reports whether a host, a name or an address, may be connected to as far as can be told without a lookup.
// That it is asked is a kindness: an early and clear error. What protects is the check of the address at connect time.
func (p Policy) PermitsHost(host string, port uint16) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return p.refusal(netip.AddrPortFrom(addr, port)) == ""
	}
	return !privateName(host) || p.permitsPrivate(host, port)
}

// privateName reports whether a name has a meaning only on some private network.
func privateName(name string) bool {
	name = strings.TrimSuffix(name, ".")
	return !strings.Contains(name, ".") || isLocalhost(name) ||
		strings.HasSuffix(name, ".local") || strings.HasSuffix(name, ".internal")
}

func isLocalhost(name string) bool {
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// permitsPrivate reports whether the address of a private name may be permitted. That of localhost is known (RFC 6761);
// any other can be on any network of the allow-list.
func (p Policy) permitsPrivate(name string, port uint16) bool {
	if !isLocalhost(strings.TrimSuffix(name, ".")) {
		return len(p.Allow) > 0 ||
			slices.ContainsFunc(p.AllowAt, func(allowed PrefixPort) bool { return allowed.Port == port })
	}
	return p.refusal(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)) == "" ||
		p.refusal(netip.AddrPortFrom(netip.IPv6Loopback(), port)) == ""
}
