package probe_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
	"riverwatch/uptime"
)

// full asks with everything that a request may say.
func full(target *probe.Target) {
	target.Method = http.MethodPost
	target.Request = probe.Request{
		Headers: map[string]string{"X-Team": "shop"}, Body: "ping", BasicUsername: "ann", UserAgent: "Shop/1",
		HostOverride: "shop.example",
	}
	target.Secrets = probe.Secrets{Headers: map[string]string{"Cookie": "id=canary"}, BasicPassword: "canary"}
}

// Whoever adds a secret forgets to hide it: what a target was sent it may echo, in the body and in what it says of itself.
func TestEverySecretIsHidden(t *testing.T) {
	t.Parallel()
	const canary = "canary-of-a-secret"
	for field := range reflect.TypeFor[probe.Secrets]().Fields() {
		if field.Name == "ClientKeyPEM" { // is never sent
			continue
		}
		t.Run(field.Name, func(t *testing.T) {
			t.Parallel()
			var secrets probe.Secrets
			if value := reflect.ValueOf(&secrets).Elem().FieldByIndex(field.Index); value.Kind() == reflect.String {
				value.SetString(canary)
			} else {
				value.Set(reflect.ValueOf(map[string]string{"X-Api-Key": canary}))
			}
			echo := hostile.Serve(t, func(conn *net.TCPConn, request string) {
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 500 E\r\n\r\n%s", request)
			})

			result := probeURL(t, echo, func(target *probe.Target) { target.Secrets = secrets })

			require.Contains(t, result.BodyExcerpt, "…\n", "it was sent")
			require.NotContains(t, fmt.Sprint(result), canary)
			require.NotContains(t, result.BodyExcerpt, base64.StdEncoding.EncodeToString([]byte(":"+canary)))
		})
	}
}

// told is what a server was asked.
type told struct {
	*http.Request

	body string
}

// listening notes what it is asked, and answers with a redirect if there is a location.
func listening(tb testing.TB, status int, location string) (url string, asked <-chan told) {
	tb.Helper()
	requests := make(chan told, 10)
	url = serve(tb, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- told{r, string(body)}
		if location != "" && r.URL.Path == "/" {
			w.Header().Set("Location", location)
			w.WriteHeader(status)
		}
	})
	return url, requests
}

