package httpapi_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// shown is what a client sees of what a monitor asks and expects, spelled out anew so that a renamed field is noticed.
type shown struct {
	Headers          map[string]string `json:"headers"`
	SecretHeaders    []string          `json:"secret_headers"`
	Body             *string           `json:"body"`
	BasicUsername    *string           `json:"basic_username"`
	BasicPasswordSet bool              `json:"basic_password_set"`
	BearerTokenSet   bool              `json:"bearer_token_set"`
	UserAgent        *string           `json:"user_agent"`
	HostOverride     *string           `json:"host_override"`
	HTTP2            bool              `json:"http2"`
	IPVersion        *int              `json:"ip_version"`
	TLSSkipVerify    bool              `json:"tls_skip_verify"`
	CAPEM            *string           `json:"ca_pem"`
	ClientCertPEM    *string           `json:"client_certificate_pem"`
	ClientKeySet     bool              `json:"client_key_set"`
	Regexps          []string          `json:"regexps"`
	HeaderRegexps    map[string]string `json:"header_regexps"`
	JSON             []map[string]any  `json:"json"`
	MaxTotalMS       *int              `json:"max_total_ms"`
	DegradedAfterMS  *int              `json:"degraded_after_ms"`
	CertificateDays  int               `json:"certificate_days"`
}

// nothing is what is shown of a monitor of which only the URL is given.
func nothing() shown {
	return shown{
		Headers: map[string]string{}, SecretHeaders: []string{}, Regexps: []string{}, HeaderRegexps: map[string]string{},
		JSON: []map[string]any{},
	}
}

func (a answer) shown() shown {
	a.t.Helper()
	require.Contains(a.t, []int{http.StatusOK, http.StatusCreated}, a.status, a.raw)
	var s shown
	a.into(&s)
	return s
}

