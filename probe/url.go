package probe

import (
	"cmp"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"riverwatch/egress"
)

const maxURLBytes = 2048

// NormalizeURL checks a URL that somebody wants watched and gives its normal form: lower-case ASCII host, addresses in
// their canonical form, no default port, no fragment. Two URLs are the same target if their normal forms are equal.
//
// That the host's name is refused here is a kindness, an early and clear error. What protects is the check of the
// address at connect time.
func NormalizeURL(raw string, policy egress.Policy) (string, error) {
	if len(raw) > maxURLBytes {
		return "", inputError("url_invalid", "the URL has %d bytes, and may have %d", len(raw), maxURLBytes)
	}
	if err := checkURLText(raw); err != nil {
		return "", err
	}
	parsed, err := url.Parse(raw)
	if err != nil {
		return "", errMalformedURL
	}
	normal, err := normalForm(parsed, policy)
	if err != nil {
		return "", err
	}
	if len(normal) > maxURLBytes { // encoding makes it longer, and a normal form must be its own normal form
		return "", inputError("url_invalid", "the encoded URL has %d bytes, and may have %d", len(normal), maxURLBytes)
	}
	return normal, nil
}

var errMalformedURL = inputError("url_invalid", "the URL is malformed; write one such as https://example.com/path")

// checkURLText refuses characters that parsers disagree about, or that break the logs they are written to.
func checkURLText(raw string) error {
	switch {
	case raw == "":
		return inputError("url_invalid", "the URL is empty")
	case !utf8.ValidString(raw):
		return inputError("url_invalid", "the URL is not valid UTF-8")
	case strings.TrimSpace(raw) != raw:
		return inputError("url_invalid", "the URL begins or ends with a space")
	case strings.ContainsRune(raw, '\\'): // browsers read it as a slash, net/url does not
		return inputError("url_invalid", `the URL holds a backslash; write %%5C if it is meant`)
	case strings.ContainsFunc(raw, breaksText):
		return inputError("url_invalid",
			"the URL holds a control character or a line break; percent-encode it if it is meant")
	}
	return nil
}

