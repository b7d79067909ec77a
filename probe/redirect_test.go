package probe_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/egress"
	"riverwatch/probe"
	"riverwatch/probe/hostile"
	"riverwatch/uptime"
)

// redirecting answers each request with a redirect.
func redirecting(tb testing.TB, location string) string {
	tb.Helper()
	return serve(tb, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusFound)
	})
}

func TestRedirectMethod(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		status                    int
		method                    string
		sameOrigin, toOtherOrigin string
	}{
		{301, "GET", "GET", "GET"},
		{301, "HEAD", "HEAD", "HEAD"},
		{301, "POST", "GET", "GET"},
		{301, "PUT", "PUT", "GET"},
		{302, "POST", "GET", "GET"},
		{302, "OPTIONS", "OPTIONS", "GET"},
		{303, "POST", "GET", "GET"},
		{303, "DELETE", "GET", "GET"},
		{303, "HEAD", "HEAD", "HEAD"},
		{307, "POST", "POST", "GET"},
		{307, "HEAD", "HEAD", "HEAD"},
		{308, "POST", "POST", "GET"},
	} {
		t.Run(http.StatusText(row.status)+" "+row.method, func(t *testing.T) {
			t.Parallel()
			other := &recordingServer{status: row.status}
			other.url = serve(t, other.answer)
			same := &recordingServer{status: row.status}
			same.url = serve(t, same.answer)

			require.Equal(t, uptime.OK, probeURL(t, same.url+"redirect?to=/end", method(row.method)).Outcome)
			require.Equal(t, uptime.OK, probeURL(t, same.url+"redirect?to="+other.url+"end", method(row.method)).Outcome)

			require.Equal(t, row.sameOrigin, same.end.Load().Method)
			require.Equal(t, row.toOtherOrigin, other.end.Load().Method)
			for _, end := range []*http.Request{same.end.Load(), other.end.Load()} {
				require.Empty(t, end.Referer())
				require.NotContains(t, end.Header, "Authorization")
				require.NotContains(t, end.Header, "Cookie")
			}
		})
	}
}

// recordingServer redirects from /redirect, and keeps the request for /end.
type recordingServer struct {
	url    string
	status int
	end    atomic.Pointer[http.Request]
}

func (s *recordingServer) answer(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/end" {
		s.end.Store(r)
		return
	}
	w.Header().Set("Set-Cookie", "a=b")
	w.Header().Set("Location", r.URL.Query().Get("to"))
	w.WriteHeader(s.status)
}

func TestRedirectLocation(t *testing.T) {
	t.Parallel()
	for location, outcome := range map[string]uptime.Outcome{
		"":                          uptime.RedirectInvalid,
		"http://[::1":               uptime.RedirectInvalid,
		"/%zz":                      uptime.RedirectInvalid,
		"/\\evil.example":           uptime.RedirectInvalid,
		"http://127.1/":             uptime.RedirectInvalid,
		"http://b\u00fccher.test/":  uptime.RedirectInvalid,
		"http://127.0.0.1:0/":       uptime.RedirectInvalid,
		"http:///x":                 uptime.RedirectInvalid,
		"gopher://127.0.0.1/":       uptime.RedirectBlocked,
		"javascript:alert(1)":       uptime.RedirectBlocked,
		"http://127.0.0.1:22/":      uptime.RedirectBlocked,
		"http://user:pw@127.0.0.1/": uptime.RedirectBlocked,
		"//10.0.0.1/":               uptime.BlockedByPolicy,
		"#fragment":                 uptime.RedirectLoop,
		"/":                         uptime.RedirectLoop,
	} {
		t.Run(location, func(t *testing.T) {
			t.Parallel()
			result := probeURL(t, redirecting(t, location))

			require.Equal(t, outcome, result.Outcome, result.Error)
			require.Equal(t, 302, *result.HTTPStatus)
			require.NotContains(t, result.Error, "pw")
		})
	}
}

func TestRedirect(t *testing.T) {
	t.Parallel()

	t.Run("WithTwoLocations", func(t *testing.T) {
		t.Parallel()
		result := probeURL(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Location"] = []string{"/a", "/a"}
			w.WriteHeader(http.StatusFound)
		}))
		require.Equal(t, uptime.RedirectInvalid, result.Outcome)
	})

	t.Run("IsAnAnswerIfNoneIsFollowed", func(t *testing.T) {
		t.Parallel()
		result := probeURL(t, redirecting(t, "/a"), func(target *probe.Target) {
			target.MaxRedirects = 0
			target.AcceptedStatuses = []string{"302"}
		})
		require.Equal(t, uptime.OK, result.Outcome)
	})

	t.Run("IsFollowedToTheLimit", func(t *testing.T) {
		t.Parallel()
		url := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if len(r.URL.Path) <= 3 { // "/", "/a", "/aa"
				http.Redirect(w, r, r.URL.Path+"a", http.StatusFound)
				return
			}
			_, _ = io.WriteString(w, r.URL.Path)
		})
		redirects := func(n int) func(*probe.Target) {
			return func(target *probe.Target) { target.MaxRedirects = n }
		}

		require.Equal(t, uptime.OK, probeURL(t, url, redirects(3), matching("^/aaa$")).Outcome)
		require.Equal(t, uptime.TooManyRedirects, probeURL(t, url, redirects(2)).Outcome)
	})

	t.Run("ToAnotherMethodOfTheSameURLIsNoLoop", func(t *testing.T) {
		t.Parallel()
		url := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				http.Redirect(w, r, "/", http.StatusSeeOther)
			}
		})
		require.Equal(t, uptime.OK, probeURL(t, url, method("POST")).Outcome)
	})
}

// FuzzRedirect answers with a Location of anything: the probe ends, asks nothing of the canary, and says one of the
// outcomes that a redirect can have.
func FuzzRedirect(f *testing.F) {
	for _, row := range hostile.Rows(f, "testdata/url.csv") {
		f.Add(hostile.Text(f, row["input"]), 302)
	}
	for _, location := range []string{"/", "//a", "?x", "#y", "..", "/a/../b", "http://127.0.0.1:25/", "\\\\evil", "http://u:p@h/", ""} {
		f.Add(location, 308)
	}
	// Fuzzing runs in many processes, each with a canary of its own at this address, which they all refuse.
	refused := netip.MustParseAddr("127.0.0.99")
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: refused.AsSlice()})
	require.NoError(f, err)
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		f.Error("somebody asked a refused address")
	}), ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(listener) }()
	f.Cleanup(func() { _ = server.Close() })
	canary := "http://" + listener.Addr().String() + "/"
	f.Add(canary, 301)
	f.Add(strings.Replace(canary, refused.String(), "canary.test", 1), 303)
	prober := patient(probe.Settings{
		Policy:   egress.Policy{Allow: loopback.Allow, Refuse: egress.NewAddresses(netip.AddrPortFrom(refused, 0))},
		Resolver: hostile.DNS(f, map[string][]string{"canary.test": {refused.String()}}),
	})
	f.Fuzz(func(t *testing.T, location string, status int) {
		server := hostile.Raw(t, fmt.Appendf(nil, "HTTP/1.1 %d F\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", status, location))
		target := get(server)
		target.Timeout, target.MaxRedirects = 300*time.Millisecond, 3

		result := prober.Probe(t.Context(), target)

		require.NotEmpty(t, result.Outcome)
		require.LessOrEqual(t, len(result.Redirects), 3)
		require.Equal(t, probe.CleanText(result.Error), result.Error)
	})
}
