package main

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
)

// checkTarget tells what it was asked, redirects from /from, and is bad at /bad.
func checkTarget(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/from":
		http.Redirect(w, r, "/via?token=s3cret", http.StatusFound)
		return
	case "/via":
		http.Redirect(w, r, "/to", http.StatusMovedPermanently)
		return
	case "/bad":
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, "<h1>Down</h1>\n\x1b[31mred "+r.Header.Get("X-Api-Key")+"\n\n")
		return
	}
	body, _ := io.ReadAll(r.Body)
	user, password, _ := r.BasicAuth()
	w.Header().Set("Content-Type", "application/json")
	answer, _ := json.Marshal(map[string]any{ //nolint:errchkjson // strings, a number and a boolean
		"method": r.Method, "host": r.Host, "body": string(body), "user": user, "password": password, "n": 3,
		"bearer": strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), "agent": r.UserAgent(),
		"accept": r.Header.Get("Accept"), "a == b": true,
	})
	_, _ = w.Write(answer)
}

// check runs the command where loopback is allowed, and gives what it prints and the code it exits with.
func check(t *testing.T, environment map[string]string, args ...string) (stdout string, code int) {
	t.Helper()
	stdout, _, err := command(t.Context(), environment, append([]string{"check", "--allow-cidr", "127.0.0.0/8"}, args...)...)
	if err != nil {
		code = exitCode(err)
	}
	return stdout, code
}

func checkJSON(t *testing.T, environment map[string]string, args ...string) (output checkOutput, code int) {
	t.Helper()
	stdout, code := check(t, environment, append(args, "--json")...)
	require.NoError(t, json.Unmarshal([]byte(stdout), &output), stdout)
	return output, code
}

func TestCheckAsks(t *testing.T) {
	t.Parallel()
	target := httptest.NewServer(http.HandlerFunc(checkTarget))
	t.Cleanup(target.Close)
	secrets := map[string]string{"RIVERWATCH_CHECK_PASSWORD": "hidden", "RIVERWATCH_CHECK_TOKEN": "t0ken"}
	resolver := hostile.DNS(t, map[string][]string{"target.example": {"127.0.0.1"}}).String()
	byName := strings.Replace(target.URL, "127.0.0.1", "target.example", 1)
	for name, args := range map[string][]string{
		"AsAGetByDefault":     {"--json-path", `$.method == "GET"`, "--json-path", `$.body == ""`},
		"WithAMethod":         {"-X", "DELETE", "--json-path", `$.method == "DELETE"`},
		"WithABody":           {"-d", "x=1", "--json-path", `$.method == "POST"`, "--json-path", `$.body == "x=1"`},
		"WithABodyAndAMethod": {"-X", "PUT", "--body", "x", "--json-path", `$.method == "PUT"`},
		"WithHeaders":         {"-H", "Accept: text/x", "-H", "X-Other:y", "--json-path", `$.accept == "text/x"`},
		"WithAHost":           {"--host", "shop.example", "--json-path", `$.host == "shop.example"`},
		"WithAUserAgent":      {"-A", "me/1", "--json-path", `$.agent == "me/1"`},
		"WithAPassword":       {"--basic", "u:p:q", "--json-path", `$.password == "p:q"`},
		"WithAHiddenPassword": {"--basic", "u:-", "--json-path", `$.password == "hidden"`, "--json-path", `$.user == "u"`},
		"WithAToken":          {"--bearer", "abc", "--json-path", `$.bearer == "abc"`},
		"WithAHiddenToken":    {"--bearer", "-", "--json-path", `$.bearer == "t0ken"`},
		"OverIPv4":            {"-4"},
		"AndComparesNumbers":  {"--json-path", "$.n >= 3", "--json-path", "$.n < 4", "--json-path", "$.n != 4", "--json-path", "$.n <= 3", "--json-path", "$.n > 2.5"},
		"AndLooksForValues":   {"--json-path", "$.n", "--json-path", `$["a == b"]`, "--json-path", `$['a == b'] == true`},
		"AndTakesStatuses":    {"--status", "200,404", "--status", "500-599"},
		"AndMatchesAll":       {"--regexp", "method", "--regexp", "GET"},
		"AndMatchesNot":       {"--regexp", "nonsense", "--regexp-invert"},
		"AndMatchesHeaders":   {"--header-regexp", "Content-Type: ^application/json$"},
		"AndMeasures":         {"--max-total", "5s", "--degraded-after", "4s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			output, code := checkJSON(t, secrets, append(args, target.URL)...)
			require.Zero(t, code, "%+v", output)
			require.Equal(t, "ok", string(output.Outcome))
		})
	}

	t.Run("AResolverOfItsOwn", func(t *testing.T) {
		t.Parallel()
		output, code := checkJSON(t, nil, "--resolver", resolver, byName)
		require.Zero(t, code, "%+v", output)
		require.NotNil(t, output.DNSMS)
	})
}

