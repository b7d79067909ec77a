package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
)

// Policy says which addresses may be connected to. The zero Policy permits the public Internet.
type Policy struct {
	Allow          []netip.Prefix // the operator's allow-list (RIVERWATCH_ALLOW_CIDRS); it cannot lift the floor
	AllowAt        []PrefixPort   // the same, for one port each
	AllowPorts     []uint16       // ports that are not refused, though they are another protocol's
	Refuse         *Addresses     // joins the floor: our own listeners, the database; nil: none
	RefusePrefixes []netip.Prefix // joins the floor as well
	NAT64          []netip.Prefix // /96 prefixes behind which a gateway of this network connects to IPv4 addresses
	// PrivateWrites permits to send what a stranger wrote, as it is, to what the allow-list permits: to a Redis, for example,
	// that is a command.
	PrivateWrites bool
}

// PrefixPort is a range of addresses at one port.
type PrefixPort struct {
	Prefix netip.Prefix
	Port   uint16
}

// Addresses change while they are in use: our own move with interfaces, the database's with a failover. Port 0 means every
// port. They are safe for concurrent use.
type Addresses struct {
	current atomic.Pointer[[]netip.AddrPort]
}

// NewAddresses gives addresses that have yet to change.
func NewAddresses(addresses ...netip.AddrPort) *Addresses {
	a := &Addresses{}
	a.Set(addresses)
	return a
}

// Set replaces all of the addresses.
func (a *Addresses) Set(addresses []netip.AddrPort) { a.current.Store(&addresses) }

func (a *Addresses) has(addr netip.AddrPort) bool {
	if a == nil {
		return false
	}
	return slices.ContainsFunc(*a.current.Load(), func(one netip.AddrPort) bool {
		return one.Addr().Unmap() == addr.Addr() && (one.Port() == 0 || one.Port() == addr.Port())
	})
}

// floor is what no allow-list lifts: addresses that mean no host or many, and the metadata services of clouds, which
// hand out credentials to whoever asks from inside.
var floor = prefixes(
	"0.0.0.0/32", "::/128", "255.255.255.255/32", "224.0.0.0/4", "ff00::/8",
	"169.254.169.254/32",                    // AWS, GCP, Azure, DigitalOcean, OpenStack, Hetzner, Oracle
	"169.254.170.2/32",                      // ECS task
	"169.254.170.23/32", "fd00:ec2::23/128", // EKS pod identity
	"fd00:ec2::254/128",                   // AWS
	"fd20:ce::254/128",                    // GCP
	"168.63.129.16/32",                    // Azure's wire server, in public space
	"100.100.100.200/32",                  // Alibaba
	"192.0.0.192/32",                      // Oracle Classic
	"169.254.0.23/32",                     // Tencent
	"169.254.42.42/32", "fd00:42::42/128", // Scaleway
	"fd00:c1::a9fe:a9fe/128", // Oracle
	"fd00:a9fe:a9fe::1/128",  // Akamai (Linode)
)

// special is what the registries of special-purpose addresses (RFC 6890 and its heirs) hold. The public Internet is the
// rest of IPv4, and the rest of globalIPv6.
var special = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
	"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"2001::/23", // holds Teredo, benchmarks, ORCHID
	"2001:db8::/32",
	"2002::/16", // 6to4: an IPv4 address in disguise
	"2620:4f:8000::/48", "3ffe::/16", "3fff::/20",
)

var (
	globalIPv6 = netip.MustParsePrefix("2000::/3")
	nat64      = netip.MustParsePrefix("64:ff9b::/96")
)

// badPorts are the "bad ports" of the Fetch standard: of other protocols, some of which can be made to act on HTTP.
var badPorts = []uint16{
	1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110,
	111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532,
	540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061,
	6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
}

// ErrRefused is wrapped by every refusal of a Policy.
var ErrRefused = errors.New("refused by the egress policy")

// ErrPrivateWrite is the refusal to send what a stranger wrote to a private address that is allowed otherwise.
var ErrPrivateWrite = fmt.Errorf("%w: nothing that a stranger wrote is sent to a private address", ErrRefused)

