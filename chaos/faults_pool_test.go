//go:build linux

package chaos_test

import (
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// hangMost lets 60 % of all monitors wait for their deadlines: 90 of them, each 10 s for 5 s, keep 45 places, and the two
// workers have 30 together. Their targets are 30 hosts, none of which has many. The healthy ones do not notice, once each of
// the others has been seen to hang.
func hangMost(t *testing.T, w *world) {
	t.Helper()
	const hanging, hosts = 90, 30
	ids := w.createHanging(t, hanging, hosts)
	from := time.Now().Add(2 * interval * time.Second)
	time.Sleep(full(40*time.Second, 80*time.Second))
	until := time.Now().Add(-longestStart)

	promised := func(of []int64) (slots, missed int) {
		row := w.direct.QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE l.slot IS NULL)
			FROM promised_slots($1, $2) AS p
			LEFT JOIN monitor_log AS l ON l.slot = p.slot AND l.monitor_id = p.monitor_id
			WHERE p.monitor_id = ANY($3)`, from, until, of)
		require.NoError(t, row.Scan(&slots, &missed))
		return slots, missed
	}
	slots, missed := promised(ids)
	t.Logf("of %d slots of hanging monitors %d found no place", slots, missed)
	require.NotZero(t, missed, "the pool is not full")

	slots, missed = promised(w.monitors)
	late := one[int](t, w.direct, `SELECT percentile_disc(0.99) WITHIN GROUP (ORDER BY late_ms) FROM monitor_log
		WHERE monitor_id = ANY($1) AND slot >= $2 AND slot < $3 AND reason = 'round'`, w.monitors, from, until)
	t.Logf("of %d slots of healthy monitors %d found no place; lateness p99 of the others: %d ms", slots, missed, late)
	require.Zero(t, missed, "healthy monitors find no place")
	require.Less(t, late, 2000, "healthy monitors wait for the hanging ones")
	require.Empty(t, w.ask(t, "SELECT outcome FROM monitor_log WHERE monitor_id = ANY(@ids) AND outcome NOT IN ('ok', 'inconclusive')",
		pgx.NamedArgs{"ids": w.monitors}))
}

// createHanging creates monitors of targets that take a connection and say nothing, which the ledger knows of, and gives
// their ids.
func (w *world) createHanging(t *testing.T, monitors, hosts int) (ids []int64) {
	t.Helper()
	target := newTarget(t, "0.0.0.0")
	target.answers(func(_ http.ResponseWriter, r *http.Request) bool {
		w.target.note(hit{path: r.URL.Path, at: time.Now(), well: false})
		<-r.Context().Done()
		return false
	})
	_, port, err := net.SplitHostPort(target.Listener.Addr().String())
	require.NoError(t, err)
	var configs []map[string]any
	for n := range monitors {
		config := w.monitorConfig("")
		config["url"] = fmt.Sprintf("http://127.0.37.%d:%s/hang/%d", 1+n%hosts, port, n)
		configs = append(configs, config)
	}
	var answer struct{ Data []struct{ ID int64 } }
	status, err := w.post(t.Context(), "/api/v1/monitors/bulk", map[string]any{"monitors": configs}, &answer)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	for _, created := range answer.Data {
		ids = append(ids, created.ID)
	}
	return ids
}
