package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/db/dbtest"
	"riverwatch/httpapi"
	"riverwatch/probe/hostile"
)

// requireEachRow requires that a row of a list is either run here, held by a test elsewhere, or of something that is not built
// yet.
func requireEachRow(t *testing.T, path string, ran []string, others ...map[string]string) {
	t.Helper()
	for _, reasons := range others {
		ran = slices.AppendSeq(ran, maps.Keys(reasons))
	}
	var listed []string
	for _, row := range hostile.Rows(t, path) {
		listed = append(listed, row["id"])
	}
	require.ElementsMatch(t, listed, ran)
}

// Rows of testdata/api.csv that ask for what is not built yet, with the issue that builds it, and then runs them.
var apiNotBuilt = map[string]string{
	"A001": "issue 18: keys", "A002": "issue 18: keys", "A003": "issue 18: keys", "A004": "issue 18: keys", "A005": "issue 18: keys",
	"A006": "issue 18: keys", "A007": "issue 18: users", "A008": "issue 18: projects", "A009": "issue 18: projects",
	"A010": "issue 18: users", "A029": "issue 18: login", "A033": "issue 18: the first key", "A034": "issue 18: the first key",
	"A035": "issue 18: Idempotency-Key", "A036": "issue 18: Idempotency-Key", "A037": "issue 18: If-Match",
	"A038": "no issue yet: status pages", "A039": "no issue yet: status pages", "A040": "no issue yet: badges",
	"A042": "issue 18: sessions", "A043": "issue 18: sessions", "A044": "issue 18: passwords",
	"A045": "issue 18: POST /monitors/test", "A046": "issue 18: quotas",
}

// apiRequests are the rows of testdata/api.csv that apply to what is built.
var apiRequests = map[string]func(api *running){
	"A011": func(api *running) {
		require.Equal(api.t, 415, api.with("Content-Type", "text/plain").send("POST", "/api/v1/monitors", minimal).StatusCode)
	},
	"A012": func(api *running) {
		require.Equal(api.t, 415, api.with("Content-Type", "").send("POST", "/api/v1/monitors", minimal).StatusCode)
	},
	"A013": func(api *running) {
		require.Equal(api.t, 403, api.with("Sec-Fetch-Site", "cross-site").send("POST", "/api/v1/monitors", minimal).StatusCode)
	},
	"A014": func(api *running) {
		require.Equal(api.t, 403, api.with("Origin", "null").send("POST", "/api/v1/monitors", minimal).StatusCode)
	},
	"A015": func(api *running) {
		answer := api.with("Origin", "https://evil.example").send("GET", "/api/v1/monitors", "")
		require.Equal(api.t, 200, answer.StatusCode)
		requireNoCORS(api.t, answer)
	},
	"A016": func(api *running) {
		requireNoCORS(api.t, api.with("Origin", "https://evil.example", "Access-Control-Request-Method", "POST").
			send("OPTIONS", "/api/v1/monitors", ""))
	},
	"A017": func(api *running) {
		require.Equal(api.t, 413, api.send("POST", "/api/v1/monitors", strings.Repeat(" ", 64<<10+1)).StatusCode)
		answer := api.raw(head + "Content-Length: 104857600\r\n\r\n" + strings.Repeat(" ", 65<<10)) // the rest is not waited for
		require.Equal(api.t, 413, answer.StatusCode)
		require.True(api.t, answer.Close)
	},
	"A018": func(api *running) {
		require.Equal(api.t, 15*time.Second, cutAfter(api.t, head+"Content-Length: 10737418240\r\n\r\n", ""))
	},
	"A019": func(api *running) {
		require.Equal(api.t, 15*time.Second, cutAfter(api.t, head+"Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n"))
	},
	"A020": func(api *running) {
		require.Equal(api.t, 415, api.with("Content-Encoding", "gzip").send("POST", "/api/v1/monitors", minimal).StatusCode)
	},
	"A021": func(api *running) {
		require.Equal(api.t, 431, api.with("X-Large", strings.Repeat("x", 40<<10)).send("GET", "/api/v1/monitors", "").StatusCode)
	},
	"A022": func(api *running) { require.Equal(api.t, 5*time.Second, cutAfter(api.t, head+"X-Slow: ", "x")) },
	"A023": func(api *running) {
		api.refuses("?limit=0", "?limit=-1", "?limit=201", "?limit=1e9", "?limit=abc")
	},
	"A024": func(api *running) { // of another project: issue 18
		first := api.create("http://example.com/1")
		api.create("http://example.com/2")
		_, page := api.request("GET", "/api/v1/monitors?limit=1", "")
		_, cursor, _ := strings.Cut(page, `"next_cursor":"`)
		cursor, _, _ = strings.Cut(cursor, `"`)
		require.NotEmpty(api.t, cursor, page)
		require.Equal(api.t, 200, api.send("GET", "/api/v1/monitors?limit=1&cursor="+cursor, "").StatusCode)
		api.refuses("?cursor=garbage", "?sort=name&cursor="+cursor, first+"/scans?cursor="+cursor)
	},
	"A025": func(api *running) { api.refuses("?sort=name%3Bdrop+table", "?sort=secret") },
	"A026": func(api *running) {
		_, raw := api.request("GET", "/api/v1/monitors/1/scans?from=2020-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "")
		require.Contains(api.t, raw, "range_too_large")
	},
	"A027": func(api *running) {
		monitor := api.create("http://example.com/range")
		api.refuses(monitor+"/scans?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", monitor+"/scans?from=infinity",
			monitor+"/scans?from=294277-01-01T00:00:00Z&to=294277-01-02T00:00:00Z")
	},
	"A028": func(api *running) {
		api.refuses("/..%2F..%2Fetc%2Fpasswd", "/1'%20or%20'1'='1", "/"+strings.Repeat("9", 10_000), "/1;drop%20table%20monitors")
		require.NotRegexp(api.t, "passwd|9999|drop table", api.stderr.String(), "they write no log")
	},
	"A030": func(api *running) { // River UI answers whoever is on this machine
		require.Equal(api.t, 403, api.with("X-Forwarded-For", "127.0.0.1").send("GET", "/river/", "").StatusCode)
		stranger := httptest.NewRequestWithContext(api.t.Context(), "GET", "/river/", http.NoBody)
		stranger.RemoteAddr = "203.0.113.9:1234"
		stranger.Header.Set("X-Forwarded-For", "127.0.0.1")
		require.False(api.t, fromHere(stranger))
	},
	"A031": func(api *running) {
		for _, method := range []string{"TRACE", "CONNECT", "PROPFIND"} {
			require.Equal(api.t, 405, api.raw(method+" /api/v1/monitors HTTP/1.1\r\nHost: localhost\r\n\r\n").StatusCode, method)
		}
	},
	"A032": func(api *running) {
		answer := api.send("HEAD", "/api/v1/monitors", "")
		require.Equal(api.t, 200, answer.StatusCode)
	},
	"A041": func(api *running) {
		for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/vars"} {
			require.Equal(api.t, 404, api.send("GET", path, "").StatusCode, path)
		}
	},
}

