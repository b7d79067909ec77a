package probe_test

import (
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
	"riverwatch/uptime"
)

// page answers with 4 KiB of JSON, more than is kept of a body that nothing looks at. What tells a good page from a bad
// one is in its header X-State and at its end.
func page(state string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-State", state)
		_, _ = fmt.Fprintf(w, `{"filler": %q, "state": %q}`, strings.Repeat(".", 4<<10), state)
	}
}

// TestEveryExpectation takes each field of Expectations to a target that meets it and to one that does not. One that is
// forgotten where it is judged is never unmet, and one that asksForBody forgets is never met at the end of a page; one
// that tcp takes must be looked at there too.
func TestEveryExpectation(t *testing.T) {
	t.Parallel()
	const limit = 2 * time.Second
	up, down := serve(t, page("up")), serve(t, page("down"))
	late := serve(t, func(http.ResponseWriter, *http.Request) { time.Sleep(limit + limit/20) })
	rows := map[string]struct {
		expectations probe.Expectations // of this field alone
		met, unmet   string             // URLs
		outcome      uptime.Outcome     // of the unmet
		tcp          string             // a URL of tcp that does not meet it; empty: it is not for tcp
	}{
		"regexps": {
			expectations: probe.Expectations{Regexps: []string{`"up"`}},
			met:          up, unmet: down, outcome: uptime.RegexpMismatch,
		},
		"header_regexps": {
			expectations: probe.Expectations{HeaderRegexps: map[string]string{"X-State": "up"}},
			met:          up, unmet: down, outcome: uptime.HeaderMismatch,
		},
		"json": {
			expectations: probe.Expectations{JSON: []probe.JSONExpectation{{Path: "$.state", Op: probe.OpEquals, Value: "up"}}},
			met:          up, unmet: down, outcome: uptime.JSONMismatch,
		},
		"max_total_ms": {
			expectations: probe.Expectations{MaxTotalMS: int(limit.Milliseconds())},
			met:          up, unmet: late, outcome: uptime.TooSlow, tcp: hostile.As("tcp", late),
		},
		"degraded_after_ms": {
			expectations: probe.Expectations{DegradedAfterMS: int(limit.Milliseconds())},
			met:          up, unmet: late, outcome: uptime.OKSlow, tcp: hostile.As("tcp", late),
		},
		"certificate_days": {
			expectations: probe.Expectations{CertificateDays: 30},
			met:          validFor(t, 60), unmet: validFor(t, 20), outcome: uptime.TLSExpiresSoon,
		},
	}
	for i, field := range fieldsOf[probe.Expectations]() {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			row, known := rows[field]
			require.True(t, known, "the field has no row in this test")
			requireOnly(t, i, row.expectations)
			set := expecting(row.expectations)
			lenient := func(target *probe.Target) { target.Request.TLSSkipVerify = true }

			met := probeURL(t, row.met, lenient, set)
			require.Equal(t, uptime.OK, met.Outcome, met.Error)
			require.Len(t, met.Expectations, 2, "the status and this one")
			unmet := probeURL(t, row.unmet, lenient, set)
			require.Equal(t, row.outcome, unmet.Outcome, unmet.Error)

			require.Equal(t, row.tcp != "", takenByTCP(field, set), "tcp takes what this test does not show to be judged there")
			if row.tcp != "" {
				unmet = probeURL(t, row.tcp, set, func(target *probe.Target) {
					target.Request.Body, target.Regexp = "GET / HTTP/1.0\r\n\r\n", "200 OK"
				})
				require.Equal(t, row.outcome, unmet.Outcome, unmet.Error)
			}
		})
	}
	require.Len(t, rows, reflect.TypeFor[probe.Expectations]().NumField())
}