func TestCheckOverTLS(t *testing.T) {
	t.Parallel()
	target := httptest.NewUnstartedServer(http.HandlerFunc(checkTarget))
	target.EnableHTTP2 = true
	target.StartTLS()
	t.Cleanup(target.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	raw := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: target.Certificate().Raw})
	require.NoError(t, os.WriteFile(ca, raw, 0o600))

	output, code := checkJSON(t, nil, target.URL)
	require.Equal(t, exitFailed, code)
	require.Equal(t, "tls_untrusted", string(output.Outcome))
	require.Nil(t, output.HTTPVersion)

	output, code = checkJSON(t, nil, "--ca", ca, "--http2", "--certificate-days", "30", target.URL)
	require.Zero(t, code, "%+v", output)
	require.Equal(t, "HTTP/2.0", *output.HTTPVersion)
	leaf := target.Certificate()
	require.Equal(t, "O=Acme Co", output.Certificate.Subject)
	require.True(t, leaf.NotAfter.Equal(output.Certificate.NotAfter))
	require.Equal(t, int(time.Until(leaf.NotAfter).Hours()/24), output.Certificate.DaysLeft)
	require.Contains(t, output.Certificate.Names, "127.0.0.1")

	_, code = check(t, nil, "--insecure", target.URL)
	require.Zero(t, code)
}

func TestCheckPrintsJSON(t *testing.T) {
	t.Parallel()
	target := httptest.NewServer(http.HandlerFunc(checkTarget))
	t.Cleanup(target.Close)

	t.Run("EveryField", func(t *testing.T) {
		t.Parallel()
		stdout, code := check(t, nil, "--json", "-H", "X-Api-Key: s3cret-key", target.URL+"/bad")
		require.Equal(t, exitFailed, code)
		require.NotContains(t, stdout, "s3cret-key", "an echo of what is secret")
		var got map[string]any
		require.NoError(t, json.Unmarshal([]byte(stdout), &got))
		var names []string
		for name := range got {
			names = append(names, name)
		}
		require.ElementsMatch(t, []string{
			"url", "outcome", "good", "http_status", "http_version", "regexp_matched", "error", "remote_ip", "body_bytes",
			"dns_ms", "connect_ms", "tls_ms", "wait_ms", "transfer_ms", "total_ms", "redirects", "certificate", "expectations",
			"body_excerpt",
		}, names)
		require.Equal(t, "status_mismatch", got["outcome"])
		require.Equal(t, false, got["good"])
		require.InDelta(t, 500, got["http_status"], 0)
		require.Equal(t, "HTTP/1.1", got["http_version"])
		require.Equal(t, "127.0.0.1", got["remote_ip"])
		for _, name := range []string{"dns_ms", "tls_ms", "regexp_matched", "certificate"} {
			require.Nil(t, got[name], name)
		}
		require.Equal(t, []any{}, got["redirects"])
		require.Equal(t, []any{map[string]any{"name": "status", "want": "200-299", "found": "500", "met": false}}, got["expectations"])
		require.Contains(t, got["body_excerpt"], "<h1>Down</h1>")
	})

	t.Run("Redirects", func(t *testing.T) {
		t.Parallel()
		output, code := checkJSON(t, nil, target.URL+"/from")
		require.Zero(t, code)
		require.Equal(t, []redirectOutput{{302, target.URL + "/via?…"}, {301, target.URL + "/to"}}, output.Redirects)
		output, code = checkJSON(t, nil, "--max-redirects", "0", "--status", "302", target.URL+"/from")
		require.Zero(t, code)
		require.Empty(t, output.Redirects)
	})
}

