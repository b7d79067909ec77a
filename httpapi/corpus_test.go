package httpapi_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/probe/hostile"
)

// requireExpected compares an answer with the column expect of a list: ok, or the code of one of a problem's errors.
func requireExpected(t *testing.T, expect string, answer answer) {
	t.Helper()
	if expect == "ok" {
		require.Contains(t, []int{http.StatusOK, http.StatusCreated}, answer.status, answer.raw)
		return
	}
	require.Equal(t, http.StatusBadRequest, answer.status, answer.raw)
	codes := answer.codes()
	require.True(t, slices.Contains(valuesOf(codes), expect), "want %s, got %v", expect, codes)
}

func valuesOf(codes map[string]string) (values []string) {
	for _, code := range codes {
		values = append(values, code)
	}
	return values
}

// upsert is how a row is sent: several of a list may describe the same monitor.
const upsert = monitorsPath + "?if_exists=update"

func TestHostileJSON(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	for _, row := range hostile.Rows(t, "testdata/json.csv") {
		t.Run(row["id"], func(t *testing.T) {
			t.Parallel()
			requireExpected(t, row["expect"], a.post(upsert, hostile.Text(t, row["body"])))
		})
	}
}

func TestHostileURLs(t *testing.T) {
	t.Parallel()
	public := newTestAPI(t)
	lan := newTestAPIOn(t, public.pool, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
	for _, row := range hostile.Rows(t, "../probe/testdata/url.csv") {
		t.Run(row["id"], func(t *testing.T) {
			t.Parallel()
			a := public
			if row["policy"] == "lan" {
				a = lan
			}
			requireExpected(t, row["expect"], a.post(upsert, field(t, "url", hostile.Text(t, row["input"]))))
		})
	}
}

func TestHostileRegexps(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	for _, row := range hostile.Rows(t, "../probe/testdata/regexp.csv") {
		t.Run(row["id"], func(t *testing.T) {
			t.Parallel()
			pattern := hostile.Text(t, row["pattern"])
			if row["id"] == "R048" { // not UTF-8, and so no JSON at all
				answer := a.post(upsert, `{"url":"http://example.com/","regexp":"`+pattern+`"}`)
				require.Equal(t, map[string]string{"body": "json_invalid"}, answer.codes())
				return
			}
			requireExpected(t, row["expect"], a.post(upsert, field(t, "regexp", pattern)))
		})
	}
}

func TestHostileHeaders(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	for _, row := range hostile.Rows(t, "../probe/testdata/header.csv") {
		t.Run(row["id"], func(t *testing.T) {
			t.Parallel()
			name, value := hostile.Text(t, row["name"]), hostile.Text(t, row["value"])
			body, err := json.Marshal(map[string]any{"url": "http://example.com/", "headers": map[string]string{name: value}})
			require.NoError(t, err)
			requireExpected(t, row["expect"], a.post(upsert, string(body)))
		})
	}
}

// field makes a monitor's body with one field of its own.
func field(t *testing.T, name, value string) string {
	t.Helper()
	body, err := json.Marshal(map[string]string{"url": "http://example.com/", name: value})
	require.NoError(t, err)
	return string(body)
}