// TestEveryRequest asks targets that want to be asked by one field of Request, without it and with it.
func TestEveryRequest(t *testing.T) {
	t.Parallel()
	wants := func(wanted func(r *http.Request) bool) string {
		return serve(t, func(w http.ResponseWriter, r *http.Request) {
			if !wanted(r) {
				w.WriteHeader(http.StatusBadRequest)
			}
		})
	}
	byHTTP2 := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	byHTTP2.EnableHTTP2 = true
	byHTTP2.StartTLS()
	t.Cleanup(byHTTP2.Close)
	trusted := httptest.NewTLSServer(answer("hello"))
	t.Cleanup(trusted.Close)
	wantsCertificate, ca := hostile.WantsClientTLS(t)
	certificate, key := hostile.ClientPEM(t)
	plain := serve(t, answer("hello"))

	rows := map[string]struct {
		request       probe.Request       // of this field alone
		also          func(*probe.Target) // what there is without it, too
		url           string
		without, with uptime.Outcome
		tcp           string // a URL of tcp of which "with" is true, if it says something; empty: it is not for tcp
	}{
		"headers": {
			request: probe.Request{Headers: map[string]string{"X-Team": "shop"}},
			url:     wants(func(r *http.Request) bool { return r.Header.Get("X-Team") == "shop" }),
			without: uptime.StatusMismatch, with: uptime.OK,
		},
		"body": {
			request: probe.Request{Body: "ping\n"},
			also:    method(http.MethodPost),
			url: wants(func(r *http.Request) bool {
				body, _ := io.ReadAll(r.Body)
				return string(body) == "ping\n"
			}),
			without: uptime.StatusMismatch, with: uptime.OK, tcp: hostile.Talk(t, "", "pong\n"),
		},
		"basic_username": {
			request: probe.Request{BasicUsername: "ann"},
			url: wants(func(r *http.Request) bool {
				user, _, _ := r.BasicAuth()
				return user == "ann"
			}),
			without: uptime.StatusMismatch, with: uptime.OK,
		},
		"user_agent": {
			request: probe.Request{UserAgent: "Shop/1"},
			url:     wants(func(r *http.Request) bool { return r.UserAgent() == "Shop/1" }),
			without: uptime.StatusMismatch, with: uptime.OK,
		},
		"host_override": {
			request: probe.Request{HostOverride: "shop.example"},
			url:     wants(func(r *http.Request) bool { return r.Host == "shop.example" }),
			without: uptime.StatusMismatch, with: uptime.OK,
		},
		"http2": {
			request: probe.Request{HTTP2: true},
			also: func(target *probe.Target) {
				target.Request.CAPEM = hostile.CertificatePEM(byHTTP2.Certificate())
			},
			url:     byHTTP2.URL + "/",
			without: uptime.StatusMismatch, with: uptime.OK,
		},
		"ip_version": {
			request: probe.Request{IPVersion: 6},
			url:     plain, // by an address of version 4
			without: uptime.OK, with: uptime.DNSEmpty, tcp: hostile.As("tcp", plain),
		},
		"tls_skip_verify": {
			request: probe.Request{TLSSkipVerify: true},
			url:     hostile.UntrustedTLS(t),
			without: uptime.TLSUntrusted, with: uptime.OK,
		},
		"ca_pem": {
			request: probe.Request{CAPEM: hostile.CertificatePEM(trusted.Certificate())},
			url:     trusted.URL + "/",
			without: uptime.TLSUntrusted, with: uptime.OK,
		},
		"client_certificate_pem": {
			request: probe.Request{ClientCertPEM: certificate},
			also: func(target *probe.Target) {
				target.Request.CAPEM, target.Secrets.ClientKeyPEM = ca, key
			},
			url:     wantsCertificate,
			without: uptime.TLSProtocol, with: uptime.OK,
		},
	}
	for i, field := range fieldsOf[probe.Request]() {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			row, known := rows[field]
			require.True(t, known, "the field has no row in this test")
			requireOnly(t, i, row.request)
			set := func(target *probe.Target) {
				reflect.ValueOf(&target.Request).Elem().Field(i).Set(reflect.ValueOf(row.request).Field(i))
			}
			also := func(target *probe.Target) {
				if row.also != nil {
					row.also(target)
				}
			}

			without := probeURL(t, row.url, also)
			require.Equal(t, row.without, without.Outcome, without.Error)
			with := probeURL(t, row.url, also, set)
			require.Equal(t, row.with, with.Outcome, with.Error)

			require.Equal(t, row.tcp != "", takenByTCP(field, set), "tcp takes what this test does not show to be said there")
			if row.tcp != "" {
				with = probeURL(t, row.tcp, set, func(target *probe.Target) { target.Regexp = "." })
				require.Equal(t, row.with, with.Outcome, with.Error)
			}
		})
	}
	require.Len(t, rows, reflect.TypeFor[probe.Request]().NumField())
}

// fieldsOf names the fields of a struct as the API does.
func fieldsOf[T any]() (names []string) {
	for field := range reflect.TypeFor[T]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// requireOnly fails unless a struct's field with this index is set, and no other.
func requireOnly(t *testing.T, i int, structure any) {
	t.Helper()
	value := reflect.ValueOf(structure)
	for j := range value.NumField() {
		require.Equal(t, i != j, value.Field(j).IsZero(), value.Type().Field(j).Name)
	}
}

// takenByTCP reports whether a target of tcp may have a field that is set.
func takenByTCP(field string, set func(*probe.Target)) bool {
	return !slices.Contains(errorsOf("tcp://a.example:9000", set), field+" field_not_for_scheme")
}

// validFor gives a server whose certificate is valid for so many days.
func validFor(t *testing.T, days int) string {
	t.Helper()
	return hostile.TLS(t, &x509.Certificate{NotAfter: time.Now().AddDate(0, 0, days)})
}
