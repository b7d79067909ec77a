package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/db/dbtest"
)

// A page of a stranger whose name leads to our address reaches nothing, on any listener.
func TestHosts(t *testing.T) {
	t.Parallel()
	metrics := freeAddress(t)
	api := start(t, map[string]string{
		"DATABASE_URL": dbtest.URL(t), "RIVERWATCH_LISTEN": "127.0.0.1:0", "RIVERWATCH_METRICS_LISTEN": metrics,
		"RIVERWATCH_HOSTS": "riverwatch.example, Other.Example.",
	}, "api").answers()
	status := func(t *testing.T, method, url, host string) int {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
		require.NoError(t, err)
		request.Host = host
		request.Header.Set("Sec-Fetch-Site", "same-origin") // as the browser says of a page that rebinds its name
		request.Header.Set("Origin", "http://"+host)
		response, err := http.DefaultTransport.RoundTrip(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	for _, host := range []string{"evil.example:8080", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.1.2.3", "[2001:db8::1]:8080"} {
		for _, path := range []string{"/api/v1/monitors", "/docs/", "/openapi.json", "/river/", "/river/api/jobs", "/livez", "/readyz", "/"} {
			require.Equal(t, http.StatusMisdirectedRequest, status(t, http.MethodGet, api.baseURL+path, host), "%s %s", host, path)
		}
		require.Equal(t, http.StatusMisdirectedRequest, status(t, http.MethodPut, api.baseURL+"/river/api/queues/rounds/pause", host))
		require.Equal(t, http.StatusMisdirectedRequest, status(t, http.MethodGet, "http://"+metrics+"/metrics", host))
	}
	for _, host := range []string{
		"localhost", "localhost:9999", "LOCALHOST.", "127.0.0.1:1", "127.9.9.9", "[::1]:8080", "[::ffff:127.0.0.1]",
		"riverwatch.example", "riverwatch.example:443", "other.example",
	} {
		require.Equal(t, http.StatusOK, status(t, http.MethodGet, api.baseURL+"/api/v1/monitors", host), host)
		require.Equal(t, http.StatusOK, status(t, http.MethodGet, "http://"+metrics+"/metrics", host), host)
	}
}

// The address at which a request came in is ours, as that of a pod is, and no other one.
func TestHostByAddress(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(hosts(nil).only(http.NotFoundHandler()))
	t.Cleanup(server.Close)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
	require.NoError(t, err)
	answer := func(host string) int {
		recorder := httptest.NewRecorder()
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		request.Host = host
		hosts(nil).only(http.NotFoundHandler()).ServeHTTP(recorder, request)
		return recorder.Code
	}
	require.Equal(t, http.StatusMisdirectedRequest, answer("10.1.2.3:8080"), "it is not known how it came in")
	require.Equal(t, http.StatusMisdirectedRequest, answer(""))
	response, err := http.DefaultTransport.RoundTrip(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusNotFound, response.StatusCode)
}

func TestHostsAreNames(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"https://a.example", "a.example:8080", "*.example", "a.example,,b.example", "me@a.example"} {
		require.ErrorContains(t, new(hosts).UnmarshalText([]byte(bad)), "is no name of a host", bad)
	}
	var h hosts
	require.NoError(t, h.UnmarshalText([]byte("A.example., b.example")))
	require.Equal(t, hosts{"a.example", "b.example"}, h)
}