const (
	minimal = `{"url":"http://example.com/"}`
	head    = "POST /api/v1/monitors HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
)

func TestHostileRequests(t *testing.T) {
	t.Parallel()
	requireEachRow(t, "testdata/api.csv", slices.Collect(maps.Keys(apiRequests)), apiNotBuilt)
	api := start(t, map[string]string{"DATABASE_URL": dbtest.URL(t), "RIVERWATCH_LISTEN": "127.0.0.1:0"}, "api").answers()
	for id, run := range apiRequests {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			mine := *api
			mine.t = t
			run(&mine)
		})
	}
}

// sender sends requests with headers besides.
type sender struct {
	*running

	headers []string
}

func (r *running) with(headers ...string) sender { return sender{r, headers} }

func (r *running) send(method, path, body string) *http.Response {
	return r.with().send(method, path, body)
}

// send sends a request, and gives the answer, whose body is read.
func (s sender) send(method, path, body string) *http.Response {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.baseURL+path, strings.NewReader(body))
	require.NoError(s.t, err)
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(s.headers); i += 2 {
		request.Header.Set(s.headers[i], s.headers[i+1])
	}
	answer, err := http.DefaultTransport.RoundTrip(request)
	require.NoError(s.t, err)
	_, err = io.Copy(io.Discard, answer.Body)
	require.NoError(s.t, err)
	require.NoError(s.t, answer.Body.Close())
	return answer
}

// raw sends bytes as they are, and gives the answer, whose body is not read.
func (r *running) raw(request string) *http.Response {
	r.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.baseURL, "http://"))
	require.NoError(r.t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, request)
	require.NoError(r.t, err)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(r.t, err)
	return answer
}

// refuses requires that paths below the collection of monitors are answered by 400 or 404.
func (r *running) refuses(paths ...string) {
	r.t.Helper()
	for _, path := range paths {
		path = "/api/v1/monitors" + strings.TrimPrefix(path, "/api/v1/monitors")
		require.Contains(r.t, []int{400, 404}, r.send("GET", path, "").StatusCode, path)
	}
}

// create creates a monitor and gives its path.
func (r *running) create(url string) string {
	r.t.Helper()
	answer := r.send("POST", "/api/v1/monitors", fmt.Sprintf(`{"url":%q}`, url))
	require.Equal(r.t, 201, answer.StatusCode)
	return answer.Header.Get("Location")
}

func requireNoCORS(t *testing.T, answer *http.Response) {
	t.Helper()
	for name := range answer.Header {
		require.False(t, strings.HasPrefix(name, "Access-Control-"), name)
	}
}

