package probe_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
)

// What CheckHeader accepts, net/http sends.
func FuzzHeader(f *testing.F) {
	for _, row := range hostile.Rows(f, "testdata/header.csv") {
		f.Add(hostile.Text(f, row["name"]), hostile.Text(f, row["value"]))
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		_ = probe.SecretHeader(name)
		if probe.CheckHeader(name, value) != nil {
			return
		}
		asked, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://192.0.2.1/", http.NoBody)
		require.NoError(t, err)
		asked.Header.Set(name, value)
		var wire strings.Builder
		require.NoError(t, asked.Write(&wire))
		require.Contains(t, wire.String(), "\r\n"+http.CanonicalHeaderKey(name)+": "+value+"\r\n")
	})
}

// FuzzJSONPath looks for one value, in a document with some depth.
func FuzzJSONPath(f *testing.F) {
	for _, path := range []string{"$", "$.a", "$['a'][0]", "$[-1]", "$..a", "$[?@.a>1]", "$[1:2]", "$.a.b.c", "", "$["} {
		f.Add(path, "equals", "x")
	}
	server := serve(f, answer(`{"a": [{"a": "x"}, null], "b": {"a": 1}}`))
	prober := patient(onLoopback)
	f.Fuzz(func(t *testing.T, path, op, value string) {
		target := get(server)
		target.Expectations.JSON = []probe.JSONExpectation{{Path: path, Op: op, Value: value}}
		if len(target.Check()) > 0 {
			return
		}
		result := prober.Probe(t.Context(), target)
		require.NotEmpty(t, result.Outcome)
		require.Equal(t, probe.CleanText(result.Error), result.Error)
	})
}

// What the parsers of the operator's lists accept is used without a panic.
func FuzzPolicy(f *testing.F) {
	for _, list := range []string{"10.0.0.0/8", "fc00::/7,127.0.0.1/32", "10.0.0.0/8@8080", "64:ff9b:1::/96", "@", ","} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		policy := probe.Policy{}
		policy.Allow, policy.AllowAt, _ = probe.ParseAllow(list)
		policy.AllowPorts, _ = probe.ParsePorts(list)
		policy.NAT64, _ = probe.ParseNAT64(list)
		policy.RefusePrefixes, _ = probe.ParseCIDRs(list)
		for _, url := range []string{"http://169.254.169.254/", "http://[::]/", "http://224.0.0.1/"} {
			_, err := probe.NormalizeURL(url, policy)
			require.Error(t, err, "the floor holds, whatever the operator allows")
		}
	})
}
