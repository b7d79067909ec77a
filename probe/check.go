package probe

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/theory/jsonpath"
)

const (
	minTimeout         = 100 * time.Millisecond
	maxTimeout         = 30 * time.Second // a round must end before its job's time is up
	maxRedirects       = 10
	maxRequestBytes    = 48 << 10 // of a body, which is in a request to our API of at most 64 KiB
	maxPEMBytes        = 16 << 10
	maxTextBytes       = 1 << 10 // of a user name, password, token or User-Agent
	maxRegexps         = 10
	maxJSON            = 20
	maxPathBytes       = 512
	maxCertificateDays = 825 // no authority signs for longer
)

// checker gathers what is wrong with a target.
type checker struct {
	Target

	scheme scheme
	errors []FieldError
}

// Check checks all of a target but its URL, which must be in normal form, or empty where it was refused: the rest is
// checked then as that of an https URL. It gives everything that is wrong.
func (t Target) Check() []FieldError {
	c := checker{Target: t}
	c.scheme, _ = schemeOf(cmp.Or(t.URL, "https://"))
	for _, check := range []func(){
		c.checkTexts, c.checkUse, c.checkBasics, c.checkHeaders, c.checkConnection, c.checkRegexps, c.checkJSON, c.checkTimes,
	} {
		check()
	}
	return c.errors
}

// refuse notes an error of a field, if it is one.
func (c *checker) refuse(field string, err error) {
	if input, ok := errors.AsType[*InputError](err); ok {
		c.errors = append(c.errors, FieldError{Field: field, InputError: input})
	}
}

func (c *checker) within(field string, value, low, high int) {
	if value < low || value > high {
		code := strings.TrimSuffix(field, "_ms") + "_range"
		c.refuse(field, inputError(code, "is %d, and must be from %d to %d", value, low, high))
	}
}

// checkTexts refuses what the database cannot hold.
func (c *checker) checkTexts() {
	r, s := c.Request, c.Secrets
	for field, text := range map[string]string{
		"body": r.Body, "basic_username": r.BasicUsername, "user_agent": r.UserAgent, "host_override": r.HostOverride,
		"ca_pem": r.CAPEM, "client_certificate_pem": r.ClientCertPEM, "basic_password": s.BasicPassword,
		"bearer_token": s.BearerToken, "client_key_pem": s.ClientKeyPEM,
	} {
		most := maxTextBytes
		switch {
		case field == "body":
			most = maxRequestBytes
		case field == "bearer_token":
			most = maxHeaderValueBytes
		case strings.HasSuffix(field, "_pem"):
			most = maxPEMBytes
		}
		switch {
		case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
			c.refuse(field, inputError("string_invalid", "must be UTF-8 without NUL"))
		case len(text) > most:
			c.refuse(field, inputError("string_too_long", "has %d bytes, and may have %d", len(text), most))
		}
	}
	slices.SortFunc(c.errors, func(a, b FieldError) int { return cmp.Compare(a.Field, b.Field) })
}

// checkUse refuses what the scheme of the URL has no use for, lest somebody trust in it.
func (c *checker) checkUse() {
	r, s, e := c.Request, c.Secrets, c.Expectations
	plain := len(c.AcceptedStatuses) == 0 || slices.Equal(c.AcceptedStatuses, []string{"200-299"})
	for _, field := range []struct {
		name string
		set  bool
	}{ // those that not every scheme has a use for
		{"method", c.Method != "" && c.Method != http.MethodGet},
		{"body", r.Body != ""},
		{"headers", len(r.Headers)+len(s.Headers) > 0},
		{"basic_username", c.hasBasicAuth()},
		{"bearer_token", s.BearerToken != ""},
		{"user_agent", r.UserAgent != ""},
		{"host_override", r.HostOverride != ""},
		{"http2", r.HTTP2},
		{"tls_skip_verify", r.TLSSkipVerify},
		{"ca_pem", r.CAPEM != ""},
		{"client_certificate_pem", r.ClientCertPEM+s.ClientKeyPEM != ""},
		{"accepted_statuses", !plain},
		{"regexp", c.Regexp != ""},
		{"regexp_invert", c.RegexpInvert && c.Regexp != ""},
		{"regexps", len(e.Regexps) > 0},
		{"header_regexps", len(e.HeaderRegexps) > 0},
		{"json", len(e.JSON) > 0},
		{"certificate_days", e.CertificateDays > 0},
	} {
		if field.set && !c.scheme.uses(field.name) {
			where := schemesWhere(func(s scheme) bool { return s.uses(field.name) })
			c.refuse(field.name, inputError("field_not_for_scheme", "is for %s alone", enumerate(where, "and")))
		}
	}
}