// numbers takes out of a page what differs from run to run.
var numbers = regexp.MustCompile(`(?m) *\d+\.\d ms|127\.0\.0\.1:\d+|[█·]+| +$|\d+ bytes`)

func TestCheckPrintsATableForPeople(t *testing.T) {
	t.Parallel()
	target := httptest.NewServer(http.HandlerFunc(checkTarget))
	t.Cleanup(target.Close)
	page := func(args ...string) string {
		t.Helper()
		stdout, _ := check(t, nil, args...)
		return numbers.ReplaceAllStringFunc(stdout, func(text string) string {
			switch {
			case strings.HasPrefix(text, "127"):
				return "HOST"
			case strings.HasSuffix(text, "bytes"):
				return "N bytes"
			}
			return ""
		})
	}

	require.Equal(t, `url        http://HOST/from
outcome    regexp_mismatch
error      regexp: wanted a match of nonsense, found none
status     200 OK (HTTP/1.1)
remote ip  127.0.0.1
body       N bytes

phase           took       until
connect
wait
transfer
total

redirected
302  to http://HOST/via?…
301  to http://HOST/to

expected
✓ status  wanted 200-299              found 200
✗ regexp  wanted a match of nonsense  found none

body
  │ {"a == b":true,"accept":"*/*","agent":"Riverwatch/1.0 (uptime monitor)","bearer":"","body":"","host":"HOST","method":"GET","n":3,"password":"","user":""}
`, trimLines(page("--regexp", "nonsense", target.URL+"/from")))

	bad := page(target.URL + "/bad")
	require.Contains(t, bad, "status     500 Internal Server Error (HTTP/1.1)\n")
	require.Contains(t, bad, "body\n  │ <h1>Down</h1>\n  │ \uFFFD[31mred\n")
	require.NotContains(t, bad, "\x1b")

	refused, code := check(t, nil, hostile.Refused(t))
	require.Equal(t, exitFailed, code)
	require.Contains(t, refused, "connect_refused")
	require.NotContains(t, refused, "expected")
	require.NotRegexp(t, `(?m)^(dns|tls|wait|transfer|status|body|certificate)`, refused, "what was not measured is not shown")

	expired, _ := check(t, nil, hostile.ExpiredTLS(t))
	require.Regexp(t, `(?m)^valid +\d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d \(expired \d+ days ago\)$`, expired)
}

// trimLines takes the blanks off that stood before what numbers took out.
func trimLines(text string) string { return regexp.MustCompile(`(?m) +$`).ReplaceAllString(text, "") }

func TestCheckShowsACertificate(t *testing.T) {
	t.Parallel()
	many := checkOutput{Certificate: &certificateShown{
		Subject: "CN=shop.example", Issuer: "CN=ca", Names: []string{"a", "b", "c", "d", "e", "f", "g"}, Fingerprint: "ab",
		NotBefore: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), NotAfter: time.Date(2026, 4, 2, 3, 4, 5, 0, time.UTC), DaysLeft: 12,
	}}
	var page strings.Builder
	many.writeCertificate(&page)
	require.Equal(t, `
certificate  CN=shop.example
issuer       CN=ca
names        a, b, c, d, e and 2 more
valid        2026-01-02 to 2026-04-02 (12 days left)
sha-256      ab
`, page.String())
}

