package httpapi_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/egress"
	"riverwatch/httpapi"
	"riverwatch/probe"
	"riverwatch/queue"
)

// testAPI is the real handler on a database of its own.
type testAPI struct {
	t       *testing.T
	pool    *pgxpool.Pool
	queue   queue.Queue
	handler http.Handler
	log     *logBuffer
}

// logBuffer collects what is logged.
type logBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func newTestAPI(t *testing.T, allow ...string) *testAPI {
	t.Helper()
	return newTestAPIOn(t, dbtest.New(t), allow...)
}

func newTestAPIOn(t *testing.T, pool *pgxpool.Pool, allow ...string) *testAPI {
	t.Helper()
	inserts, err := queue.New(pool, slog.New(slog.DiscardHandler), nil)
	require.NoError(t, err)
	a := &testAPI{t: t, pool: pool, queue: inserts, log: &logBuffer{}}
	a.handler = httpapi.New(httpapi.Config{
		Pool: pool, Queue: inserts, Policy: policy(allow...), Version: "test", Now: time.Now,
		Logger: slog.New(slog.NewJSONHandler(a.log, nil)),
	})
	return a
}

func policy(allow ...string) egress.Policy {
	var prefixes []netip.Prefix
	for _, prefix := range allow {
		prefixes = append(prefixes, netip.MustParsePrefix(prefix))
	}
	return egress.Policy{Allow: prefixes}
}

// answer is what came back, its body decoded.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	raw    string
}

// into decodes the body.
func (a answer) into(value any) {
	a.t.Helper()
	require.NoError(a.t, json.Unmarshal([]byte(a.raw), value), a.raw)
}

// codes gives the codes of a problem's errors by location.
func (a answer) codes() map[string]string {
	a.t.Helper()
	require.Equal(a.t, "application/problem+json", a.header.Get("Content-Type"), a.raw)
	var problem httpapi.Problem
	a.into(&problem)
	require.Equal(a.t, a.status, problem.Status)
	codes := map[string]string{}
	for _, e := range problem.Errors {
		require.NotEmpty(a.t, e.Message)
		codes[e.Location] = e.Code
	}
	return codes
}

func (a answer) problem() httpapi.Problem {
	a.t.Helper()
	require.Equal(a.t, "application/problem+json", a.header.Get("Content-Type"), a.raw)
	var problem httpapi.Problem
	a.into(&problem)
	return problem
}

func (a answer) monitor() monitor {
	a.t.Helper()
	var m monitor
	a.into(&m)
	return m
}

// monitor is what a client sees of a monitor, spelled out anew so that a renamed field is noticed.
type monitor struct {
	ID                   int64      `json:"id"`
	Name                 string     `json:"name"`
	Method               string     `json:"method"`
	URL                  string     `json:"url"`
	Regexp               *string    `json:"regexp"`
	RegexpInvert         bool       `json:"regexp_invert"`
	IntervalSeconds      int        `json:"interval_seconds"`
	TimeoutMS            int        `json:"timeout_ms"`
	AcceptedStatuses     []string   `json:"accepted_statuses"`
	MaxRedirects         int        `json:"max_redirects"`
	FailureThreshold     int        `json:"failure_threshold"`
	SuccessThreshold     int        `json:"success_threshold"`
	RetryIntervalSeconds int        `json:"retry_interval_seconds"`
	Tags                 []string   `json:"tags"`
	Enabled              bool       `json:"enabled"`
	Status               string     `json:"status"`
	NextScanAt           *time.Time `json:"next_scan_at"`
	Version              int        `json:"version"`
}

func (a *testAPI) send(method, path, body string) answer {
	a.t.Helper()
	var reader io.Reader = http.NoBody
	if body != "" {
		reader = strings.NewReader(body)
	}
	request := httptest.NewRequestWithContext(a.t.Context(), method, path, reader)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	return a.serve(request)
}

func (a *testAPI) serve(request *http.Request) answer {
	a.t.Helper()
	recorder := httptest.NewRecorder()
	a.handler.ServeHTTP(recorder, request)
	return answer{t: a.t, status: recorder.Code, header: recorder.Header(), raw: recorder.Body.String()}
}

func (a *testAPI) get(path string) answer         { return a.send(http.MethodGet, path, "") }
func (a *testAPI) post(path, body string) answer  { return a.send(http.MethodPost, path, body) }
func (a *testAPI) patch(path, body string) answer { return a.send(http.MethodPatch, path, body) }