func (c *checker) checkBasics() {
	methods := []string{"", "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}
	if !slices.Contains(methods, c.Method) {
		c.refuse("method", inputError("value_unknown", "must be one of %s", strings.Join(methods[1:], ", ")))
	}
	if c.Timeout < minTimeout || c.Timeout > maxTimeout {
		c.refuse("timeout_ms", inputError("timeout_range", "is %d ms, and must be from %d to %d",
			c.Timeout.Milliseconds(), minTimeout.Milliseconds(), maxTimeout.Milliseconds()))
	}
	c.refuse("accepted_statuses", CheckStatuses(c.AcceptedStatuses))
	c.within("max_redirects", c.MaxRedirects, 0, maxRedirects)
	if c.scheme.uses("method") && c.Request.Body != "" && (c.Method == "" || isSafe(c.Method)) {
		c.refuse("body", inputError("body_not_allowed", "goes with POST, PUT, PATCH and DELETE alone"))
	}
}

// checkHeaders checks the headers, and what is sent in a header of its own.
func (c *checker) checkHeaders() {
	r, s := c.Request, c.Secrets
	if len(r.Headers)+len(s.Headers) > maxHeaders {
		c.refuse("headers", inputError("list_length", "must be at most %d headers", maxHeaders))
	}
	seen := map[string]bool{}
	for _, headers := range []map[string]string{r.Headers, s.Headers} {
		for _, name := range slices.Sorted(maps.Keys(headers)) {
			c.refuse("headers."+name, CheckHeader(name, headers[name]))
			key := http.CanonicalHeaderKey(name)
			if seen[key] {
				c.refuse("headers."+name, inputError("header_duplicate", "is there twice: upper and lower case are the same"))
			}
			seen[key] = true
		}
	}

	basic, bearer, header := c.hasBasicAuth(), s.BearerToken != "", seen["Authorization"]
	conflict := inputError("auth_conflict",
		"only one of basic_username, bearer_token and the header Authorization may be set")
	switch {
	case bearer && (basic || header):
		c.refuse("bearer_token", conflict)
	case basic && header:
		c.refuse("basic_username", conflict)
	}
	if strings.Contains(r.BasicUsername, ":") {
		c.refuse("basic_username", inputError("string_invalid", "must not hold a colon"))
	}
	if bearer {
		c.refuse("bearer_token", CheckHeader("Authorization", "Bearer "+s.BearerToken))
	}
	if r.UserAgent != "" {
		c.refuse("user_agent", CheckHeader("User-Agent", r.UserAgent))
	}
}

// checkConnection checks which host is asked for, over which version of IP, and who is trusted.
func (c *checker) checkConnection() {
	r := c.Request
	if override := r.HostOverride; override != "" {
		parsed, err := url.Parse("http://" + override)
		normal := err == nil && parsed.Host == override
		if normal {
			host, hostErr := normalHost(parsed)
			_, portErr := normalPort(parsed, scheme{port: 80}) // one that need not be there
			normal = hostErr == nil && portErr == nil && host == parsed.Hostname()
		}
		if !normal {
			c.refuse("host_override", inputError("host_override_invalid",
				"must be a host name in lower case, or an address, with a port or without"))
		}
	}

	switch version := r.IPVersion; version {
	case 0:
	case 4, 6:
		if parsed, err := url.Parse(c.URL); err == nil {
			addr, err := netip.ParseAddr(parsed.Hostname())
			if err == nil && addr.Is4() != (version == 4) {
				c.refuse("ip_version", inputError("ip_version_conflict", "the URL's address is of the other version"))
			}
		}
	default:
		c.refuse("ip_version", inputError("value_unknown", "must be 4 or 6"))
	}

	if r.CAPEM != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(r.CAPEM)) {
		c.refuse("ca_pem", inputError("pem_invalid", "must hold a certificate in PEM"))
	}
	if r.ClientCertPEM+c.Secrets.ClientKeyPEM != "" {
		if _, err := tls.X509KeyPair([]byte(r.ClientCertPEM), []byte(c.Secrets.ClientKeyPEM)); err != nil {
			c.refuse("client_certificate_pem", inputError("pem_invalid",
				"client_certificate_pem and client_key_pem must be a certificate and its key in PEM"))
		}
	}
}