// newKeyPair makes a certificate and its key, in PEM.
func newKeyPair(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

func encoded(t *testing.T, value any) string {
	t.Helper()
	body, err := json.Marshal(value)
	require.NoError(t, err)
	return string(body)
}

func TestWhatAMonitorAsksAndExpects(t *testing.T) {
	t.Parallel()
	certificate, key := newKeyPair(t)
	everything := encoded(t, map[string]any{
		"url": "https://example.com/", "method": "POST",
		"headers": map[string]any{"Accept": "text/html", "X-Api-Key": "k", "Cookie": "c", "X-Gone": nil},
		"body":    "ping", "basic_username": "me", "basic_password": "p", "user_agent": "UA/1", "host_override": "shop.example:8443",
		"http2": true, "ip_version": 6, "tls_skip_verify": true, "ca_pem": certificate, "client_certificate_pem": certificate,
		"client_key_pem": key, "regexps": []string{"a", "b"}, "header_regexps": map[string]any{"Content-Type": "^text/"},
		"json": []map[string]any{
			{"path": "$.status", "op": "equals", "value": "ok"},
			{"path": "$.n", "op": "greater", "value": 1.5},
			{"path": "$.x", "op": "exists"},
			{"path": "$.none", "op": "equals", "value": nil},
			{"path": "$.yes", "op": "not_equals", "value": true},
		},
		"max_total_ms": 3000, "degraded_after_ms": 1000, "certificate_days": 14,
	})
	want := shown{
		Headers: map[string]string{"Accept": "text/html"}, SecretHeaders: []string{"Cookie", "X-Api-Key"}, Body: new("ping"),
		BasicUsername: new("me"), BasicPasswordSet: true, UserAgent: new("UA/1"), HostOverride: new("shop.example:8443"),
		HTTP2: true, IPVersion: new(6), TLSSkipVerify: true, CAPEM: &certificate, ClientCertPEM: &certificate, ClientKeySet: true,
		Regexps: []string{"a", "b"}, HeaderRegexps: map[string]string{"Content-Type": "^text/"},
		JSON: []map[string]any{
			{"path": "$.status", "op": "equals", "value": "ok"},
			{"path": "$.n", "op": "greater", "value": 1.5},
			{"path": "$.x", "op": "exists"},
			{"path": "$.none", "op": "equals"},
			{"path": "$.yes", "op": "not_equals", "value": true},
		},
		MaxTotalMS: new(3000), DegradedAfterMS: new(1000), CertificateDays: 14,
	}

	t.Run("OfWhichNothingIsSaid", func(t *testing.T) {
		t.Parallel()
		a := newTestAPI(t)
		require.Equal(t, nothing(), a.post(monitorsPath, `{"url":"https://example.com/"}`).shown())
		require.Zero(t, a.count(`SELECT count(*) FROM monitor_secrets`))
		require.Equal(t, 1, a.count(`SELECT count(*) FROM monitors WHERE request = '{}' AND expectations = '{}'`))
	})

	t.Run("IsKeptAndShownWithoutSecrets", func(t *testing.T) {
		t.Parallel()
		a := newTestAPI(t)
		created := a.post(monitorsPath, everything)
		require.Equal(t, want, created.shown())
		require.Equal(t, want, a.get(created.header.Get("Location")).shown())
		require.Equal(t, 1, created.monitor().Version)
		require.Equal(t, 1, a.count(`SELECT count(*) FROM monitor_secrets`))

		again := a.post(upsert, everything)
		require.Equal(t, 1, again.monitor().Version, "the same again changes nothing")
		require.Equal(t, want, again.shown())
	})

	t.Run("IsShownInOneOrder", func(t *testing.T) {
		t.Parallel()
		a := newTestAPI(t)
		headers := `"headers":{"A":"1","B":"2","C":"3","D":"4","E":"5","F":"6","G":"7","H":"8"}`
		require.Contains(t, a.post(monitorsPath, `{"url":"https://example.com/",`+headers+`}`).raw, headers)
	})

	t.Run("NullGivesEachItsDefault", func(t *testing.T) {
		t.Parallel()
		a := newTestAPI(t)
		path := a.post(monitorsPath, everything).header.Get("Location")
		var nulls []string
		for _, field := range []string{
			"headers", "body", "basic_username", "basic_password", "bearer_token", "user_agent", "host_override", "http2",
			"ip_version", "tls_skip_verify", "ca_pem", "client_certificate_pem", "client_key_pem", "regexps", "header_regexps",
			"json", "max_total_ms", "degraded_after_ms", "certificate_days",
		} {
			nulls = append(nulls, fmt.Sprintf("%q:null", field))
		}
		require.Equal(t, nothing(), a.patch(path, "{"+strings.Join(nulls, ",")+"}").shown())
		require.Zero(t, a.count(`SELECT count(*) FROM monitor_secrets`))
	})

	t.Run("AChangeLeavesWhatItDoesNotName", func(t *testing.T) {
		t.Parallel()
		a := newTestAPI(t)
		created := a.post(monitorsPath, everything)
		path := created.header.Get("Location")
		require.Equal(t, want, a.patch(path, `{"headers":{},"header_regexps":{}}`).shown())
		require.Equal(t, 1, a.get(path).monitor().Version)

		next := want
		next.Headers = map[string]string{"accept": "*/*", "X-New": "n"}
		next.SecretHeaders = []string{"X-Api-Key", "X-Token"}
		next.HeaderRegexps = map[string]string{"Server": "x"}
		changed := a.patch(path, `{"headers":{"accept":"*/*","COOKIE":null,"X-New":"n","X-Token":"t","X-None":null},
			"header_regexps":{"content-type":null,"Server":"x"}}`)
		require.Equal(t, next, changed.shown())
		require.Equal(t, 2, changed.monitor().Version)
		require.JSONEq(t, `{"X-Api-Key":"k","X-Token":"t"}`, a.secrets("headers"))

		renewed := a.patch(path, `{"headers":{"X-Token":"u"}}`)
		require.Equal(t, 3, renewed.monitor().Version, "another secret is another configuration")
		require.JSONEq(t, `{"X-Api-Key":"k","X-Token":"u"}`, a.secrets("headers"))
		require.Equal(t, next, renewed.shown())

		paused := a.post(path+"/pause", "")
		require.Equal(t, next, paused.shown(), "and pausing loses no secret")
		require.JSONEq(t, `{"X-Api-Key":"k","X-Token":"u"}`, a.secrets("headers"))
	})

	t.Run("ItIsChecked", func(t *testing.T) {
		t.Parallel()
		a := newTestAPI(t)
		for body, want := range map[string]map[string]string{
			`"headers":{"X-A":1}`:                                      {"body.headers.X-A": "json_type"},
			`"headers":["X-A"]`:                                        {"body.headers": "json_type"},
			`"headers":{"X-A":"1","X-A":"2"}`:                          {"body.headers.X-A": "json_duplicate_field"},
			`"headers":{"X-A":"1","x-a":"2"}`:                          {"body.headers.x-a": "header_duplicate"},
			`"headers":{"Host":"x"}`:                                   {"body.headers.Host": "header_reserved"},
			`"body":"x"`:                                               {"body.body": "body_not_allowed"},
			`"ip_version":5`:                                           {"body.ip_version": "value_unknown"},
			`"basic_username":"a","bearer_token":"b"`:                  {"body.bearer_token": "auth_conflict"},
			`"client_key_pem":"x"`:                                     {"body.client_certificate_pem": "pem_invalid"},
			`"ca_pem":"x"`:                                             {"body.ca_pem": "pem_invalid"},
			`"host_override":"a b"`:                                    {"body.host_override": "host_override_invalid"},
			`"regexps":["("]`:                                          {"body.regexps[0]": "regexp_invalid"},
			`"header_regexps":{"X":"("}`:                               {"body.header_regexps.X": "regexp_invalid"},
			`"json":[{"path":"$..x","op":"exists"}]`:                   {"body.json[0].path": "json_path_invalid"},
			`"json":[{"path":"$.x","op":"is"}]`:                        {"body.json[0].op": "value_unknown"},
			`"json":[{"path":"$.x"}]`:                                  {"body.json[0].op": "field_required"},
			`"json":[{"path":"$.x","op":"exists","bogus":1}]`:          {"body.json[0].bogus": "json_unknown_field"},
			`"json":[{"path":"$.x","op":"less","value":true}]`:         {"body.json[0].value": "json_value_invalid"},
			`"json":[{"path":"$.x","op":"equals","value":{"a":1}}]`:    {"body.json[0].value": "json_value_invalid"},
			`"json":[{"path":"$.x","op":"equals","value":"a\u0000b"}]`: {"body.json[0].value": "json_value_invalid"},
			`"max_total_ms":0`:                                         {"body.max_total_ms": "max_total_range"},
			`"max_total_ms":2000,"timeout_ms":1000`:                    {"body.max_total_ms": "max_total_range"},
			`"degraded_after_ms":30001`:                                {"body.degraded_after_ms": "degraded_after_range"},
			`"certificate_days":826`:                                   {"body.certificate_days": "certificate_days_range"},
			`"user_agent":"a\u0000b"`:                                  {"body.user_agent": "header_value"},
			`"regexp":"x","method":"HEAD"`:                             {"body.regexp": "regexp_without_body"},
		} {
			answer := a.post(monitorsPath, `{"url":"https://example.com/",`+body+`}`)
			require.Equal(t, http.StatusBadRequest, answer.status, "%s: %s", body, answer.raw)
			got := answer.codes()
			for location, code := range want {
				require.Equal(t, code, got[location], "%s: %v", body, got)
			}
			require.Len(t, got, len(want), "%s: %v", body, got)
		}
		tcp := a.post(monitorsPath, `{"url":"tcp://example.com:9000","method":"POST","http2":true}`)
		require.Equal(t, map[string]string{"body.method": "field_not_for_scheme", "body.http2": "field_not_for_scheme"}, tcp.codes())
		require.Zero(t, a.count(`SELECT count(*) FROM monitors`))
	})

	t.Run("OtherSchemes", func(t *testing.T) {
		t.Parallel()
		a := newTestAPI(t)
		for _, url := range []string{
			"tcp://example.com:9000", "tls://example.com:8883", "dns://9.9.9.9/example.com?type=MX", "icmp://example.com",
			"wss://example.com/feed", "grpc://example.com:50051/shop.Cart",
		} {
			created := a.create(fmt.Sprintf(`{"url":%q}`, url))
			require.Equal(t, url, created.URL)
			require.NotEmpty(t, created.Name)
		}
	})
}

// secrets gives a member of the only secrets that there are.
func (a *testAPI) secrets(member string) (text string) {
	a.t.Helper()
	require.NoError(a.t, a.pool.QueryRow(a.t.Context(), "SELECT secrets ->> $1 FROM monitor_secrets", member).Scan(&text))
	return text
}

// What is secret leaves the database for the target alone.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	const canary = "canary7f3b"
	certificate, key := newKeyPair(t)
	requests := make(chan *http.Request, 100)
	target := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		w.WriteHeader(http.StatusTeapot) // so that an excerpt is kept, of what echoes the secrets
		_, _ = fmt.Fprintf(w, "you said %v %s", r.Header, r.Header.Get("X-Api-Key"))
	}))
	target.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	target.StartTLS()
	t.Cleanup(target.Close)
	a := newTestAPI(t, "127.0.0.0/8")
	startWorker(t, a)

	var answers []string
	create := func(fields map[string]any) string {
		fields["url"], fields["tls_skip_verify"] = target.URL+"/"+fmt.Sprint(len(answers)), true
		fields["headers"] = map[string]string{"X-Api-Key": canary + "-header", "Accept": "*/*"}
		fields["client_certificate_pem"], fields["client_key_pem"] = certificate, key
		answer := a.post(monitorsPath, encoded(t, fields))
		require.Equal(t, http.StatusCreated, answer.status, answer.raw)
		answers = append(answers, answer.raw)
		return answer.header.Get("Location")
	}
	basic := create(map[string]any{"basic_username": "me", "basic_password": canary + "-password"})
	bearer := create(map[string]any{"bearer_token": canary + "-token"})

	for _, path := range []string{basic, bearer} {
		for _, answer := range []answer{
			a.post(path+"/scan", ""), a.get(path), a.get(path + "/scans"), a.get(monitorsPath), a.get(path + "/certificates"),
			a.patch(path, `{"name":"x"}`), a.post(path+"/pause", ""), a.post(path+"/resume", ""),
			a.post(upsert, encoded(t, map[string]any{"url": target.URL, "bearer_token": canary + "\n"})),
			a.patch(path, encoded(t, map[string]any{"client_key_pem": canary, "headers": map[string]string{"X-Key": canary + "\x00"}})),
			a.post(monitorsPath, `{"url":"https://example.com/","bearer_token":["`+canary+`"]}`),
		} {
			require.Less(t, answer.status, 500, answer.raw)
			answers = append(answers, answer.raw)
		}
	}
	first := <-requests
	require.Equal(t, canary+"-header", first.Header.Get("X-Api-Key"), "the target has it")
	require.NotEmpty(t, first.Header.Get("Authorization"))
	require.Len(t, first.TLS.PeerCertificates, 1)
	require.Contains(t, strings.Join(answers, "\n"), "you said", "the excerpt is shown")
	sent := base64.StdEncoding.EncodeToString([]byte("me:" + canary + "-password"))
	require.Contains(t, strings.Join(answers, "\n"), "[Basic …]", "an echo of it is hidden as it was sent")

	for place, text := range map[string]string{
		"answers":  strings.Join(answers, "\n"),
		"log":      a.log.String(),
		"jobs":     a.dump(`SELECT coalesce(string_agg(j::text, E'\n'), '') FROM river_job AS j`),
		"scans":    a.dump(`SELECT coalesce(string_agg(l::text, E'\n'), '') FROM monitor_log AS l`),
		"monitors": a.dump(`SELECT string_agg(m::text, E'\n') FROM monitors AS m`),
	} {
		require.NotContains(t, text, canary, place)
		require.NotContains(t, text, sent, place)
		require.NotContains(t, text, "PRIVATE KEY", place)
	}
}