// Check returns nil if addr may be connected to. The text of its error names the address and the rule: it is for the
// operator's log, and an oracle for port scans if a user sees it.
func (p Policy) Check(addr netip.AddrPort) error {
	return p.check(addr, p.PermitsPort(addr.Port()))
}

// CheckDNS is Check for a DNS server, whose port is one of those that HTTP must not go to.
func (p Policy) CheckDNS(addr netip.AddrPort) error {
	return p.check(addr, p.PermitsDNSPort(addr.Port()))
}

// CheckWrite is Check for a connection on which a stranger's own bytes are sent.
func (p Policy) CheckWrite(addr netip.AddrPort) error {
	err := p.Check(addr)
	if err == nil && !p.PrivateWrites && !public(p.meant(addr.Addr())) {
		err = fmt.Errorf("%w: %s", ErrPrivateWrite, addr)
	}
	return err
}

// CheckAddr is Check for a ping, which has no port: what is allowed at one port alone is not allowed to be pinged.
func (p Policy) CheckAddr(addr netip.Addr) error {
	return p.check(netip.AddrPortFrom(addr, noPort), true)
}

const (
	dnsPort = 53
	noPort  = 0
)

func (p Policy) check(addr netip.AddrPort, permitsPort bool) error {
	rule := p.refusal(addr)
	if rule == "" && !permitsPort {
		rule = "has a port that is refused"
	}
	if rule != "" {
		return fmt.Errorf("%w: %s: %s", ErrRefused, addr, rule)
	}
	return nil
}

// refusal names the rule that refuses an address, whatever protocol its port belongs to; none, if it is empty.
func (p Policy) refusal(addr netip.AddrPort) string {
	if !addr.Addr().IsValid() {
		return "is no address"
	}
	if addr.Addr().Zone() != "" {
		return "has a zone"
	}
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	if p.onFloor(addr) {
		return "is on the floor"
	}
	meant := p.meant(addr.Addr())
	switch {
	case meant != addr.Addr():
		return p.refusal(netip.AddrPortFrom(meant, addr.Port()))
	case !p.allows(addr) && !public(addr.Addr()):
		return "is not on the public Internet, nor on the allow-list"
	}
	return ""
}

// meant gives the address that is connected to in the end: behind a gateway (NAT64) the IPv4 address in the last four bytes.
func (p Policy) meant(addr netip.Addr) netip.Addr {
	addr = addr.Unmap()
	if nat64.Contains(addr) || within(p.NAT64, addr) {
		bytes := addr.As16()
		return netip.AddrFrom4([4]byte(bytes[12:]))
	}
	return addr
}

func (p Policy) allows(addr netip.AddrPort) bool {
	return within(p.Allow, addr.Addr()) || slices.ContainsFunc(p.AllowAt, func(allowed PrefixPort) bool {
		return allowed.Port == addr.Port() && allowed.Prefix.Contains(addr.Addr())
	})
}

// PermitsPort reports whether a port may be connected to, at an address that may be.
func (p Policy) PermitsPort(port uint16) bool {
	_, bad := slices.BinarySearch(badPorts, port)
	return port != 0 && (!bad || slices.Contains(p.AllowPorts, port))
}

// PermitsDNSPort is PermitsPort for a DNS server.
func (p Policy) PermitsDNSPort(port uint16) bool { return port == dnsPort || p.PermitsPort(port) }

func (p Policy) onFloor(addr netip.AddrPort) bool {
	return within(floor, addr.Addr()) || within(p.RefusePrefixes, addr.Addr()) || p.Refuse.has(addr)
}

func public(addr netip.Addr) bool {
	if addr.Is6() {
		bytes := addr.As16()
		// ISATAP (RFC 5214) leads to the IPv4 address in the last 32 bits.
		isatap := bytes[8]&^0x02 == 0 && bytes[9] == 0 && bytes[10] == 0x5e && bytes[11] == 0xfe
		if isatap || !globalIPv6.Contains(addr) {
			return false
		}
	}
	return !within(special, addr)
}

func within(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(prefix netip.Prefix) bool { return prefix.Contains(addr) })
}

func prefixes(texts ...string) []netip.Prefix {
	parsed := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		parsed[i] = netip.MustParsePrefix(text)
	}
	return parsed
}