func TestBar(t *testing.T) {
	t.Parallel()
	require.Empty(t, bar(0, 0, 0))
	require.Equal(t, strings.Repeat("█", 32), bar(0, 7, 7))
	require.Equal(t, "█", bar(0, 0.001, 100), "whatever took time is seen")
	require.Equal(t, strings.Repeat("·", 31)+"█", bar(100, 100, 100))
	require.Equal(t, strings.Repeat("·", 16)+strings.Repeat("█", 16), bar(50, 100, 100))
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()

	t.Run("AllThatIsWrongAtOnce", func(t *testing.T) {
		t.Parallel()
		stdout, stderr, err := command(t.Context(), nil, "check", "--json", "--timeout", "1h", "--regexp", "(", "--regexp", "[",
			"-H", "nonsense", "--header-regexp", "X: (", "--json-path", "$.a == ok", "--json-path", "$..x", "--status", "99", "-4",
			"-6", "--basic", "u", "--ca", "/does/not/exist", "--allow-cidr", "10.0.0.0/8@http", "--allow-port", "ssh",
			"--resolver", "dns.example", "--max-total", "1us", "--degraded-after", "2h", "--max-redirects", "11", "--bearer", "\n",
			"http://user@example.com/")
		require.Equal(t, exitUsage, exitCode(err))
		require.Empty(t, stderr)
		var got struct {
			Code, Message string
			Errors        []struct{ Field, Code, Message string }
		}
		require.NoError(t, json.Unmarshal([]byte(stdout), &got))
		codes := map[string]string{}
		for _, e := range got.Errors {
			require.NotEmpty(t, e.Message)
			codes[e.Field] = e.Code
		}
		require.Equal(t, map[string]string{
			"allow_cidr": "flag_invalid", "allow_port": "flag_invalid", "resolver": "flag_invalid", "url": "url_userinfo",
			"headers": "flag_invalid", "json[0].value": "flag_invalid", "basic_username": "flag_invalid", "ca_pem": "flag_invalid",
			"max_total_ms": "flag_invalid", "ip_version": "flag_invalid", "timeout_ms": "timeout_range", "regexp": "regexp_invalid",
			"regexps[0]": "regexp_invalid", "header_regexps.X": "regexp_invalid", "json[1].path": "json_path_invalid",
			"accepted_statuses": "status_invalid", "degraded_after_ms": "degraded_after_range", "max_redirects": "max_redirects_range",
			"bearer_token": "header_value",
		}, codes)
		require.Equal(t, got.Errors[0].Code, got.Code)
		for _, flag := range []string{
			"URL: ", "--timeout: ", "--regexp: ", "--header: ", "--header-regexp: ", "--json-path: ", "--status: ", "--ipv4, --ipv6: ",
			"--basic: ", "--ca: ", "--allow-cidr: ", "--allow-port: ", "--resolver: ", "--max-total: ", "--degraded-after: ",
		} {
			require.Contains(t, err.Error(), flag)
		}
	})

	t.Run("APrivateAddress", func(t *testing.T) {
		t.Parallel()
		stdout, _, err := command(t.Context(), nil, "check", "--json", "http://127.0.0.1:8080/")
		require.Equal(t, exitUsage, exitCode(err))
		var got map[string]any
		require.NoError(t, json.Unmarshal([]byte(stdout), &got))
		require.Equal(t, "target_not_allowed", got["code"])
		require.NotEmpty(t, got["message"])
		stdout, _, err = command(t.Context(), nil, "check", "http://127.0.0.1:8080/")
		require.Equal(t, exitUsage, exitCode(err))
		require.Empty(t, stdout)
	})

	t.Run("WhatTheSchemeHasNoUseFor", func(t *testing.T) {
		t.Parallel()
		_, _, err := command(t.Context(), nil, "check", "--http2", "-H", "A: b", "dns://9.9.9.9/example.com?type=A")
		require.Equal(t, exitUsage, exitCode(err))
		require.ErrorContains(t, err, "--http2: is for http and https alone")
		require.ErrorContains(t, err, "--header: ")
	})
}

