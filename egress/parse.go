package egress

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ParseCIDRs reads a comma-separated list of address ranges such as "10.0.0.0/8, fc00::/7". An empty list holds none.
func ParseCIDRs(list string) ([]netip.Prefix, error) {
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	var ranges []netip.Prefix
	for item := range strings.SplitSeq(list, ",") {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(item))
		if err != nil || prefix.Addr().Is4In6() { // ::ffff:10.0.0.0/104 would contain nothing: addresses are unmapped
			return nil, fmt.Errorf("%q is not a range of addresses such as 10.0.0.0/8 or fc00::/7", item)
		}
		ranges = append(ranges, prefix.Masked())
	}
	return ranges, nil
}

// ParseAllow reads an allow-list: ranges as ParseCIDRs reads them, some of which may be for one port alone, which is
// written as 10.0.0.0/8@8080 or fc00::/7@8080.
func ParseAllow(list string) (allow []netip.Prefix, allowAt []PrefixPort, err error) {
	if strings.TrimSpace(list) == "" {
		return nil, nil, nil
	}
	for item := range strings.SplitSeq(list, ",") {
		text, portText, hasPort := strings.Cut(item, "@")
		ranges, rangeErr := ParseCIDRs(text)
		ports, portErr := ParsePorts(portText)
		switch { // an item without a range or a port would be passed over, and its author not told
		case rangeErr != nil, portErr != nil, len(ranges) != 1, hasPort && len(ports) != 1:
			return nil, nil, fmt.Errorf("%q is not a range of addresses such as 10.0.0.0/8, fc00::/7 or 10.0.0.0/8@8080", item)
		case hasPort:
			allowAt = append(allowAt, PrefixPort{ranges[0], ports[0]})
		default:
			allow = append(allow, ranges[0])
		}
	}
	return allow, allowAt, nil
}

// ParsePorts reads a comma-separated list of ports such as "22, 25". An empty list holds none.
func ParsePorts(list string) ([]uint16, error) {
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	var ports []uint16
	for item := range strings.SplitSeq(list, ",") {
		port, err := strconv.ParseUint(strings.TrimSpace(item), 10, 16)
		if err != nil || port == 0 {
			return nil, fmt.Errorf("%q is not a port from 1 to 65535", item)
		}
		ports = append(ports, uint16(port))
	}
	return ports, nil
}

// ParseNAT64 reads a comma-separated list of NAT64 prefixes, each of 96 bits.
func ParseNAT64(list string) ([]netip.Prefix, error) {
	ranges, err := ParseCIDRs(list)
	if err != nil {
		return nil, err
	}
	for _, prefix := range ranges {
		if prefix.Bits() != 96 || !prefix.Addr().Is6() {
			return nil, fmt.Errorf("%q is not a NAT64 prefix of 96 bits such as 64:ff9b:1::/96", prefix)
		}
	}
	return ranges, nil
}
