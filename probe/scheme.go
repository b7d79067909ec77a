package probe

import "golang.org/x/net/dns/dnsmessage"

// A scheme says what a URL's scheme means to a probe.
type scheme struct {
	defaultPort uint16 // 0: the URL must name one, or has none
	tls         bool   // a certificate is shown
}

func schemeOf(name string) (scheme, bool) {
	switch name {
	case "http", "ws":
		return scheme{defaultPort: 80}, true
	case "https", "wss":
		return scheme{defaultPort: 443, tls: true}, true
	case "tls", "grpcs":
		return scheme{tls: true}, true
	case "dns":
		return scheme{defaultPort: 53}, true
	case "tcp", "grpc", "icmp":
		return scheme{}, true
	}
	return scheme{}, false
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
