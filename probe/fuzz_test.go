package probe_test

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"riverwatch/egress"
	"riverwatch/probe"
	"riverwatch/probe/hostile"
	"riverwatch/uptime"
)

// requireStorable requires text to be fit for Postgres, whose text and jsonb hold UTF-8 without NUL.
func requireStorable(tb testing.TB, text string) {
	tb.Helper()
	require.True(tb, utf8.ValidString(text) && !strings.ContainsRune(text, 0), "%q", text)
}

// A normal form is its own normal form, goes over the wire as it is, and is no address that the policy refuses. A
// wider policy changes nothing of it.
func FuzzNormalizeURL(f *testing.F) {
	for _, row := range hostile.Rows(f, "testdata/url.csv") {
		f.Add(hostile.Text(f, row["input"]))
	}
	f.Fuzz(func(t *testing.T, raw string) {
		normal, err := probe.NormalizeURL(raw, egress.Policy{})
		if err != nil {
			require.NotContains(t, codeOf(err), " ")
			requireStorable(t, err.Error())
			return
		}
		for _, policy := range []egress.Policy{{}, lan} {
			again, err := probe.NormalizeURL(normal, policy)
			require.NoError(t, err)
			require.Equal(t, normal, again)
		}
		require.Regexp(t, "^[!-~]+$", normal)
		require.LessOrEqual(t, len(normal), 2048)

		parsed, err := url.Parse(normal)
		require.NoError(t, err)
		require.Equal(t, normal, onTheWire(parsed))
		if addr, err := netip.ParseAddr(parsed.Hostname()); err == nil {
			require.NoError(t, egress.Policy{}.Check(netip.AddrPortFrom(addr, 443)))
		}
		if parsed.Scheme == "dns" {
			_, err := dnsmessage.NewName(strings.TrimPrefix(parsed.Path, "/") + ".")
			require.NoError(t, err)
			require.NotContains(t, parsed.Path+".", "..")
		}
	})
}

// onTheWire gives a URL as it is asked for: with what net/http sends, if it is HTTP that is spoken.
func onTheWire(u *url.URL) string {
	switch u.Scheme {
	case "http", "https", "ws", "wss":
		return u.Scheme + "://" + u.Host + u.RequestURI()
	}
	return u.String()
}

// What CheckHeader accepts, net/http sends as it is, and the database holds.
func FuzzHeader(f *testing.F) {
	for _, row := range hostile.Rows(f, "testdata/header.csv") {
		f.Add(hostile.Text(f, row["name"]), hostile.Text(f, row["value"]))
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		require.Equal(t, probe.SecretHeader(name), probe.SecretHeader(strings.ToUpper(name)))
		if err := probe.CheckHeader(name, value); err != nil {
			require.Contains(t, []string{"header_name", "header_value", "header_reserved"}, codeOf(err))
			return
		}
		requireStorable(t, name+value)
		asked, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://192.0.2.1/", http.NoBody)
		require.NoError(t, err)
		asked.Header.Set(name, value)
		require.Contains(t, written(t, asked), "\r\n"+http.CanonicalHeaderKey(name)+": "+value+"\r\n")
	})
}

// A Host that net/http does not like is dropped, and the request goes out with none.
func FuzzHostOverride(f *testing.F) {
	for _, host := range []string{"a.example", "a.example:8443", "192.0.2.1", "[2001:db8::1]:80", "A", "a:080", "a@b", "a/b", ""} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		target := get("https://example.com/")
		target.Request.HostOverride = host
		if host == "" || len(target.Check()) > 0 {
			return
		}
		requireStorable(t, host)
		asked, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target.URL, http.NoBody)
		require.NoError(t, err)
		asked.Host = host
		require.Contains(t, written(t, asked), "\r\nHost: "+host+"\r\n")
	})
}

func written(tb testing.TB, asked *http.Request) string {
	tb.Helper()
	var wire strings.Builder
	require.NoError(tb, asked.Write(&wire))
	return wire.String()
}

// What CheckRegexp accepts compiles, matches, and is held by the database.
func FuzzCheckRegexp(f *testing.F) {
	for _, row := range hostile.Rows(f, "testdata/regexp.csv") {
		f.Add(hostile.Text(f, row["pattern"]))
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		if err := probe.CheckRegexp(pattern); err != nil {
			require.Contains(t, []string{"regexp_empty", "regexp_invalid", "regexp_too_long", "regexp_too_complex"}, codeOf(err))
			requireStorable(t, err.Error())
			return
		}
		requireStorable(t, pattern)
		compiled, err := regexp.Compile(pattern)
		require.NoError(t, err)
		require.Equal(t, compiled.MatchString(pattern), compiled.MatchReader(strings.NewReader(pattern)))
	})
}

func FuzzCheckStatuses(f *testing.F) {
	for _, seed := range []string{"200", "200-299", "299-200", "", "-", "20", "200-", "٢٠٠"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if err := probe.CheckStatuses([]string{text}); err != nil {
			require.Equal(t, "status_invalid", codeOf(err))
			return
		}
		require.Regexp(t, "^[2-5][0-9][0-9](-[2-5][0-9][0-9])?$", text)
		low, high, _ := strings.Cut(text, "-")
		require.True(t, high == "" || low <= high)
	})
}

// FuzzJSONPath looks for one value, in a document with some depth. The value to compare with is given as JSON, as the
// API gets it and the database keeps it.
func FuzzJSONPath(f *testing.F) {
	for _, path := range []string{"$", "$.a", "$['a'][0]", "$[-1]", "$..a", "$[?@.a>1]", "$[1:2]", "$.a.b.c", "", "$["} {
		f.Add(path, "equals", `"x"`)
	}
	server := serve(f, answer(`{"a": [{"a": "x"}, null], "b": {"a": 1}}`))
	prober := patient(onLoopback)
	f.Fuzz(func(t *testing.T, path, op, value string) {
		target, expectation := get(server), probe.JSONExpectation{Path: path, Op: op}
		if json.Unmarshal([]byte(value), &expectation.Value) != nil {
			expectation.Value = value
		}
		target.Expectations.JSON = []probe.JSONExpectation{expectation}
		if len(target.Check()) > 0 {
			return
		}
		kept, err := json.Marshal(target.Expectations)
		require.NoError(t, err)
		target.Expectations = probe.Expectations{}
		require.NoError(t, json.Unmarshal(kept, &target.Expectations))
		require.Empty(t, target.Check())

		result := prober.Probe(t.Context(), target)
		require.Contains(t, []uptime.Outcome{uptime.OK, uptime.JSONMismatch}, result.Outcome, result.Error)
		for _, text := range []string{result.Error, result.Expectations[1].Name, result.Expectations[1].Found} {
			require.Equal(t, probe.CleanText(text), text)
		}
	})
}
