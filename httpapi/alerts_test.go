package httpapi_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/db"
)

func TestListAlerts(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	require.JSONEq(t, `{"data": []}`, a.get("/api/v1/alerts").raw)

	at := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	raise := func(worker string, at time.Time) {
		require.NoError(t, a.queries().RaiseAlert(t.Context(), db.RaiseAlertParams{
			Kind: "no_sight", Message: "Workers cannot see the network.", Worker: worker, At: at,
		}))
	}
	withdraw := func(worker string, at time.Time) {
		require.NoError(t, a.queries().WithdrawAlert(t.Context(), db.WithdrawAlertParams{
			Kind: "no_sight", Worker: worker, At: at,
		}))
	}
	raise("w1", at)
	raise("w2", at.Add(5*time.Second))
	withdraw("w1", at.Add(6*time.Second))
	withdraw("w2", at.Add(7*time.Second))
	raise("w1", at.Add(time.Hour))

	answer := a.get("/api/v1/alerts")
	require.Equal(t, http.StatusOK, answer.status)
	require.JSONEq(t, `{"data": [
		{"kind": "no_sight", "message": "Workers cannot see the network.", "opened_at": "2026-06-01T13:00:00Z",
			"seen_at": "2026-06-01T13:00:00Z", "closed_at": null, "workers": ["w1"], "open_workers": ["w1"]},
		{"kind": "no_sight", "message": "Workers cannot see the network.", "opened_at": "2026-06-01T12:00:00Z",
			"seen_at": "2026-06-01T12:00:05Z", "closed_at": "2026-06-01T12:00:07Z", "workers": ["w1", "w2"], "open_workers": []}
	]}`, answer.raw)

	for range 60 {
		withdraw("w1", at.Add(2*time.Hour))
		raise("w1", at.Add(3*time.Hour))
	}
	var list struct{ Data []any }
	a.get("/api/v1/alerts").into(&list)
	require.Len(t, list.Data, 50)
}
