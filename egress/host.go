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
	name := strings.TrimSuffix(host, ".")
	if name == "localhost" || strings.HasSuffix(name, ".localhost") { // its address is known (RFC 6761)
		return p.refusal(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)) == "" ||
			p.refusal(netip.AddrPortFrom(netip.IPv6Loopback(), port)) == ""
	}
	if strings.Contains(name, ".") && !strings.HasSuffix(name, ".local") && !strings.HasSuffix(name, ".internal") {
		return true
	}
	// It has a meaning only on some private network, which can be any of the allow-list.
	return len(p.Allow) > 0 ||
		slices.ContainsFunc(p.AllowAt, func(allowed PrefixPort) bool { return allowed.Port == port })
}