// breaksText reports whether a character breaks the line it is written to, or reorders it.
func breaksText(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

// normalForm checks a parsed URL, part by part, and puts its normal form together.
func normalForm(u *url.URL, policy egress.Policy) (string, error) {
	s, known := schemeOf(u.Scheme)
	if !known {
		return "", inputError("url_scheme", "the URL must begin with a scheme such as https://: one of %s", schemes)
	}
	if u.User != nil {
		return "", inputError("url_userinfo", "the URL must not hold a user name or password")
	}
	host, err := normalHost(u)
	if err != nil {
		return "", err
	}
	port, err := normalPort(u, s)
	if err != nil {
		return "", err
	}
	if err := checkHostPolicy(host, port, s, policy); err != nil {
		return "", err
	}
	rest, err := normalRest(u, s)
	if err != nil {
		return "", err
	}
	return u.Scheme + "://" + joinHostPort(host, port, s.defaultPort) + rest, nil
}

// normalHTTP is normalForm of a URL that a redirect may lead to.
func normalHTTP(u *url.URL, policy egress.Policy) (string, error) {
	if s, _ := schemeOf(u.Scheme); !s.http {
		return "", inputError("url_scheme", "the URL must begin with http:// or https://")
	}
	return normalForm(u, policy)
}

// normalRest gives what follows the host, as far as the scheme has a meaning for it.
func normalRest(u *url.URL, s scheme) (string, error) {
	hasQuery := u.ForceQuery || u.RawQuery != ""
	switch {
	case s.defaultPort != 0 && s.headers: // http and ws
		rest := normalPath(u)
		if hasQuery {
			rest += "?" + percentEncode(u.RawQuery, keptInQuery)
		}
		return rest, nil
	case s.dns:
		return normalQuestion(u)
	case hasQuery:
		return "", inputError("url_query", "a %s URL has no query", u.Scheme)
	case u.Path == "" || u.Path == "/":
		return "", nil
	case s.headers && grpcService.MatchString(u.Path):
		return u.Path, nil
	case s.headers:
		return "", inputError("url_path", "the path must be the name of a gRPC service")
	}
	return "", inputError("url_path", "a %s URL has no path", u.Scheme)
}

var grpcService = regexp.MustCompile(`^/[A-Za-z0-9._/-]{1,200}$`)

// normalQuestion gives the name and the type that a DNS server is asked for.
func normalQuestion(u *url.URL) (string, error) {
	name, err := normalName(strings.TrimPrefix(u.Path, "/"))
	if err != nil {
		return "", inputError("url_path", "the path must be the name to ask for, such as dns://9.9.9.9/example.com?type=A")
	}
	query, err := url.ParseQuery(u.RawQuery)
	kind := strings.ToUpper(cmp.Or(strings.Join(query["type"], ","), "A")) // twice makes one that is not known
	_, known := dnsTypeOf(kind)
	delete(query, "type")
	if err != nil || !known || len(query) > 0 {
		return "", inputError("url_query", "the query must be ?type= with A, AAAA, CNAME, MX, NS, PTR, SOA, SRV or TXT")
	}
	return "/" + strings.TrimSuffix(name, ".") + "?type=" + kind, nil
}

// normalPort gives the port of a URL, 0 if its scheme has none. net/url takes any digits for one, and none.
func normalPort(u *url.URL, s scheme) (uint16, error) {
	text := u.Port()
	switch {
	case s.portless && (text != "" || strings.HasSuffix(u.Host, ":")):
		return 0, inputError("url_port", "a %s URL has no port", u.Scheme)
	case s.portless:
		return 0, nil
	case text == "" && !strings.HasSuffix(u.Host, ":") && s.defaultPort != 0:
		return s.defaultPort, nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 || text[0] == '0' {
		return 0, inputError("url_port", "the port must be a number from 1 to 65535, without leading zeros")
	}
	return uint16(port), nil
}

// joinHostPort leaves out the port that the scheme implies.
func joinHostPort(host string, port, standard uint16) string {
	if port != standard {
		return net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

func normalPath(u *url.URL) string {
	raw := u.RawPath // set only where it differs from the default encoding
	if raw == "" {
		raw = u.EscapedPath()
	}
	if raw == "" {
		return "/"
	}
	return percentEncode(raw, keptInPath)
}

// percentEncode encodes all bytes but those kept. What is encoded already stays as it is: %2F and / are not the same.
func percentEncode(raw string, kept func(byte) bool) string {
	const upperHex = "0123456789ABCDEF"
	var encoded strings.Builder
	for i := range len(raw) {
		if kept(raw[i]) {
			encoded.WriteByte(raw[i])
		} else {
			encoded.Write([]byte{'%', upperHex[raw[i]>>4], upperHex[raw[i]&0xf]})
		}
	}
	return encoded.String()
}

// keptInPath holds what net/url writes to the wire as it is.
func keptInPath(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte("-._~!$&'()*+,;=:@[]/%", c) >= 0
}

func keptInQuery(c byte) bool {
	return c > ' ' && c < 0x7f && c != '"' && c != '<' && c != '>' && c != '#'
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// checkHostPolicy refuses a host and port of which it can be told, before any lookup, that the policy will not connect
// to them.
func checkHostPolicy(host string, port uint16, s scheme, policy egress.Policy) error {
	permitsPort := s.portless || policy.PermitsPort(port) || s.dns && policy.PermitsDNSPort(port)
	if !permitsPort {
		return inputError("url_port_blocked", "port %d belongs to another protocol and is not connected to; "+
			"whoever runs Riverwatch can allow it with the setting RIVERWATCH_ALLOW_PORTS", port)
	}
	if policy.PermitsHost(host, port) {
		return nil
	}
	return inputError("target_not_allowed",
		"the host is not on the public Internet, or is one that is never connected to; "+
			"whoever runs Riverwatch can allow a private network with the setting RIVERWATCH_ALLOW_CIDRS")
}
