package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/db/dbtest"
)

// River UI has no access control of its own, and whoever writes there can stop all scans.
func TestRiverUI(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]struct{ page, read, write int }{
		"":      {http.StatusOK, http.StatusOK, http.StatusNotFound}, // such a queue is not there
		"write": {http.StatusOK, http.StatusOK, http.StatusNotFound},
		"read":  {http.StatusOK, http.StatusOK, http.StatusForbidden},
		"off":   {http.StatusNotFound, http.StatusNotFound, http.StatusNotFound},
	} {
		t.Run("Set"+setting, func(t *testing.T) {
			t.Parallel()
			api := start(t, map[string]string{
				"DATABASE_URL": dbtest.URL(t), "RIVERWATCH_LISTEN": "127.0.0.1:0", "RIVERWATCH_RIVER_UI": setting,
			}, "api").answers()
			status := func(method, path string, headers ...string) int {
				status, _ := api.request(method, path, "", headers...)
				return status
			}
			require.Equal(t, want.page, status(http.MethodGet, "/river/", "Accept", "text/html"))
			require.Equal(t, want.read, status(http.MethodGet, "/river/api/jobs"))
			require.Equal(t, want.write, status(http.MethodPut, "/river/api/queues/nothing/pause"))
			if setting != "off" {
				require.Equal(t, http.StatusForbidden, status(http.MethodGet, "/river/", "X-Forwarded-For", "203.0.113.7"), "by a proxy")
			}
		})
	}
}

func TestFromHere(t *testing.T) {
	t.Parallel()
	for remote, want := range map[string]bool{
		"127.0.0.1:4711": true, "127.8.9.1:1": true, "[::1]:4711": true, "[::ffff:127.0.0.1]:4711": true,
		"10.0.0.5:4711": false, "172.17.0.1:4711": false, "[2001:db8::1]:4711": false, "": false, "@": false,
	} {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/river/", http.NoBody)
		request.RemoteAddr = remote
		require.Equal(t, want, fromHere(request), remote)
	}
}
