package probe_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
)

// errorsOf gives what is wrong with a usual target after a change, as "field code".
func errorsOf(url string, change func(*probe.Target)) (errs []string) {
	target := get(url)
	target.AcceptedStatuses = []string{"200-299"}
	change(&target)
	for _, err := range target.Check() {
		errs = append(errs, err.Field+" "+err.Code)
	}
	return errs
}

func TestCheck(t *testing.T) {
	t.Parallel()
	cert, key := hostile.ClientPEM(t)
	const web, plain = "https://example.com/", "http://example.com/"
	for name, row := range map[string]struct {
		url    string
		change func(*probe.Target)
		want   []string
	}{
		"Plain":           {web, func(*probe.Target) {}, nil},
		"Full":            {web, full, nil},
		"Method":          {web, func(t *probe.Target) { t.Method = "BREW" }, []string{"method value_unknown"}},
		"ShortTimeout":    {web, func(t *probe.Target) { t.Timeout = time.Millisecond }, []string{"timeout_ms timeout_range"}},
		"LongTimeout":     {web, func(t *probe.Target) { t.Timeout = time.Minute }, []string{"timeout_ms timeout_range"}},
		"Statuses":        {web, func(t *probe.Target) { t.AcceptedStatuses = []string{"600"} }, []string{"accepted_statuses status_invalid"}},
		"Redirects":       {web, func(t *probe.Target) { t.MaxRedirects = 11 }, []string{"max_redirects max_redirects_range"}},
		"BodyOfGET":       {web, func(t *probe.Target) { t.Request.Body = "x" }, []string{"body body_not_allowed"}},
		"LongBody":        {"tcp://example.com:7", func(t *probe.Target) { t.Request.Body = strings.Repeat("x", 50_000) }, []string{"body string_too_long"}},
		"NULInBody":       {"tcp://example.com:7", func(t *probe.Target) { t.Request.Body = "\x00" }, []string{"body string_invalid"}},
		"SameHeaderTwice": {web, func(t *probe.Target) { t.Request.Headers = map[string]string{"X-A": "1", "x-a": "2"} }, []string{"headers.x-a header_duplicate"}},
		"ManyHeaders": {web, func(t *probe.Target) {
			t.Request.Headers = map[string]string{}
			for i := range 33 {
				t.Request.Headers[fmt.Sprint("X-", i)] = ""
			}
		}, []string{"headers list_length"}},
		"TwoWaysToSayWho": {web, func(t *probe.Target) {
			t.Secrets.BearerToken, t.Secrets.Headers = "a", map[string]string{"authorization": "b"}
		}, []string{"bearer_token auth_conflict"}},
		"ColonInUser":     {web, func(t *probe.Target) { t.Request.BasicUsername = "a:b" }, []string{"basic_username string_invalid"}},
		"BadToken":        {web, func(t *probe.Target) { t.Secrets.BearerToken = "a\nb" }, []string{"bearer_token header_value"}},
		"BadUserAgent":    {web, func(t *probe.Target) { t.Request.UserAgent = "a\nb" }, []string{"user_agent header_value"}},
		"BadHost":         {web, func(t *probe.Target) { t.Request.HostOverride = "a b" }, []string{"host_override host_override_invalid"}},
		"HostWithPath":    {web, func(t *probe.Target) { t.Request.HostOverride = "a.example/x" }, []string{"host_override host_override_invalid"}},
		"HostInUpperCase": {web, func(t *probe.Target) { t.Request.HostOverride = "A.example" }, []string{"host_override host_override_invalid"}},
		"HostWithBadPort": {web, func(t *probe.Target) { t.Request.HostOverride = "a.example:99999" }, []string{"host_override host_override_invalid"}},
		"HostWithoutPort": {web, func(t *probe.Target) { t.Request.HostOverride = "a.example:" }, []string{"host_override host_override_invalid"}},
		"HostWithPort":    {web, func(t *probe.Target) { t.Request.HostOverride = "a.example:8443" }, nil},
		"HostIsAddress":   {web, func(t *probe.Target) { t.Request.HostOverride = "[2001:db8::1]:8443" }, nil},
		"IPVersion":       {web, func(t *probe.Target) { t.Request.IPVersion = 5 }, []string{"ip_version value_unknown"}},
		"OtherIPVersion":  {"http://192.0.32.8/", func(t *probe.Target) { t.Request.IPVersion = 6 }, []string{"ip_version ip_version_conflict"}},
		"SameIPVersion":   {"http://192.0.32.8/", func(t *probe.Target) { t.Request.IPVersion = 4 }, nil},
		"BadCA":           {web, func(t *probe.Target) { t.Request.CAPEM = "x" }, []string{"ca_pem pem_invalid"}},
		"GoodCertificates": {web, func(t *probe.Target) {
			t.Request.CAPEM, t.Request.ClientCertPEM, t.Secrets.ClientKeyPEM = cert, cert, key
		}, nil},
		"CertWithoutKey": {web, func(t *probe.Target) { t.Request.ClientCertPEM = cert }, []string{"client_certificate_pem pem_invalid"}},
		"BadRegexp":      {web, func(t *probe.Target) { t.Regexp = "(" }, []string{"regexp regexp_invalid"}},
		"RegexpOfHEAD":   {web, func(t *probe.Target) { t.Method, t.Regexp = "HEAD", "a" }, []string{"regexp regexp_without_body"}},
		"BadRegexps":     {web, expecting(probe.Expectations{Regexps: []string{"a", "("}}), []string{"regexps[1] regexp_invalid"}},
		"ManyRegexps":    {web, expecting(probe.Expectations{Regexps: strings.Split(strings.Repeat("a", 11), "")}), []string{"regexps list_length"}},
		"TwoBadTexts": {web, func(t *probe.Target) {
			t.Request.BasicUsername, t.Secrets.BasicPassword = "\x00", "\x00"
		}, []string{"basic_password string_invalid", "basic_username string_invalid"}},
		"NULInPassword": {web, func(t *probe.Target) { t.Secrets.BasicPassword = "a\x00" }, []string{"basic_password string_invalid"}},
		"BytesInUser":   {web, func(t *probe.Target) { t.Request.BasicUsername = "\xff" }, []string{"basic_username string_invalid"}},
		"LongPassword":  {web, func(t *probe.Target) { t.Secrets.BasicPassword = strings.Repeat("a", 1025) }, []string{"basic_password string_too_long"}},
		"LongToken":     {web, func(t *probe.Target) { t.Secrets.BearerToken = strings.Repeat("a", 4097) }, []string{"bearer_token string_too_long", "bearer_token header_value"}},
		"LongCA":        {web, func(t *probe.Target) { t.Request.CAPEM = strings.Repeat(cert, 100) }, []string{"ca_pem string_too_long"}},
		"BasicAndHeader": {web, func(t *probe.Target) {
			t.Request.BasicUsername, t.Secrets.Headers = "a", map[string]string{"authorization": "b"}
		}, []string{"basic_username auth_conflict"}},
		"HostWithZeros": {web, func(t *probe.Target) { t.Request.HostOverride = "a.example:080" }, []string{"host_override host_override_invalid"}},
		"HostWithUser":  {web, func(t *probe.Target) { t.Request.HostOverride = "a@b.example" }, []string{"host_override host_override_invalid"}},
		"HostInUnicode": {web, func(t *probe.Target) { t.Request.HostOverride = "bücher.example" }, []string{"host_override host_override_invalid"}},
		"NothingToSeeInHEAD": {web, func(t *probe.Target) {
			t.Method, t.Regexp = "HEAD", "a"
			t.Expectations = probe.Expectations{Regexps: []string{"a"}, JSON: []probe.JSONExpectation{{Path: "$", Op: "exists"}}}
		}, []string{"regexp regexp_without_body", "regexps regexp_without_body", "json regexp_without_body"}},
		"ManyHeaderRegexps": {web, func(t *probe.Target) {
			t.Expectations.HeaderRegexps = map[string]string{}
			for i := range 11 {
				t.Expectations.HeaderRegexps[fmt.Sprint("X-", i)] = "."
			}
		}, []string{"header_regexps list_length"}},
		"ManyJSON": {web, expecting(probe.Expectations{
			JSON: slices.Repeat([]probe.JSONExpectation{{Path: "$", Op: "exists"}}, 21),
		}), []string{"json list_length"}},
		"BadHeaderRegexp":   {web, expecting(probe.Expectations{HeaderRegexps: map[string]string{"X A": "("}}), []string{"header_regexps.X A header_name", "header_regexps.X A regexp_invalid"}},
		"ReservedIsFound":   {web, expecting(probe.Expectations{HeaderRegexps: map[string]string{"Content-Length": "."}}), nil},
		"LongerThanItself":  {web, expecting(probe.Expectations{MaxTotalMS: 10_001}), []string{"max_total_ms max_total_range"}},
		"SlowIsNegative":    {web, expecting(probe.Expectations{DegradedAfterMS: -1}), []string{"degraded_after_ms degraded_after_range"}},
		"SlowerThanTooSlow": {web, expecting(probe.Expectations{MaxTotalMS: 5, DegradedAfterMS: 5}), []string{"degraded_after_ms degraded_after_range"}},
		"Certificate":       {web, expecting(probe.Expectations{CertificateDays: 826}), []string{"certificate_days certificate_days_range"}},
		"NothingOfHTTP": {"icmp://example.com", func(t *probe.Target) {
			full(t)
			t.Request.ClientCertPEM, t.Secrets.ClientKeyPEM, t.Regexp, t.RegexpInvert = cert, key, "a", true
			t.AcceptedStatuses = []string{"204"}
			t.Request.HTTP2 = true
		}, []string{
			"method field_not_for_scheme", "body field_not_for_scheme",
			"headers field_not_for_scheme", "basic_username field_not_for_scheme", "user_agent field_not_for_scheme",
			"host_override field_not_for_scheme", "http2 field_not_for_scheme", "client_certificate_pem field_not_for_scheme",
			"accepted_statuses field_not_for_scheme", "regexp field_not_for_scheme", "regexp_invert field_not_for_scheme",
		}},
		"ClientCertificateWithoutTLS": {plain, func(t *probe.Target) { t.Request.ClientCertPEM, t.Secrets.ClientKeyPEM = cert, key }, []string{"client_certificate_pem field_not_for_scheme"}},
		"TalkOfTCP":                   {"tcp://example.com:7", func(t *probe.Target) { t.Request.Body, t.Regexp = "PING\n", "PONG" }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, row.want, errorsOf(row.url, row.change))
		})
	}
}