// cutAfter gives how long a client is listened to that begins a request and then says the same each second. The server is
// ours; its clock is not.
func cutAfter(t *testing.T, begin, eachSecond string) (cut time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		logger := slog.New(slog.DiscardHandler)
		handler := httpapi.New(httpapi.Config{Version: "test", Now: time.Now, Logger: logger})
		listener := &oneConn{addr: &net.TCPAddr{}, conns: make(chan net.Conn, 1)}
		server := (&server{logger: logger}).httpServer(handler)
		go func() { _ = server.Serve(listener) }()
		ours, theirs := net.Pipe()
		listener.conns <- theirs

		began := time.Now()
		var client sync.WaitGroup
		client.Go(func() {
			for text := begin; ; text = eachSecond {
				if _, err := io.WriteString(ours, text); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		_, _ = io.Copy(io.Discard, ours) // what it answers before it hangs up
		cut = time.Since(began).Truncate(time.Second)
		require.NoError(t, ours.Close())
		client.Wait()
		require.NoError(t, server.Close())
	})
	return cut
}

// oneConn is a listener to which connections are handed.
type oneConn struct {
	addr  net.Addr
	conns chan net.Conn
}

func (l *oneConn) Accept() (net.Conn, error) {
	conn, open := <-l.conns
	if !open {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (l *oneConn) Close() error {
	close(l.conns)
	return nil
}

func (l *oneConn) Addr() net.Addr { return l.addr }

// Rows of testdata/out.csv whose sink is not built yet, with the issue that builds it, and then runs them.
var outNotBuilt = map[string]string{
	"O001": "issue 21: the dashboard", "O002": "issue 21: the dashboard", "O003": "issue 21: the dashboard", "O004": "issue 21: the dashboard",
	"O005": "no issue yet: badges", "O006": "issue 20: Slack", "O007": "issue 20: e-mail", "O008": "issue 20: e-mail",
	"O009": "issue 20: webhooks", "O017": "issue 21: the dashboard",
}

// What strangers choose, be it the monitor's owner or its target, reaches no sink as more than a text.
func TestHostileTextsComeOutHarmless(t *testing.T) {
	t.Parallel()
	requireEachRow(t, "testdata/out.csv", []string{"O010", "O011", "O012", "O013", "O014", "O015", "O016"}, outNotBuilt)
	banner := "SSH-2.0-BANNER\x00\x1b[2J\n" + strings.Repeat("B", 8<<10)
	target := net.JoinHostPort("127.0.0.1", bannerServer(t, banner))
	database := dbtest.URL(t)
	r := start(t, map[string]string{
		"DATABASE_URL": database, "RIVERWATCH_LISTEN": "127.0.0.1:0", "RIVERWATCH_ALLOW_CIDRS": "127.0.0.0/8",
		"RIVERWATCH_LOG_LEVEL": "debug", "RIVERWATCH_METRICS_LISTEN": freeAddress(t),
	}, "serve").answers()
	r.create("http://" + target + "/p?token=CANARY")
	pool := dbtest.Open(t, database)
	var stored string
	require.Eventually(t, func() bool {
		return pool.QueryRow(t.Context(), "SELECT error FROM monitor_log WHERE error IS NOT NULL LIMIT 1").Scan(&stored) == nil
	}, 30*time.Second, 50*time.Millisecond)

	require.LessOrEqual(t, len([]rune(stored)), 200, "O014")
	require.NotContains(t, stored, "\x00", "O014")
	require.Contains(t, stored, "SSH-2.0-BANNER", "O014: or nothing is said of what the target sent")
	jobs := dbtest.One[string](t, pool, "SELECT coalesce(string_agg(concat(errors::text, metadata::text), ' '), '') FROM river_job")
	require.NotContains(t, jobs, "BANNER", "O015")
	require.NotContains(t, jobs, "CANARY", "O015")
	require.NotContains(t, r.stderr.String(), "CANARY", "O013")
	require.NotContains(t, r.stderr.String(), "BANNER")

	require.Equal(t, 201, r.send("POST", "/api/v1/monitors", fmt.Sprintf(`{"url":"http://%s/","name":%q}`, target, `=HYPERLINK("http://evil")`)).StatusCode)
	require.Eventually(t, func() bool {
		_, csv := r.request("GET", "/api/v1/export/scans.csv", "")
		return strings.Contains(csv, `,"'=HYPERLINK(""http://evil"")",`)
	}, 30*time.Second, 100*time.Millisecond, "O010")

	for _, hostile := range []string{"a\nlevel=error msg=forged", "\x1b[2J"} { // O011, O012
		var log bytes.Buffer
		for _, logger := range []*slog.Logger{
			slog.New(newTextHandler(&log, slog.LevelDebug, false)),
			(&program{stderr: &log, getenv: func(string) string { return "json" }}).logger(slog.LevelDebug),
		} {
			log.Reset()
			logger.InfoContext(t.Context(), "created", slog.String("name", hostile))
			require.Equal(t, 1, strings.Count(log.String(), "\n"))
			require.NotContains(t, log.String(), "\x1b")
		}
	}
}

// bannerServer says the same to whoever connects, and gives its port.
func bannerServer(t *testing.T, banner string) (port string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, banner)
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
	}()
	_, port, _ = net.SplitHostPort(listener.Addr().String())
	return port
}
