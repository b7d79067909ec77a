package probe_test

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
)

// TestNormalizeURL runs the list "url".
func TestNormalizeURL(t *testing.T) {
	t.Parallel()
	policies := map[string]probe.Policy{"public": {}, "lan": lan}

	for _, row := range hostile.Rows(t, "testdata/url.csv") {
		t.Run(row["id"], func(t *testing.T) {
			t.Parallel()
			policy := policies[row["policy"]]
			input := hostile.Text(t, row["input"])

			normal, err := probe.NormalizeURL(input, policy)
			require.Equal(t, row["expect"], codeOf(err), "%q gives %q", input, normal)

			if err == nil {
				again, err := probe.NormalizeURL(normal, policy)
				require.NoError(t, err)
				require.Equal(t, normal, again)
			}
		})
	}
}

func TestNormalizeURLGivesOneForm(t *testing.T) {
	t.Parallel()
	for raw, normal := range map[string]string{
		"HTTP://EXAMPLE.COM:80":              "http://example.com/",
		"https://example.com:443/#top":       "https://example.com/",
		"https://example.com:80/":            "https://example.com:80/",
		"http://example.com?":                "http://example.com/?",
		"http://example.com?a=b c&d=\"<é>":   "http://example.com/?a=b%20c&d=%22%3C%C3%A9%3E",
		"http://example.com/a b/%2f/é{}|":    "http://example.com/a%20b/%2f/%C3%A9%7B%7D%7C",
		"http://example.com/../a//b/;c=d,e":  "http://example.com/../a//b/;c=d,e",
		"http://example.com./":               "http://example.com./",
		"http://b\u00fccher.example/":        "http://xn--bcher-kva.example/",
		"http://fa\u00df.de/":                "http://xn--fa-hia.de/",
		"http://exa\u00admple.com/":          "http://example.com/",
		"http://r3---sn-4g5e.example/":       "http://r3---sn-4g5e.example/",
		"http://[2606:4700:4700:0::1111]/":   "http://[2606:4700:4700::1111]/",
		"http://[2606:4700:4700::1111]:81/a": "http://[2606:4700:4700::1111]:81/a",
		"http://[::ffff:8.8.8.8]:8080/":      "http://8.8.8.8:8080/",
	} {
		t.Run(raw, func(t *testing.T) {
			t.Parallel()
			got, err := probe.NormalizeURL(raw, probe.Policy{})
			require.NoError(t, err)
			require.Equal(t, normal, got)
		})
	}
}

func TestNormalizeURLRefuses(t *testing.T) {
	t.Parallel()
	for raw, code := range map[string]string{
		"":                          "url_invalid",
		"\ufeffhttp://example.com/": "url_invalid",
		"http://example.com/\u202e": "url_invalid",
		"http://example.com/\xff":   "url_invalid",
		"http://example.com/%zz":    "url_invalid",
		"http://example.com/" + strings.Repeat("\u00e9", 1000): "url_invalid", // too long once it is encoded
		"http://[1.2.3.4]/":    "url_invalid",
		"example.com":          "url_scheme",
		"//example.com/":       "url_scheme",
		"http:example.com":     "url_host",
		"http://127.0.0.1./":   "url_host",
		"http://0x/":           "url_host",
		"http://example.0x1F/": "url_host",
		"http://example..com/": "url_host",
		"http://" + strings.Repeat("a", 64) + ".com/":  "url_host",
		"http://" + strings.Repeat("a.", 127) + "com/": "url_host",
		"http://example-.com/":                         "url_host",
		"http://example.com:65536/":                    "url_port",
		"http://example.com:0/":                        "url_port",
		"http://10.0.0.1:22/":                          "url_port_blocked",
		"http://LOCALHOST./":                           "target_not_allowed",
		"http://metadata.google.internal/":             "target_not_allowed",
		"http://[fe80::1]/":                            "target_not_allowed",
	} {
		t.Run(raw, func(t *testing.T) {
			t.Parallel()
			_, err := probe.NormalizeURL(raw, probe.Policy{})
			require.Equal(t, code, codeOf(err))
		})
	}
}

func TestNormalizeURLUnderAnAllowList(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		url    string
		policy probe.Policy
		code   string
	}{
		{"http://localhost:9999", loopback, "ok"},
		{"http://shop.localhost/", loopback, "ok"},
		{"http://localhost/", lan, "target_not_allowed"},
		{"http://intranet/", lan, "ok"},
		{"http://127.0.0.1/", lan, "target_not_allowed"},
		{"http://169.254.169.254/", probe.Policy{Allow: prefixes("0.0.0.0/0")}, "target_not_allowed"},
	} {
		t.Run(row.url, func(t *testing.T) {
			t.Parallel()
			_, err := probe.NormalizeURL(row.url, row.policy)
			require.Equal(t, row.code, codeOf(err))
		})
	}

	_, err := probe.NormalizeURL("http://10.0.0.1/", probe.Policy{})
	require.ErrorContains(t, err, "RIVERWATCH_ALLOW_CIDRS")
}

// A normal form is its own normal form, goes over the wire as it is, and is no address that the policy refuses.
func FuzzNormalizeURL(f *testing.F) {
	for _, row := range hostile.Rows(f, "testdata/url.csv") {
		f.Add(hostile.Text(f, row["input"]))
	}
	f.Fuzz(func(t *testing.T, raw string) {
		normal, err := probe.NormalizeURL(raw, probe.Policy{})
		if err != nil {
			require.NotContains(t, codeOf(err), " ")
			return
		}

		again, err := probe.NormalizeURL(normal, probe.Policy{})
		require.NoError(t, err)
		require.Equal(t, normal, again)

		parsed, err := url.Parse(normal)
		require.NoError(t, err)
		require.Equal(t, normal, parsed.Scheme+"://"+parsed.Host+parsed.RequestURI())
		if addr, err := netip.ParseAddr(parsed.Hostname()); err == nil {
			require.NoError(t, probe.Policy{}.Check(netip.AddrPortFrom(addr, 443)))
		}
	})
}

// codeOf gives the code of an error as the lists write it.
func codeOf(err error) string {
	var input *probe.InputError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &input):
		return input.Code
	}
	return "not an InputError: " + err.Error()
}
