package probe_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
)

// TestCheckHeader runs the list "header".
func TestCheckHeader(t *testing.T) {
	t.Parallel()
	for _, row := range hostile.Rows(t, "testdata/header.csv") {
		name, value := hostile.Text(t, row["name"]), hostile.Text(t, row["value"])
		target := get("https://example.com/")
		target.Request.Headers = map[string]string{name: value}
		code := "ok"
		if errs := target.Check(); len(errs) > 0 {
			code = errs[0].Code
		}
		require.Equal(t, row["expect"], code, row["id"])
	}
	for name, code := range map[string]string{
		"X-aliyun-ecs-metadata-token": "header_reserved", "Metadata-Token-Expiry-Seconds": "header_reserved",
		"HTTP2-Settings": "header_reserved", "Proxy-Authorization": "header_reserved", "If-Range": "header_reserved",
		"host": "header_reserved", "X-Forwarded-Host": "header_reserved", "Sec-WebSocket-Key": "header_reserved",
		"Metadata-Flavor": "header_reserved", "transfer-encoding": "header_reserved", "X:A": "header_name",
		":path": "header_name", "Ü": "header_name", strings.Repeat("a", 129): "header_name",
	} {
		require.Equal(t, code, codeOf(probe.CheckHeader(name, "v")), name)
	}
	for _, value := range []string{"\xff", "a\x7f", "\ta", "a\r", "ü"} {
		require.Equal(t, "header_value", codeOf(probe.CheckHeader("X-A", value)), "%q", value)
	}
	require.ErrorContains(t, probe.CheckHeader("Host", "a"), "host_override")
	require.NoError(t, probe.CheckHeader("X-Empty", ""))
	require.NoError(t, probe.CheckHeader("X-Long", strings.Repeat("a", 4096)))
}

func TestSecretHeader(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Authorization", "cookie", "X-Api-Key", "X-Auth-Token", "Session-Id", "X-Hub-Signature"} {
		require.True(t, probe.SecretHeader(name), name)
	}
	for _, name := range []string{"Accept", "X-Team", "User-Agent"} {
		require.False(t, probe.SecretHeader(name), name)
	}
}