// checkRegexps checks all regexps, and that there is a body to look at.
func (c *checker) checkRegexps() {
	e := c.Expectations
	if c.Regexp != "" {
		c.refuse("regexp", CheckRegexp(c.Regexp))
	}
	if len(e.Regexps) > maxRegexps {
		c.refuse("regexps", inputError("list_length", "must be at most %d", maxRegexps))
	}
	for i, pattern := range e.Regexps {
		c.refuse(fmt.Sprintf("regexps[%d]", i), CheckRegexp(pattern))
	}
	for _, look := range []struct {
		field string
		set   bool
	}{{"regexp", c.Regexp != ""}, {"regexps", len(e.Regexps) > 0}, {"json", len(e.JSON) > 0}} {
		if c.Method == http.MethodHead && look.set {
			c.refuse(look.field, inputError("regexp_without_body", "the answer to HEAD has no body to match: use GET"))
		}
	}
	if len(e.HeaderRegexps) > maxRegexps {
		c.refuse("header_regexps", inputError("list_length", "must be at most %d", maxRegexps))
	}
	for _, name := range slices.Sorted(maps.Keys(e.HeaderRegexps)) {
		c.refuse("header_regexps."+name, checkToken(name)) // answers may have those that requests may not
		c.refuse("header_regexps."+name, CheckRegexp(e.HeaderRegexps[name]))
	}
}

func (c *checker) checkJSON() {
	if len(c.Expectations.JSON) > maxJSON {
		c.refuse("json", inputError("list_length", "must be at most %d", maxJSON))
	}
	ops := []string{OpExists, OpEquals, OpNotEquals, OpLess, OpLessOrEqual, OpGreater, OpGreaterOrEqual}
	for i, e := range c.Expectations.JSON {
		field := fmt.Sprintf("json[%d].", i)
		if len(e.Path) > maxPathBytes || strings.ContainsRune(e.Path, 0) || !utf8.ValidString(e.Path) {
			c.refuse(field+"path", inputError("json_path_invalid", "must be UTF-8 of at most %d bytes", maxPathBytes))
		} else if path, err := jsonpath.Parse(e.Path); err != nil || path.Query().Singular() == nil {
			c.refuse(field+"path", inputError("json_path_invalid",
				"must be a path (RFC 9535) to one value, of names and indexes alone, such as $.checks[0].status"))
		}
		if !slices.Contains(ops, e.Op) {
			c.refuse(field+"op", inputError("json_op_unknown", "must be one of %s", strings.Join(ops, ", ")))
		}

		_, ordered := compareScalars(e.Value, e.Value)
		text, isText := e.Value.(string)
		_, isBool := e.Value.(bool)
		_, isNumber := number(e.Value).(float64)
		switch {
		case e.Op == OpExists && e.Value != nil:
			c.refuse(field+"value", inputError("json_value_invalid", "is not for exists"))
		case e.Op != OpExists && e.Op != OpEquals && e.Op != OpNotEquals && !ordered:
			c.refuse(field+"value", inputError("json_value_invalid", "must be a number or a string, which have an order"))
		case e.Value != nil && !isText && !isBool && !isNumber:
			c.refuse(field+"value", inputError("json_value_invalid", "must be a string, a number, a boolean or null"))
		case len(text) > maxTextBytes, strings.ContainsRune(text, 0), !utf8.ValidString(text):
			c.refuse(field+"value", inputError("json_value_invalid", "must be UTF-8 without NUL, of at most %d bytes", maxTextBytes))
		}
	}
}

func (c *checker) checkTimes() {
	e := c.Expectations
	timeout := int(c.Timeout.Milliseconds())
	if e.MaxTotalMS != 0 {
		c.within("max_total_ms", e.MaxTotalMS, 1, timeout)
	}
	if e.DegradedAfterMS != 0 {
		c.within("degraded_after_ms", e.DegradedAfterMS, 1, timeout)
	}
	if e.MaxTotalMS != 0 && e.DegradedAfterMS >= e.MaxTotalMS {
		c.refuse("degraded_after_ms", inputError("degraded_after_range", "must be less than max_total_ms"))
	}
	c.within("certificate_days", e.CertificateDays, 0, maxCertificateDays)
}
