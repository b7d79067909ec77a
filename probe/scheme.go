package probe

import (
	"net/url"

	"golang.org/x/net/dns/dnsmessage"
)

// A scheme says what a URL's scheme means to a probe.
type scheme struct {
	defaultPort uint16 // 0: the URL must name one, unless portless
	portless    bool
	tls         bool // a certificate is shown
	http        bool // an answer has a status, a header and a body, and may redirect
	headers     bool // a request has headers
	talks       bool // bytes go both ways as they are
	dns         bool
}

const schemes = "http, https, ws, wss, tcp, tls, dns, icmp, grpc or grpcs"

func schemeOf(name string) (scheme, bool) {
	switch name {
	case "http":
		return scheme{defaultPort: 80, http: true, headers: true}, true
	case "https":
		return scheme{defaultPort: 443, tls: true, http: true, headers: true}, true
	case "ws":
		return scheme{defaultPort: 80, headers: true}, true
	case "wss":
		return scheme{defaultPort: 443, tls: true, headers: true}, true
	case "grpc":
		return scheme{headers: true}, true
	case "grpcs":
		return scheme{tls: true, headers: true}, true
	case "tcp":
		return scheme{talks: true}, true
	case "tls":
		return scheme{tls: true}, true
	case "dns":
		return scheme{defaultPort: 53, dns: true}, true
	case "icmp":
		return scheme{portless: true}, true
	}
	return scheme{}, false
}

// ConnectURL gives a URL whose probe connects to the host of another, and no more; of a host that is not connected to,
// the URL itself.
func ConnectURL(normal string) string {
	parsed, err := url.Parse(normal)
	if err != nil {
		return normal
	}
	if s, known := schemeOf(parsed.Scheme); !known || s.portless || s.dns {
		return normal
	}
	return "tcp://" + dialAddress(parsed)
}

func dnsTypeOf(name string) (dnsmessage.Type, bool) {
	switch name {
	case "A":
		return dnsmessage.TypeA, true
	case "AAAA":
		return dnsmessage.TypeAAAA, true
	case "CNAME":
		return dnsmessage.TypeCNAME, true
	case "MX":
		return dnsmessage.TypeMX, true
	case "NS":
		return dnsmessage.TypeNS, true
	case "PTR":
		return dnsmessage.TypePTR, true
	case "SOA":
		return dnsmessage.TypeSOA, true
	case "SRV":
		return dnsmessage.TypeSRV, true
	case "TXT":
		return dnsmessage.TypeTXT, true
	}
	return 0, false
}
