package probe

import (
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/idna"
)

// hostNames maps names as browsers do (UTS 46, non-transitional), but lets labels hold underscores, and hyphens
// wherever they are found in the wild (r3---sn-a.example).
var hostNames = idna.New(
	idna.MapForLookup(), idna.BidiRule(), idna.VerifyDNSLength(true),
	idna.StrictDomainName(false), idna.CheckHyphens(false),
)

// normalHost gives the host of a URL: an address in canonical form, without brackets, or a name in lower-case ASCII.
func normalHost(u *url.URL) (string, error) {
	name := u.Hostname()
	if name == "" {
		return "", inputError("url_host", "the URL has no host")
	}
	addr, err := netip.ParseAddr(name)
	bracketed := strings.HasPrefix(u.Host, "[")
	switch {
	case bracketed && (err != nil || !addr.Is6()), !bracketed && strings.Contains(name, ":"):
		return "", inputError("url_invalid", "an IPv6 address is written in brackets, such as http://[2001:db8::1]/")
	case err != nil:
		return normalName(name)
	case addr.Zone() != "":
		return "", inputError("url_host", "the address must not have a zone")
	}
	return addr.Unmap().String(), nil
}

// normalName gives a host name as it is asked of DNS. idna alone is not enough: it maps other characters to dots and
// digits, so that what looks like a name becomes an address, and it lets through labels that no name has.
func normalName(name string) (string, error) {
	ascii, err := hostNames.ToASCII(name)
	if err != nil {
		return "", errHostName
	}
	if again, err := hostNames.ToASCII(ascii); err != nil || again != ascii {
		return "", errHostName
	}
	if endsInNumber(ascii) {
		return "", inputError("url_host", "an IPv4 address is written as four decimal numbers, such as 192.0.2.1")
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(ascii, "."), ".") {
		if label == "" || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "", errHostName
		}
	}
	return ascii, nil
}

var errHostName = inputError("url_host",
	"the host is not a name that DNS can hold: labels of letters, digits, hyphens and underscores, joined by dots")

// endsInNumber is the rule of the URL standard by which 127.1 and 0x7f.1 are addresses, or nothing: some resolvers read
// them so, and others ask DNS.
func endsInNumber(name string) bool {
	name = strings.TrimSuffix(name, ".")
	last := name[strings.LastIndexByte(name, '.')+1:]
	digits, isHex := strings.CutPrefix(last, "0x")
	if isHex {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}