func TestCheckOtherSchemes(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			buffer := make([]byte, 4)
			_, _ = io.ReadFull(conn, buffer)
			_, _ = conn.Write(append([]byte("+"), buffer...))
			_ = conn.Close()
		}
	}()
	refused, code := checkJSON(t, nil, "-d", "PING", "--regexp", `^\+PING$`, "tcp://"+listener.Addr().String())
	require.NotZero(t, code)
	require.Contains(t, refused.Error, "RIVERWATCH_ALLOW_PRIVATE_WRITES")
	output, code := checkJSON(t, nil, "-d", "PING", "--allow-private-writes", "--regexp", `^\+PING$`, "tcp://"+listener.Addr().String())
	require.Zero(t, code, "%+v", output)
	require.True(t, *output.RegexpMatched)
	require.Nil(t, output.HTTPStatus)
}

func TestParseJSONPath(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]probe.JSONExpectation{
		`$.items[0]`:           {Path: "$.items[0]", Op: "exists"},
		`$.status == "ok"`:     {Path: "$.status", Op: "equals", Value: "ok"},
		`$.n!=3`:               {Path: "$.n", Op: "not_equals", Value: 3.0},
		`$["a < \" b"]<=-1.5`:  {Path: `$["a < \" b"]`, Op: "less_or_equal", Value: -1.5},
		`$['x>=y'] > 1e3`:      {Path: `$['x>=y']`, Op: "greater", Value: 1000.0},
		`$.a == "x == y"`:      {Path: "$.a", Op: "equals", Value: "x == y"},
		`$.gone == null`:       {Path: "$.gone", Op: "equals"},
		`$.b>=true`:            {Path: "$.b", Op: "greater_or_equal", Value: true},
		`$.t < "2026-01-01"`:   {Path: "$.t", Op: "less", Value: "2026-01-01"},
		`nonsense`:             {Path: "nonsense", Op: "exists"},
		`$["unterminated == 1`: {Path: `$["unterminated == 1`, Op: "exists"},
	} {
		got, err := parseJSONPath(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{`$.status == ok`, `$.n ==`, `$.n = = 3`, `$.n > 1 2`, `$.n == == 3`} {
		_, err := parseJSONPath(text)
		if text == `$.n = = 3` { // no comparison: a path that is not valid, which Check says
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, "is no value in JSON", text)
	}
}

// A full disk behind standard output is an error too.
func TestCheckThatCannotPrint(t *testing.T) {
	t.Parallel()
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(target.Close)
	for _, args := range [][]string{{"check", target.URL}, {"check", "--json", target.URL}, {"check", "--json", "--timeout", "1h", target.URL}} {
		closed, out := io.Pipe()
		require.NoError(t, closed.Close())
		err := run(t.Context(), append(args, "--allow-cidr", "127.0.0.0/8"), func(string) string { return "" }, out, io.Discard)
		require.ErrorContains(t, err, "print")
	}
}

// Whoever adds something that a monitor can ask or expect forgets that check should as well.
func TestCheckSetsAllOfATarget(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pem")
	require.NoError(t, os.WriteFile(file, []byte("pem"), 0o600))
	var given checkFlags
	flags := pflag.NewFlagSet("check", pflag.ContinueOnError)
	given.add(flags)
	require.NoError(t, flags.Parse([]string{
		"-X", "POST", "-H", "Accept: a", "-H", "X-Api-Key: b", "-d", "c", "--basic", "d:e", "--bearer", "f", "-A", "g", "--host", "h",
		"--http2", "-6", "-k", "--ca", file, "--cert", file, "--key", file, "--regexp", "i", "--regexp", "j", "--regexp-invert",
		"--header-regexp", "K: l", "--json-path", "$.m", "--max-total", "1s", "--degraded-after", "1s", "--certificate-days", "1",
	}))

	_, target, _ := given.read("https://example.com/", os.Getenv)

	requireNoneZero(t, "Target", reflect.ValueOf(target))
}

func requireNoneZero(t *testing.T, name string, value reflect.Value) {
	t.Helper()
	require.False(t, value.IsZero(), "%s has no flag, or this test does not give it", name)
	if value.Kind() == reflect.Struct {
		for field, inner := range value.Fields() {
			requireNoneZero(t, name+"."+field.Name, inner)
		}
	}
}
