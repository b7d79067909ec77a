package probe_test

import (
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
	"riverwatch/uptime"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		server  func(testing.TB) string
		outcome uptime.Outcome
	}{
		"Expired":     {hostile.ExpiredTLS, uptime.TLSExpired},
		"NotYetValid": {hostile.NotYetValidTLS, uptime.TLSExpired},
		"WrongName":   {hostile.WrongNameTLS, uptime.TLSHostname},
		"Untrusted":   {hostile.UntrustedTLS, uptime.TLSUntrusted},
		"PlainHTTP":   {hostile.PlainHTTPBehindHTTPS, uptime.TLSProtocol},
		"TooOld":      {hostile.OldTLS, uptime.TLSProtocol},
		"HangsUp":     {hostile.HangsUpTLS, uptime.ConnectionClosed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result := probeURL(t, row.server(t))

			require.Equal(t, row.outcome, result.Outcome, result.Error)
			require.Positive(t, *result.Connect)
			require.Nil(t, result.TLS)
			require.True(t, result.RemoteIP.IsLoopback(), "a connection was made")
		})
	}

	t.Run("WantsACertificateOfOurs", func(t *testing.T) {
		t.Parallel()
		url, ca := hostile.WantsClientTLS(t)
		trusting := func(target *probe.Target) { target.Request.CAPEM = ca }
		require.Equal(t, uptime.TLSProtocol, probeURL(t, url, trusting).Outcome)

		result := probeURL(t, url, trusting, func(target *probe.Target) {
			target.Request.ClientCertPEM, target.Secrets.ClientKeyPEM = hostile.ClientPEM(t)
		})
		require.Equal(t, uptime.OK, result.Outcome, result.Error)
	})

	t.Run("IsGood", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewTLSServer(answer("hello"))
		t.Cleanup(server.Close)

		result := probeURL(t, server.URL, func(target *probe.Target) {
			target.Request.CAPEM = hostile.CertificatePEM(server.Certificate())
		})

		require.Equal(t, uptime.OK, result.Outcome, result.Error)
		require.Positive(t, *result.TLS)
	})
}