func TestRequest(t *testing.T) {
	t.Parallel()

	t.Run("SaysAllThatItsOwnerWants", func(t *testing.T) {
		t.Parallel()
		url, requests := listening(t, 0, "")

		require.Equal(t, uptime.OK, probeURL(t, url, full).Outcome)

		asked := <-requests
		require.Equal(t, "POST", asked.Method)
		require.Equal(t, "ping", asked.body)
		require.Equal(t, "shop.example", asked.Host)
		require.Equal(t, "shop", asked.Header.Get("X-Team"))
		require.Equal(t, "id=canary", asked.Header.Get("Cookie"))
		require.Equal(t, "Shop/1", asked.UserAgent())
		user, password, _ := asked.BasicAuth()
		require.Equal(t, "ann canary", user+" "+password)
	})

	t.Run("BearsAToken", func(t *testing.T) {
		t.Parallel()
		url, requests := listening(t, 0, "")
		probeURL(t, url, func(target *probe.Target) { target.Secrets.BearerToken = "canary" })
		require.Equal(t, "Bearer canary", (<-requests).Header.Get("Authorization"))
	})

	t.Run("NamesTheOperator", func(t *testing.T) {
		t.Parallel()
		url, requests := listening(t, 0, "")
		settings := onLoopback
		settings.Contact = "ops@example.com"
		patient(settings).Probe(t.Context(), get(url))
		require.Equal(t, "Riverwatch/1.0 (uptime monitor; ops@example.com)", (<-requests).UserAgent())
	})

	t.Run("IsMadeAgainWhereTheSameOriginSendsIt", func(t *testing.T) {
		t.Parallel()
		url, requests := listening(t, http.StatusTemporaryRedirect, "/end")

		require.Equal(t, uptime.OK, probeURL(t, url, full).Outcome)

		<-requests
		again := <-requests
		require.Equal(t, "POST ping id=canary shop.example",
			fmt.Sprintf("%s %s %s %s", again.Method, again.body, again.Header.Get("Cookie"), again.Host))
	})

	t.Run("GivesNothingToAnotherOriginAndNothingOnTheWayBack", func(t *testing.T) {
		t.Parallel()
		back, atHome := listening(t, 0, "")
		other, elsewhere := listening(t, http.StatusPermanentRedirect, back+"home")
		first, _ := listening(t, http.StatusTemporaryRedirect, other)

		result := probeURL(t, first, full)

		require.Equal(t, uptime.OK, result.Outcome, result.Error)
		require.Len(t, result.Redirects, 2)
		require.Equal(t, probe.Redirect{Status: 307, Location: other}, result.Redirects[0])
		for _, requests := range []<-chan told{elsewhere, atHome} {
			asked := <-requests
			require.Equal(t, "GET", asked.Method)
			require.Empty(t, asked.body)
			require.NotEqual(t, "shop.example", asked.Host)
			require.NotContains(t, fmt.Sprint(asked.Header), "canary")
			require.NotContains(t, fmt.Sprint(asked.Header), "shop")
			require.Empty(t, asked.Referer())
			require.Contains(t, asked.UserAgent(), "Shop", "who asks is no secret")
		}
	})

	t.Run("ShowsItsCertificateToTheFirstOriginAlone", func(t *testing.T) {
		t.Parallel()
		other, ca := hostile.WantsClientTLS(t)
		first := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other, http.StatusFound) })

		result := probeURL(t, first, func(target *probe.Target) {
			target.Request.CAPEM = ca
			target.Request.ClientCertPEM, target.Secrets.ClientKeyPEM = hostile.ClientPEM(t)
		})

		require.Equal(t, uptime.TLSProtocol, result.Outcome, result.Error)
	})

	t.Run("HidesSecretsThatTheTargetEchoes", func(t *testing.T) {
		t.Parallel()
		echo := hostile.Serve(t, func(conn *net.TCPConn, request string) {
			_, cookie, _ := strings.Cut(request, "Cookie: ")
			cookie, _, _ = strings.Cut(cookie, "\r\n")
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 500 E\r\nX-Echo: %s\r\n\r\n%s", cookie, request)
		})

		result := probeURL(t, echo, full, func(target *probe.Target) {
			target.Expectations.HeaderRegexps = map[string]string{"X-Echo": "^never$"}
		})

		require.Equal(t, uptime.StatusMismatch, result.Outcome)
		require.Contains(t, result.BodyExcerpt, "Cookie: …\n", "the whole of it, and not the password in it alone")
		require.NotContains(t, fmt.Sprint(result.Error, result.BodyExcerpt, result.Expectations), "canary")
		require.Contains(t, result.BodyExcerpt, "Authorization: Basic …\n")
		require.NotContains(t, result.BodyExcerpt, base64.StdEncoding.EncodeToString([]byte("ann:canary")))
	})

	t.Run("HidesASecretWithinAnotherWhole", func(t *testing.T) {
		t.Parallel()
		echo := hostile.Serve(t, func(conn *net.TCPConn, request string) {
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 500 E\r\n\r\n%s", request)
		})

		result := probeURL(t, echo, func(target *probe.Target) {
			target.Secrets = probe.Secrets{
				BasicPassword: "ary", Headers: map[string]string{"X-Key": "canary-key", "X-Other-Key": "canary"},
			}
		})

		require.Contains(t, result.BodyExcerpt, "X-Key: …\n")
		require.Contains(t, result.BodyExcerpt, "X-Other-Key: …\n")
	})

	t.Run("HidesALongSecretThatStraddlesTheEndOfTheExcerpt", func(t *testing.T) {
		t.Parallel()
		token := strings.Repeat("canary", 600)
		echo := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusTeapot)
			_, _ = fmt.Fprint(w, strings.Repeat(".", 1000), r.Header.Get("Authorization"))
		})

		result := probeURL(t, echo, func(target *probe.Target) { target.Secrets.BearerToken = token })

		require.Equal(t, strings.Repeat(".", 1000)+"Bearer …", result.BodyExcerpt)
	})

	t.Run("SkipsVerificationIfAskedTo", func(t *testing.T) {
		t.Parallel()
		result := probeURL(t, hostile.ExpiredTLS(t), func(target *probe.Target) { target.Request.TLSSkipVerify = true })
		require.Equal(t, uptime.OK, result.Outcome, result.Error)
		require.NotNil(t, result.Certificate)
	})

	t.Run("AsksForTheOverridingHostInTLS", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewTLSServer(answer("hello")) // its certificate is for example.com as well
		t.Cleanup(server.Close)
		trusting := func(target *probe.Target) {
			target.Request.CAPEM = hostile.CertificatePEM(server.Certificate())
			target.Request.HostOverride = "example.com:8443"
		}
		require.Equal(t, uptime.OK, probeURL(t, server.URL+"/", trusting).Outcome)
		require.Equal(t, uptime.TLSHostname, probeURL(t, server.URL+"/", trusting, func(target *probe.Target) {
			target.Request.HostOverride = "shop.example"
		}).Outcome)
	})

	t.Run("GoesOverTheVersionOfIPThatIsAskedFor", func(t *testing.T) {
		t.Parallel()
		hosts := map[string][]string{"both.test": {"127.0.0.1", "::1"}, "four.test": {"127.0.0.1"}}
		prober := resolving(t, loopback, hosts)
		target := get(named(serve(t, answer("hello")), "both.test"))
		target.Request.IPVersion = 4
		require.Equal(t, "127.0.0.1", prober.Probe(t.Context(), target).RemoteIP.String())
		target.Request.IPVersion = 6
		require.Equal(t, uptime.ConnectRefused, prober.Probe(t.Context(), target).Outcome)
		target.URL = named(serve(t, answer("hello")), "four.test")
		require.Equal(t, uptime.DNSEmpty, prober.Probe(t.Context(), target).Outcome)
	})
}
