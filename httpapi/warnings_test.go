package httpapi_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/db"
)

func TestListWarnings(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	require.JSONEq(t, `{"data": []}`, a.get("/api/v1/warnings").raw)

	at := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	raise := func(process string, at time.Time) {
		require.NoError(t, a.queries().RaiseWarning(t.Context(), db.RaiseWarningParams{
			Kind: "no_sight", Message: "Workers cannot see the network.", Process: process, At: at,
		}))
	}
	withdraw := func(process string, at time.Time) {
		require.NoError(t, a.queries().WithdrawWarning(t.Context(), db.WithdrawWarningParams{
			Kind: "no_sight", Process: process, At: at,
		}))
	}
	raise("w1", at)
	raise("w2", at.Add(5*time.Second))
	withdraw("w1", at.Add(6*time.Second))
	withdraw("w2", at.Add(7*time.Second))
	raise("w1", at.Add(time.Hour))

	answer := a.get("/api/v1/warnings")
	require.Equal(t, http.StatusOK, answer.status)
	require.JSONEq(t, `{"data": [
		{"kind": "no_sight", "message": "Workers cannot see the network.", "opened_at": "2026-06-01T13:00:00Z",
			"seen_at": "2026-06-01T13:00:00Z", "closed_at": null, "processes": ["w1"], "open_processes": ["w1"]},
		{"kind": "no_sight", "message": "Workers cannot see the network.", "opened_at": "2026-06-01T12:00:00Z",
			"seen_at": "2026-06-01T12:00:05Z", "closed_at": "2026-06-01T12:00:07Z", "processes": ["w1", "w2"], "open_processes": []}
	]}`, answer.raw)

	for range 60 {
		withdraw("w1", at.Add(2*time.Hour))
		raise("w1", at.Add(3*time.Hour))
	}
	var list struct{ Data []any }
	a.get("/api/v1/warnings").into(&list)
	require.Len(t, list.Data, 50)
}
