package probe

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// A scheme is all that the scheme of a URL means. To add one, write a row of schemes and a file with its protocol.
type scheme struct {
	name       string
	protocol   protocol
	port       uint16 // where the URL names none; 0: it must name one, unless portless
	portless   bool
	nameserver bool     // the target is itself a DNS server
	tls        bool     // a certificate is shown
	alpn       []string // what the TLS handshake offers to speak
	fields     []string // those that are of use, of the fields that not every scheme has a use for
}

// A protocol is how the targets of a scheme are asked. Schemes share one if they differ in TLS alone. It is an interface
// so that a protocol which leaves a question open does not compile.
type protocol interface {
	// ask asks a target for what the attempt wants to know, on connections of its hops.
	ask(ctx context.Context, a *attempt, target *url.URL) verdict

	// rest gives the normal form of what follows the host in a URL.
	rest(u *url.URL) (string, error)

	// mayRepeat reports whether a target may be asked a second time for one slot, when it may have heard the first: that
	// is, whether asking changes nothing there.
	mayRepeat(target Target) bool
}

// Fields by what they are of. Those that are in no list are for every scheme.
var (
	ofRequests = []string{"method", "body", "http2"}
	ofAnswers  = []string{"accepted_statuses", "header_regexps", "json"}
	ofHeaders  = []string{"headers", "basic_username", "bearer_token", "user_agent", "host_override"}
	ofText     = []string{"regexp", "regexp_invert", "regexps"}
	ofTrust    = []string{"tls_skip_verify", "ca_pem", "certificate_days"}
	ofTLS      = slices.Concat(ofTrust, []string{"client_certificate_pem"})
)

// schemes are all that there are, in the order in which people are told of them.
var schemes = []scheme{
	{
		name: "http", protocol: httpProtocol{}, port: 80,
		fields: slices.Concat(ofRequests, ofAnswers, ofHeaders, ofText, ofTrust), // it may redirect to https
	},
	{
		name: "https", protocol: httpProtocol{}, port: 443, tls: true, alpn: []string{"http/1.1"}, // and h2 if asked for
		fields: slices.Concat(ofRequests, ofAnswers, ofHeaders, ofText, ofTLS),
	},
	{name: "ws", protocol: webSocketProtocol{}, port: 80, fields: ofHeaders},
	{
		name: "wss", protocol: webSocketProtocol{}, port: 443, tls: true, alpn: []string{"http/1.1"},
		fields: slices.Concat(ofHeaders, ofTLS),
	},
	{name: "tcp", protocol: tcpProtocol{}, fields: []string{"body", "regexp"}},
	{name: "tls", protocol: tlsProtocol{}, tls: true, fields: slices.Concat([]string{"host_override"}, ofTLS)},
	{name: "dns", protocol: dnsProtocol{}, port: 53, nameserver: true, fields: ofText},
	{name: "icmp", protocol: icmpProtocol{}, portless: true},
	{name: "grpc", protocol: grpcProtocol{}, fields: ofHeaders},
	{
		name: "grpcs", protocol: grpcProtocol{}, tls: true, alpn: []string{"h2"},
		fields: slices.Concat(ofHeaders, ofTLS),
	},
}

// schemeOf gives the scheme of a URL in normal form.
func schemeOf(normal string) (s scheme, known bool) {
	name, _, _ := strings.Cut(normal, ":")
	return schemeNamed(name)
}

func schemeNamed(name string) (s scheme, known bool) {
	for i := range schemes {
		if schemes[i].name == name {
			return schemes[i], true
		}
	}
	return scheme{}, false
}

func (s scheme) uses(field string) bool { return slices.Contains(s.fields, field) }

// Schemes names the schemes that a URL may have.
func Schemes() []string { return schemesWhere(func(scheme) bool { return true }) }

func schemesWhere(condition func(scheme) bool) (names []string) {
	for _, s := range schemes {
		if condition(s) {
			names = append(names, s.name)
		}
	}
	return names
}

// enumerate joins words as people do, with a last one before which there is another word.
func enumerate(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " " + last + " " + words[len(words)-1]
}

// IsNameserver reports whether the target of a URL in normal form is itself a DNS server.
func IsNameserver(normal string) bool {
	s, _ := schemeOf(normal)
	return s.nameserver
}

// Uses reports whether targets of a URL in normal form have a use for a field, by the name that FieldError has for it.
// Of a URL that was refused, which is empty, https is assumed.
func Uses(normal, field string) bool {
	s, _ := schemeOf(cmp.Or(normal, "https://"))
	return s.uses(field)
}

// MayRepeat reports whether a target may be asked a second time for one slot, when it may have heard the first.
func (t Target) MayRepeat() bool {
	s, known := schemeOf(t.URL)
	return known && s.protocol.mayRepeat(t)
}

// isSafe reports whether a request of HTTP changes nothing (RFC 9110, section 9.2.1).
func isSafe(method string) bool {
	return slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, method)
}

// ConnectURL gives a URL whose probe connects to the host of another, and no more; of a host that is not connected to,
// the URL itself.
func ConnectURL(normal string) string {
	parsed, err := url.Parse(normal)
	if err != nil {
		return normal
	}
	if s, known := schemeOf(normal); !known || s.portless || s.nameserver {
		return normal
	}
	return "tcp://" + dialAddress(parsed)
}
