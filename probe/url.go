package probe

import (
	"cmp"
	"net/url"
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
	s, known := schemeNamed(u.Scheme)
	if !known {
		return "", inputError("url_scheme", "the URL must begin with a scheme such as https://: one of %s",
			enumerate(Schemes(), "or"))
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
	// Of some hosts and ports it can be told, before any lookup, that the policy will not connect to them.
	permitsPort := s.portless || policy.PermitsPort(port) || s.nameserver && policy.PermitsDNSPort(port)
	if !permitsPort {
		return "", inputError("url_port_blocked", "port %d belongs to another protocol and is not connected to; "+
			"whoever runs Riverwatch can allow it with the setting RIVERWATCH_ALLOW_PORTS", port)
	}
	if !policy.PermitsHost(host, port) {
		return "", inputError("target_not_allowed",
			"the host is not on the public Internet, or is one that is never connected to; "+
				"whoever runs Riverwatch can allow a private network with the setting RIVERWATCH_ALLOW_CIDRS")
	}
	rest, err := s.protocol.rest(u)
	if err != nil {
		return "", err
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != s.port { // that of the scheme is left out
		host += ":" + strconv.Itoa(int(port))
	}
	return u.Scheme + "://" + host + rest, nil
}

// pathAndQuery gives the normal form of what follows the host in a URL of the web.
func pathAndQuery(u *url.URL) string {
	path := u.RawPath // set only where it differs from the default encoding
	if path == "" {
		path = u.EscapedPath()
	}
	rest := percentEncode(cmp.Or(path, "/"), keptInPath)
	if hasQuery(u) {
		rest += "?" + percentEncode(u.RawQuery, keptInQuery)
	}
	return rest
}

func hasQuery(u *url.URL) bool { return u.ForceQuery || u.RawQuery != "" }

// onlyPath gives the path of a URL that has no query; empty, if it has no path either.
func onlyPath(u *url.URL) (string, error) {
	if hasQuery(u) {
		return "", inputError("url_query", "a %s URL has no query", u.Scheme)
	}
	if u.Path == "/" {
		return "", nil
	}
	return u.Path, nil
}

// noPath refuses whatever follows the host in a URL.
func noPath(u *url.URL) error {
	path, err := onlyPath(u)
	if err == nil && path != "" {
		err = inputError("url_path", "a %s URL has no path", u.Scheme)
	}
	return err
}

// normalPort gives the port of a URL, 0 if its scheme has none. net/url takes any digits for one, and none.
func normalPort(u *url.URL, s scheme) (uint16, error) {
	text := u.Port()
	switch {
	case s.portless && (text != "" || strings.HasSuffix(u.Host, ":")):
		return 0, inputError("url_port", "a %s URL has no port", u.Scheme)
	case s.portless:
		return 0, nil
	case text == "" && !strings.HasSuffix(u.Host, ":") && s.port != 0:
		return s.port, nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 || text[0] == '0' {
		return 0, inputError("url_port", "the port must be a number from 1 to 65535, without leading zeros")
	}
	return uint16(port), nil
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
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' ||
		strings.IndexByte("-._~!$&'()*+,;=:@[]/%", c) >= 0
}

func keptInQuery(c byte) bool {
	return c > ' ' && c < 0x7f && c != '"' && c != '<' && c != '>' && c != '#'
}
