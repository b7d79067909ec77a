package main

import (
	"net/http"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/db/dbtest"
)

// Whatever we answer, a browser does little with it: headers are walked from one path of each kind to the next.
func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	api := start(t, map[string]string{"DATABASE_URL": dbtest.URL(t), "RIVERWATCH_LISTEN": "127.0.0.1:0"}, "api").answers()
	_, page := api.request(http.MethodGet, "/river/", "", "Accept", "text/html")
	script := regexp.MustCompile(`/river/assets/[^"]+\.js`).FindString(page)
	require.NotEmpty(t, script, page)

	const (
		nothing  = "default-src 'none'; frame-ancestors 'none'"
		swagger  = "default-src 'none'; script-src 'self'; .*; frame-ancestors 'none'"
		noFrames = "frame-ancestors 'none'"
	)
	for _, test := range []struct {
		method, path string
		status       int
		policy       string
	}{
		{http.MethodGet, "/", http.StatusFound, nothing},
		{http.MethodGet, "/livez", http.StatusOK, nothing},
		{http.MethodHead, "/readyz", http.StatusOK, nothing},
		{http.MethodGet, "/openapi.json", http.StatusOK, nothing},
		{http.MethodGet, "/api/v1/monitors", http.StatusOK, nothing},
		{http.MethodGet, "/api/v1/monitors/1", http.StatusNotFound, nothing},
		{http.MethodPost, "/api/v1/monitors", http.StatusForbidden, nothing}, // for another site
		{http.MethodOptions, "/api/v1/monitors", http.StatusMethodNotAllowed, nothing},
		{http.MethodGet, "/nothing", http.StatusNotFound, nothing},
		{http.MethodGet, "/docs", http.StatusMovedPermanently, nothing},
		{http.MethodGet, "/docs/", http.StatusOK, swagger},
		{http.MethodGet, "/docs/start.js", http.StatusOK, swagger},
		{http.MethodGet, "/docs/swagger-ui-bundle.js", http.StatusOK, swagger},
		{http.MethodGet, "/docs/nothing.js", http.StatusNotFound, swagger},
		{http.MethodGet, "/river/", http.StatusOK, noFrames},
		{http.MethodGet, "/river", http.StatusTemporaryRedirect, nothing},
		{http.MethodGet, script, http.StatusOK, noFrames},
		{http.MethodGet, "/river/api/jobs", http.StatusOK, noFrames},
	} {
		t.Run(test.method+test.path, func(t *testing.T) {
			t.Parallel()
			request, err := http.NewRequestWithContext(t.Context(), test.method, api.baseURL+test.path, http.NoBody)
			require.NoError(t, err)
			request.Header.Set("Origin", "https://evil.example")
			request.Header.Set("Sec-Fetch-Site", "cross-site")
			request.Header.Set("Accept", "*/*")
			response, err := http.DefaultTransport.RoundTrip(request)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			require.Equal(t, test.status, response.StatusCode)
			for name, value := range map[string]string{
				"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
				"Access-Control-Allow-Origin": "",
			} {
				require.Equal(t, value, response.Header.Get(name), name)
			}
			require.Len(t, response.Header.Values("Content-Security-Policy"), 1)
			require.Regexp(t, "^"+test.policy+"$", response.Header.Get("Content-Security-Policy"))
		})
	}
}