const monitorsPath = "/api/v1/monitors"

// create creates a monitor that must be new.
func (a *testAPI) create(body string) monitor {
	a.t.Helper()
	answer := a.post(monitorsPath, body)
	require.Equal(a.t, http.StatusCreated, answer.status, answer.raw)
	return answer.monitor()
}

func (a *testAPI) queries() *db.Queries { return db.New(a.pool) }

// count runs a query for one number.
func (a *testAPI) count(query string, args ...any) (n int) {
	a.t.Helper()
	require.NoError(a.t, a.pool.QueryRow(a.t.Context(), query, args...).Scan(&n))
	return n
}

func TestOpenAPI(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	answer := a.get("/openapi.json")
	require.Equal(t, http.StatusOK, answer.status)
	var document struct {
		OpenAPI string                    `json:"openapi"`
		Paths   map[string]map[string]any `json:"paths"`
		Schemas struct {
			Schemas map[string]struct {
				Properties map[string]map[string]any `json:"properties"`
			} `json:"schemas"`
		} `json:"components"`
	}
	answer.into(&document)
	require.Equal(t, "3.1.0", document.OpenAPI)

	t.Run("ListsEveryRoute", func(t *testing.T) {
		t.Parallel()
		var routes []string
		for path, operations := range document.Paths {
			for method := range operations {
				routes = append(routes, strings.ToUpper(method)+" "+path)
			}
		}
		require.ElementsMatch(t, []string{
			"GET /api/v1/monitors", "POST /api/v1/monitors", "POST /api/v1/monitors/bulk",
			"GET /api/v1/monitors/{id}", "PATCH /api/v1/monitors/{id}", "DELETE /api/v1/monitors/{id}",
			"POST /api/v1/monitors/{id}/pause", "POST /api/v1/monitors/{id}/resume", "POST /api/v1/monitors/{id}/scan",
			"GET /api/v1/monitors/{id}/scans", "GET /api/v1/monitors/{id}/certificates",
			"GET /api/v1/monitors/{id}/latency", "GET /api/v1/monitors/{id}/uptime", "GET /api/v1/storage", "GET /api/v1/summary",
			"GET /api/v1/monitors/{id}/scans.csv", "GET /api/v1/monitors/{id}/scans.jsonl", "GET /api/v1/export/scans.csv",
			"GET /api/v1/export/scans.jsonl", "GET /api/v1/warnings", "GET /livez", "GET /readyz", "GET /targets/metrics",
		}, routes)
		require.NotContains(t, answer.raw, `"422"`, "what is not valid is answered by 400")
	})

	t.Run("NamesEveryScheme", func(t *testing.T) {
		t.Parallel()
		for _, scheme := range probe.Schemes() {
			require.Regexp(t, `\b`+scheme+`\b`, document.Schemas.Schemas["MonitorCreate"].Properties["url"]["description"])
		}
	})

	t.Run("DescribesEveryFieldWithAnExample", func(t *testing.T) {
		t.Parallel()
		require.Contains(t, document.Schemas.Schemas, "MonitorCreate")
		for name, schema := range document.Schemas.Schemas {
			for field, property := range schema.Properties {
				isObject := property["$ref"] != nil
				if items, ok := property["items"].(map[string]any); ok {
					isObject = items["$ref"] != nil
				}
				require.True(t, isObject || property["description"] != nil, "%s.%s has no description", name, field)
				require.True(t, isObject || property["examples"] != nil, "%s.%s has no example", name, field)
			}
		}
	})
}

func TestDocs(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)

	redirect := a.get("/docs")
	require.Equal(t, http.StatusMovedPermanently, redirect.status)
	page := a.get(redirect.header.Get("Location"))
	require.Equal(t, http.StatusOK, page.status)
	require.NotContains(t, page.raw, "//", "nothing comes from elsewhere")
	for _, file := range []string{"swagger-ui-bundle.js", "swagger-ui.css", "start.js", "favicon-32x32.png"} {
		require.Contains(t, page.raw, file)
		got := a.get("/docs/" + file)
		require.Equal(t, http.StatusOK, got.status, file)
		require.Contains(t, got.header.Get("Content-Security-Policy"), "script-src 'self'")
		require.NotEmpty(t, got.raw)
	}
	require.Equal(t, http.StatusNotFound, a.get("/docs/nothing.js").status)
}