// dump runs a query for one text.
func (a *testAPI) dump(query string) (text string) {
	a.t.Helper()
	require.NoError(a.t, a.pool.QueryRow(a.t.Context(), query).Scan(&text))
	return text
}

// Whoever may change a monitor must not be able to read its secrets by pointing it at a host of his own.
func TestSecretsDoNotFollowToAnotherOrigin(t *testing.T) {
	t.Parallel()
	certificate, key := newKeyPair(t)
	a := newTestAPI(t)
	secrets := map[string]map[string]any{ // by the place of the error
		"body.basic_password":    {"basic_username": "me", "basic_password": "s3cret"},
		"body.bearer_token":      {"bearer_token": "s3cret"},
		"body.client_key_pem":    {"client_certificate_pem": certificate, "client_key_pem": key},
		"body.headers.X-Api-Key": {"headers": map[string]any{"X-Api-Key": "s3cret"}},
		"body.headers.Cookie":    {"headers": map[string]any{"Cookie": "s3cret"}},
	}
	elsewhere := map[string]map[string]any{
		"scheme":        {"url": "wss://origin.example:8443/%d"},
		"host":          {"url": "https://attacker.example:8443/%d"},
		"port":          {"url": "https://origin.example:9443/%d"},
		"host_override": {"host_override": "attacker.example"},
	}
	n := 0
	for location, secret := range secrets {
		for change, patch := range elsewhere {
			n++
			create := map[string]any{"url": fmt.Sprintf("https://origin.example:8443/%d", n)}
			maps.Copy(create, secret)
			path := a.post(monitorsPath, encoded(t, create)).header.Get("Location")
			was := a.fields(path)
			moved := map[string]any{}
			for field, value := range patch {
				moved[field] = value
				if field == "url" {
					moved[field] = fmt.Sprintf(value.(string), n) //nolint:forcetypeassert // above
				}
			}

			refused := a.patch(path, encoded(t, moved))
			require.Equal(t, http.StatusBadRequest, refused.status, "%s %s: %s", change, location, refused.raw)
			require.Equal(t, map[string]string{location: "secrets_needed"}, refused.codes(), change)
			require.Equal(t, was, a.fields(path), "nothing is changed")

			anew := maps.Clone(moved)
			maps.Copy(anew, secret)
			require.Equal(t, http.StatusOK, a.patch(path, encoded(t, anew)).status, "given anew")
			back := map[string]any{"url": create["url"], "host_override": nil}
			require.Equal(t, "secrets_needed", a.patch(path, encoded(t, back)).codes()[location], "nor does it come back")
			for field, value := range secret {
				back[field] = nil
				if headers, ok := value.(map[string]any); ok {
					dropped := map[string]any{}
					for name := range headers {
						dropped[strings.ToUpper(name)] = nil
					}
					back[field] = dropped
				}
			}
			dropped := a.patch(path, encoded(t, back))
			require.Equal(t, http.StatusOK, dropped.status, dropped.raw)
			require.Empty(t, a.fields(path)["secret_headers"])
		}
	}

	// The same place is no other one, however it is spelled, and nor is another path.
	path := a.post(monitorsPath, `{"url":"https://same.example/","bearer_token":"s3cret"}`).header.Get("Location")
	for _, url := range []string{"HTTPS://Same.Example:443/", "https://same.example/other?page=2"} {
		require.Equal(t, http.StatusOK, a.patch(path, encoded(t, map[string]any{"url": url})).status, url)
	}

	// What replaces a monitor whole has the secrets that it brings and no others: by its key, in bulk, and revived.
	const keyed = `{"url":"https://%s.example/","key":"moved"%s}`
	first := a.create(fmt.Sprintf(keyed, "origin", `,"bearer_token":"s3cret","headers":{"Cookie":"c"}`))
	require.Equal(t, 1, a.count("SELECT count(*) FROM monitor_secrets WHERE monitor_id = $1", first.ID))
	require.Equal(t, first.ID, a.post(upsert, fmt.Sprintf(keyed, "attacker", "")).monitor().ID)
	require.Zero(t, a.count("SELECT count(*) FROM monitor_secrets WHERE monitor_id = $1", first.ID))
	a.post(upsert, fmt.Sprintf(keyed, "origin", `,"bearer_token":"s3cret"`))
	a.post(monitorsPath+"/bulk?if_exists=update", `{"monitors":[`+fmt.Sprintf(keyed, "attacker", "")+`]}`)
	require.Zero(t, a.count("SELECT count(*) FROM monitor_secrets WHERE monitor_id = $1", first.ID))
	a.post(upsert, fmt.Sprintf(keyed, "origin", `,"bearer_token":"s3cret"`))
	a.send(http.MethodDelete, fmt.Sprintf("%s/%d", monitorsPath, first.ID), "")
	require.Equal(t, first.ID, a.create(fmt.Sprintf(keyed, "attacker", "")).ID)
	require.Zero(t, a.count("SELECT count(*) FROM monitor_secrets WHERE monitor_id = $1", first.ID))
}