// TestCheckUse tries every field with every scheme: those of the list are of use, and all others are refused.
func TestCheckUse(t *testing.T) {
	t.Parallel()
	cert, key := hostile.ClientPEM(t)
	fields := map[string]func(*probe.Target){
		"method":                 func(t *probe.Target) { t.Method = "POST" },
		"body":                   func(t *probe.Target) { t.Method, t.Request.Body = "POST", "a" },
		"headers":                func(t *probe.Target) { t.Secrets.Headers = map[string]string{"Cookie": "a"} },
		"basic_username":         func(t *probe.Target) { t.Secrets.BasicPassword = "a" },
		"bearer_token":           func(t *probe.Target) { t.Secrets.BearerToken = "a" },
		"user_agent":             func(t *probe.Target) { t.Request.UserAgent = "a" },
		"host_override":          func(t *probe.Target) { t.Request.HostOverride = "a.example" },
		"http2":                  func(t *probe.Target) { t.Request.HTTP2 = true },
		"ip_version":             func(t *probe.Target) { t.Request.IPVersion = 6 },
		"tls_skip_verify":        func(t *probe.Target) { t.Request.TLSSkipVerify = true },
		"ca_pem":                 func(t *probe.Target) { t.Request.CAPEM = cert },
		"client_certificate_pem": func(t *probe.Target) { t.Request.ClientCertPEM, t.Secrets.ClientKeyPEM = cert, key },
		"accepted_statuses":      func(t *probe.Target) { t.AcceptedStatuses = []string{"204"} },
		"max_redirects":          func(t *probe.Target) { t.MaxRedirects = 0 },
		"regexp":                 func(t *probe.Target) { t.Regexp = "a" },
		"regexp_invert":          func(t *probe.Target) { t.Regexp, t.RegexpInvert = "a", true },
		"regexps":                func(t *probe.Target) { t.Expectations.Regexps = []string{"a"} },
		"header_regexps":         func(t *probe.Target) { t.Expectations.HeaderRegexps = map[string]string{"A": "a"} },
		"json":                   func(t *probe.Target) { t.Expectations.JSON = []probe.JSONExpectation{{Path: "$", Op: "exists"}} },
		"max_total_ms":           func(t *probe.Target) { t.Expectations.MaxTotalMS = 1 },
		"degraded_after_ms":      func(t *probe.Target) { t.Expectations.DegradedAfterMS = 1 },
		"certificate_days":       func(t *probe.Target) { t.Expectations.CertificateDays = 1 },
	}
	const (
		always  = "ip_version max_redirects max_total_ms degraded_after_ms "
		said    = "headers basic_username bearer_token user_agent host_override "
		trusted = "tls_skip_verify ca_pem certificate_days " // of use with http as well, which may redirect to https
		seen    = "method body http2 accepted_statuses regexp regexp_invert regexps header_regexps json "
		secured = "client_certificate_pem " + trusted
	)
	for url, used := range map[string]string{
		"http://example.com/":                  always + said + seen + trusted,
		"https://example.com/":                 always + said + seen + secured,
		"ws://example.com/":                    always + said,
		"wss://example.com/":                   always + said + secured,
		"grpc://example.com:50051":             always + said,
		"grpcs://example.com:50051":            always + said + secured,
		"tcp://example.com:5432":               always + "body regexp",
		"tls://example.com:5432":               always + "host_override " + secured,
		"dns://example.com/example.com?type=A": always + "regexp regexp_invert regexps",
		"icmp://example.com":                   always,
	} {
		for field, set := range fields {
			usable := slices.Contains(strings.Fields(used), field)
			refused := slices.Contains(errorsOf(url, set), field+" field_not_for_scheme")
			require.Equal(t, usable, !refused, url+" "+field)
		}
		require.Empty(t, errorsOf(url, func(t *probe.Target) { t.AcceptedStatuses, t.Method = nil, "" }), url)
	}
}