func TestProtocol(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	body := `{"url":"http://example.com/"}`
	withType := func(contentType, encoding string) answer {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, monitorsPath, strings.NewReader(body))
		request.Header.Set("Content-Type", contentType)
		request.Header.Set("Content-Encoding", encoding)
		return a.serve(request)
	}

	require.Equal(t, http.StatusUnsupportedMediaType, withType("text/plain", "").status)
	require.Equal(t, http.StatusUnsupportedMediaType, withType("", "").status)
	require.Equal(t, http.StatusUnsupportedMediaType, withType("application/json", "gzip").status)
	require.Equal(t, http.StatusCreated, withType("application/json; charset=utf-8", "").status)

	for _, method := range []string{http.MethodTrace, http.MethodPut, "PROPFIND"} {
		answer := a.send(method, monitorsPath, "")
		require.Equal(t, http.StatusMethodNotAllowed, answer.status, method)
		require.Equal(t, "method_not_allowed", answer.problem().Code)
	}
	require.Equal(t, http.StatusOK, a.send(http.MethodHead, monitorsPath, "").status)

	for _, path := range []string{"/", "/metrics", "/debug/pprof/", "/api/v1/monitors/1/nothing", "/api/v1/monitors/"} {
		answer := a.get(path)
		require.Equal(t, http.StatusNotFound, answer.status, path)
		require.Equal(t, "not_found", answer.problem().Code)
	}

	for name, value := range map[string]string{
		"Cache-Control": "no-store", "Access-Control-Allow-Origin": "",
	} {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, monitorsPath, http.NoBody)
		request.Header.Set("Origin", "https://evil.example")
		require.Equal(t, value, a.serve(request).header.Get(name), name)
	}
}

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	body := func(size int) string {
		const start, end = `{"url":"http://example.com/","name":"`, `"}`
		return start + strings.Repeat(" ", size-len(start)-len(end)) + end
	}

	atLimit := a.post(monitorsPath, body(64<<10))
	require.Equal(t, http.StatusBadRequest, atLimit.status)
	require.Equal(t, map[string]string{"body.name": "string_too_long"}, atLimit.codes())

	tooLarge := a.post(monitorsPath, body(64<<10+1))
	require.Equal(t, http.StatusRequestEntityTooLarge, tooLarge.status)
	require.Equal(t, "body_too_large", tooLarge.problem().Code)
}

func TestInternalErrors(t *testing.T) {
	t.Parallel()

	t.Run("AreLoggedWholeAndAnsweredBarely", func(t *testing.T) {
		t.Parallel()
		a := newTestAPI(t)
		_, err := a.pool.Exec(t.Context(), `ALTER TABLE monitor_states ADD CONSTRAINT never CHECK (false)`)
		require.NoError(t, err)
		answer := a.post(monitorsPath, `{"url":"http://example.com/"}`)
		require.Equal(t, http.StatusInternalServerError, answer.status)
		require.Equal(t, "internal_error", answer.problem().Code)
		require.NotContains(t, answer.raw, "never")
		require.Contains(t, a.log.String(), `constraint \"never\"`)
		require.Zero(t, a.count(`SELECT count(*) FROM monitors`), "nothing is half done")
	})

	t.Run("ASchemaOfAnotherProgramIsNone", func(t *testing.T) {
		t.Parallel()
		a := newTestAPI(t)
		_, err := a.pool.Exec(t.Context(), `ALTER TABLE monitors RENAME COLUMN key TO gone`)
		require.NoError(t, err)
		answer := a.get(monitorsPath)
		require.Equal(t, http.StatusServiceUnavailable, answer.status)
		require.Equal(t, "schema_outdated", answer.problem().Code)
	})

	t.Run("APanicIsOne", func(t *testing.T) {
		t.Parallel()
		log := &logBuffer{}
		handler := httpapi.New(httpapi.Config{ // no pool: whoever asks for it panics
			Version: "test", Now: time.Now, Logger: slog.New(slog.NewJSONHandler(log, nil)),
		})
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", http.NoBody))
		require.Equal(t, http.StatusInternalServerError, recorder.Code)
		require.NotContains(t, recorder.Body.String(), "nil pointer")
		require.Contains(t, log.String(), "nil pointer")
	})
}
