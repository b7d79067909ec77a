package probe_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/egress"
	"riverwatch/probe"
	"riverwatch/probe/hostile"
)

// TestNormalizeURL runs the list "url".
func TestNormalizeURL(t *testing.T) {
	t.Parallel()
	policies := map[string]egress.Policy{"public": {}, "lan": lan}

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
		"HTTP://EXAMPLE.COM:80":                         "http://example.com/",
		"https://example.com:443/#top":                  "https://example.com/",
		"https://example.com:80/":                       "https://example.com:80/",
		"http://example.com?":                           "http://example.com/?",
		"http://example.com?a=b c&d=\"<é>":              "http://example.com/?a=b%20c&d=%22%3C%C3%A9%3E",
		"http://example.com/a b/%2f/é{}|":               "http://example.com/a%20b/%2f/%C3%A9%7B%7D%7C",
		"http://example.com/../a//b/;c=d,e":             "http://example.com/../a//b/;c=d,e",
		"http://example.com./":                          "http://example.com./",
		"http://b\u00fccher.example/":                   "http://xn--bcher-kva.example/",
		"http://fa\u00df.de/":                           "http://xn--fa-hia.de/",
		"http://exa\u00admple.com/":                     "http://example.com/",
		"http://r3---sn-4g5e.example/":                  "http://r3---sn-4g5e.example/",
		"http://[2606:4700:4700:0::1111]/":              "http://[2606:4700:4700::1111]/",
		"http://[2606:4700:4700::1111]:81/a":            "http://[2606:4700:4700::1111]:81/a",
		"http://[::ffff:8.8.8.8]:8080/":                 "http://8.8.8.8:8080/",
		"WS://example.com:80":                           "ws://example.com/",
		"wss://example.com:443/chat?room=1":             "wss://example.com/chat?room=1",
		"tcp://Example.com:5432/":                       "tcp://example.com:5432",
		"tcp://[2606:4700:4700:0::1111]:80":             "tcp://[2606:4700:4700::1111]:80",
		"tls://example.com:443#top":                     "tls://example.com:443",
		"icmp://EXAMPLE.com/":                           "icmp://example.com",
		"icmp://[2606:4700:4700:0::1111]":               "icmp://[2606:4700:4700::1111]",
		"grpc://example.com:50051":                      "grpc://example.com:50051",
		"grpcs://example.com:443/":                      "grpcs://example.com:443",
		"grpcs://example.com:443/a.B-c/_1":              "grpcs://example.com:443/a.B-c/_1",
		"grpc://example.com:50051/%61":                  "grpc://example.com:50051/a",
		"dns://8.8.8.8:53/example.com":                  "dns://8.8.8.8/example.com?type=A",
		"dns://8.8.8.8:5353/example.com?":               "dns://8.8.8.8:5353/example.com?type=A",
		"dns://8.8.8.8/Example.COM.?type=mx":            "dns://8.8.8.8/example.com?type=MX",
		"dns://8.8.8.8/a.b%E3%80%82?type=":              "dns://8.8.8.8/a.b?type=A", // an ideographic full stop
		"dns://8.8.8.8/_sip._tcp.a.b":                   "dns://8.8.8.8/_sip._tcp.a.b?type=A",
		"dns://dns.google/b\u00fccher.example?type=TXT": "dns://dns.google/xn--bcher-kva.example?type=TXT",
	} {
		t.Run(raw, func(t *testing.T) {
			t.Parallel()
			got, err := probe.NormalizeURL(raw, egress.Policy{})
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
		"http://" + strings.Repeat("a", 64) + ".com/":          "url_host",
		"http://" + strings.Repeat("a.", 127) + "com/":         "url_host",
		"http://example-.com/":                                 "url_host",
		"http://example.com:65536/":                            "url_port",
		"http://example.com:0/":                                "url_port",
		"http://10.0.0.1:22/":                                  "url_port_blocked",
		"http://LOCALHOST./":                                   "target_not_allowed",
		"http://metadata.google.internal/":                     "target_not_allowed",
		"http://[fe80::1]/":                                    "target_not_allowed",
		"http://[2606:4700::1%25eth0]/":                        "url_host",
		"http://\u0378.example/":                               "url_host", // no character
		"http://a\u2135b.example/":                             "url_host", // maps to Hebrew, which must not stand between Latin letters
		"tcp:example.com:80":                                   "url_host",
		"tcp://example.com":                                    "url_port",
		"tls://example.com":                                    "url_port",
		"grpc://example.com/shop":                              "url_port",
		"grpcs://example.com:0443":                             "url_port",
		"icmp://example.com:80":                                "url_port",
		"icmp://example.com:":                                  "url_port",
		"ws://example.com:22/":                                 "url_port_blocked",
		"tcp://example.com:25":                                 "url_port_blocked",
		"tcp://example.com:53":                                 "url_port_blocked",
		"dns://8.8.8.8:853x/example.com":                       "url_invalid",
		"dns://8.8.8.8:25/example.com":                         "url_port_blocked",
		"tcp://example.com:80/a":                               "url_path",
		"tls://example.com:443/a":                              "url_path",
		"icmp://example.com/a":                                 "url_path",
		"grpc://example.com:50051/a b":                         "url_path",
		"grpc://example.com:50051/" + strings.Repeat("a", 201): "url_path",
		"dns://8.8.8.8":                                        "url_path",
		"dns://8.8.8.8/.":                                      "url_path",
		"dns://8.8.8.8/a..b":                                   "url_path",
		"dns://8.8.8.8/a.b..":                                  "url_path",
		"dns://8.8.8.8/a/b":                                    "url_path",
		"dns://8.8.8.8/" + strings.Repeat("a.", 127) + "com":   "url_path",
		"dns://8.8.8.8/a.b?type=ANY":                           "url_query",
		"dns://8.8.8.8/a.b?type=A&type=A":                      "url_query",
		"dns://8.8.8.8/a.b?type=A&x":                           "url_query",
		"dns://8.8.8.8/a.b?kind=MX":                            "url_query",
		"dns://8.8.8.8/a.b?type=A;":                            "url_query",
		"tcp://example.com:80?a":                               "url_query",
		"tcp://example.com:80?":                                "url_query",
		"icmp://example.com?a":                                 "url_query",
		"grpc://example.com:50051/a?b":                         "url_query",
		"tcp://user@example.com:80":                            "url_userinfo",
		"dns://user:pass@8.8.8.8/a.b":                          "url_userinfo",
		"icmp://localhost":                                     "target_not_allowed",
		"icmp://10.0.0.1":                                      "target_not_allowed",
		"dns://10.0.0.1/a.b":                                   "target_not_allowed",
		"tcp://[::1]:80":                                       "target_not_allowed",
	} {
		t.Run(raw, func(t *testing.T) {
			t.Parallel()
			_, err := probe.NormalizeURL(raw, egress.Policy{})
			require.Equal(t, code, codeOf(err))
		})
	}
}

func TestNormalizeURLUnderAnAllowList(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		url    string
		policy egress.Policy
		code   string
	}{
		{"http://localhost:9999", loopback, "ok"},
		{"http://shop.localhost/", loopback, "ok"},
		{"http://localhost/", lan, "target_not_allowed"},
		{"http://intranet/", lan, "ok"},
		{"http://127.0.0.1/", lan, "target_not_allowed"},
		{"http://169.254.169.254/", egress.Policy{Allow: prefixes("0.0.0.0/0")}, "target_not_allowed"},
		{"icmp://10.0.0.1", lan, "ok"},
		{"dns://10.0.0.1/a.b", lan, "ok"},
		{"http://10.0.0.1:8080/", lanAt8080, "ok"},
		{"http://intranet:8080/", lanAt8080, "ok"},
		{"dns://10.0.0.1:8080/a.b", lanAt8080, "ok"},
		{"http://10.0.0.1/", lanAt8080, "target_not_allowed"},
		{"http://intranet/", lanAt8080, "target_not_allowed"},
		{"dns://10.0.0.1/a.b", lanAt8080, "target_not_allowed"},
		{"icmp://10.0.0.1", lanAt8080, "target_not_allowed"},
		{"icmp://intranet", lanAt8080, "target_not_allowed"},
		{"tcp://example.com:25", egress.Policy{AllowPorts: []uint16{25}}, "ok"},
		{"tcp://10.0.0.1:25", egress.Policy{AllowPorts: []uint16{25}}, "target_not_allowed"},
		{"http://8.8.8.8/", egress.Policy{RefusePrefixes: prefixes("8.0.0.0/8")}, "target_not_allowed"},
	} {
		t.Run(row.url, func(t *testing.T) {
			t.Parallel()
			_, err := probe.NormalizeURL(row.url, row.policy)
			require.Equal(t, row.code, codeOf(err))
		})
	}

	_, err := probe.NormalizeURL("gopher://example.com/", egress.Policy{})
	require.ErrorContains(t, err, "http, https, ws, wss, tcp, tls, dns, icmp, grpc or grpcs")
	_, err = probe.NormalizeURL("http://10.0.0.1/", egress.Policy{})
	require.ErrorContains(t, err, "RIVERWATCH_ALLOW_CIDRS")
}

func TestNormalizeURLKnowsDNSTypes(t *testing.T) {
	t.Parallel()
	for kind := range strings.FieldsSeq("A AAAA CNAME MX NS PTR SOA SRV TXT") {
		want := "dns://8.8.8.8/example.com?type=" + kind
		got, err := probe.NormalizeURL(strings.ToLower(want), egress.Policy{})
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
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