func TestListCertificates(t *testing.T) {
	t.Parallel()
	target := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(target.Close)
	a := newTestAPI(t, "127.0.0.0/8")
	startWorker(t, a)
	path := fmt.Sprintf("%s/%d", monitorsPath, a.create(fmt.Sprintf(`{"url":%q}`, target.URL)).ID)
	type page struct {
		Data []struct {
			Fingerprint string    `json:"fingerprint"`
			FirstSeenAt time.Time `json:"first_seen_at"`
			Subject     string    `json:"subject"`
			Issuer      string    `json:"issuer"`
			Names       []string  `json:"names"`
			NotBefore   time.Time `json:"not_before"`
			NotAfter    time.Time `json:"not_after"`
		} `json:"data"`
	}
	list := func() (p page) {
		answer := a.get(path + "/certificates")
		require.Equal(t, http.StatusOK, answer.status, answer.raw)
		answer.into(&p)
		return p
	}

	for range 2 { // though its certificate is trusted by nobody
		require.Contains(t, a.post(path+"/scan", "").raw, "tls_untrusted")
	}
	got := list()
	require.Len(t, got.Data, 1, "recorded once, not per scan")
	leaf := target.Certificate()
	require.Equal(t, leaf.NotAfter.UTC(), got.Data[0].NotAfter)
	require.Equal(t, "O=Acme Co", got.Data[0].Subject)
	require.Contains(t, got.Data[0].Names, "127.0.0.1")
	require.Len(t, got.Data[0].Fingerprint, 64)
	require.WithinDuration(t, time.Now(), got.Data[0].FirstSeenAt, time.Minute)

	_, err := a.pool.Exec(t.Context(), `INSERT INTO monitor_certificates
		SELECT monitor_id, 'other', subject, issuer, '{}', not_before, not_after, first_seen_at + interval '1 hour'
		FROM monitor_certificates`)
	require.NoError(t, err)
	newest := list()
	require.Len(t, newest.Data, 2)
	require.Equal(t, "other", newest.Data[0].Fingerprint)
	require.Contains(t, a.get(path+"/certificates").raw, `"names":[]`)
}