func TestCheckJSON(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		path, op string
		value    any
		want     []string
	}{
		{"$.a[0]['b c'][-1]", "exists", nil, nil},
		{"$", "equals", nil, nil},
		{"$.a", "less", 3.5, nil},
		{"$.a", "greater_or_equal", "2026", nil},
		{"$.a", "not_equals", true, nil},
		{"$..a", "exists", nil, []string{"json[0].path json_path_invalid"}},
		{"$.*", "exists", nil, []string{"json[0].path json_path_invalid"}},
		{"$[?@.a]", "exists", nil, []string{"json[0].path json_path_invalid"}},
		{"a", "exists", nil, []string{"json[0].path json_path_invalid"}},
		{"$." + strings.Repeat("a", 511), "exists", nil, []string{"json[0].path json_path_invalid"}},
		{"$['\xff']", "exists", nil, []string{"json[0].path json_path_invalid"}},
		{"$['a\x00']", "exists", nil, []string{"json[0].path json_path_invalid"}},
		{"", "exists", nil, []string{"json[0].path json_path_invalid"}},
		{"$.a", "less", nil, []string{"json[0].value json_value_invalid"}},
		{"$.a", "equals", map[string]any{}, []string{"json[0].value json_value_invalid"}},
		{"$.a", "equals", strings.Repeat("a", 1025), []string{"json[0].value json_value_invalid"}},
		{"$.a", "equals", "\xff", []string{"json[0].value json_value_invalid"}},
		{"$.a", "equals", 1, nil},
		{"$.a", "like", nil, []string{"json[0].op json_op_unknown", "json[0].value json_value_invalid"}},
		{"$.a", "exists", 1.0, []string{"json[0].value json_value_invalid"}},
		{"$.a", "equals", []any{}, []string{"json[0].value json_value_invalid"}},
		{"$.a", "equals", "\x00", []string{"json[0].value json_value_invalid"}},
		{"$.a", "less", true, []string{"json[0].value json_value_invalid"}},
	} {
		require.Equal(t, row.want, errorsOf("https://example.com/", expecting(probe.Expectations{
			JSON: []probe.JSONExpectation{{Path: row.path, Op: row.op, Value: row.value}},
		})), row.path+" "+row.op)
	}
}
