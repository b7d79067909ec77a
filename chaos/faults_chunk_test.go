//go:build linux

package chaos_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/queue"
	"riverwatch/record"
)

// crossBoundaries writes to a log with chunks of a few seconds from many sides besides the workers: at most boundaries the
// chunk is not there yet, which tend makes ahead once a minute. Each row that a writer was told of is there.
func crossBoundaries(t *testing.T, w *world) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), full(10*time.Second, time.Minute))
	defer cancel()
	pool := dbtest.Open(t, w.proxy.url)
	inserts := newQueue(t, pool)
	recorded := make([][]time.Time, full(8, 32))
	var group errgroup.Group
	for n := range recorded {
		group.Go(func() (err error) {
			recorded[n], err = recordAcross(ctx, pool, inserts, writerID(n))
			return err
		})
	}
	require.NoError(t, group.Wait())
	w.exec(t, "SELECT set_chunk_time_interval('monitor_log', INTERVAL '6 hours')")
	count := 0
	for n, slots := range recorded {
		count += len(slots)
		require.Empty(t, w.ask(t, `SELECT slot::text FROM unnest(@slots::timestamptz[]) AS slot
			WHERE NOT EXISTS (SELECT 1 FROM monitor_log AS l WHERE l.slot = slot.slot AND l.monitor_id = @id)`,
			pgx.NamedArgs{"slots": slots, "id": writerID(n)}), "rows of writer %d are lost", n)
	}
	chunks := one[int](t, w.direct, `SELECT count(*)::integer FROM timescaledb_information.chunks
		WHERE hypertable_name = 'monitor_log' AND range_start BETWEEN $1 AND now()`, w.began)
	t.Logf("%d rows of %d writers across %d chunks", count, len(recorded), chunks)
	require.GreaterOrEqual(t, chunks, 3)
}

func writerID(n int) int64 { return int64(2_000_000 + n) }

// recordAcross records scans of a monitor, ten each second, until ctx is done, and gives the slots that it was told are
// recorded.
func recordAcross(ctx context.Context, pool db.Conn, inserts queue.Queue, monitorID int64) (slots []time.Time, err error) {
	recorder := record.NewRecorder(record.Config{
		Conn: pool, Queue: inserts, Kept: 10_000, Now: time.Now, Logger: discard, Registry: prometheus.NewRegistry(),
	})
	runCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { recorder.Run(runCtx) })
	defer running.Wait()
	defer stop()
	for sleep(ctx, 100*time.Millisecond) {
		scan := dbtest.Scan(monitorID, time.Now().Truncate(time.Microsecond))
		if err := recorder.Record(context.WithoutCancel(ctx), scan, nil); err != nil {
			return nil, fmt.Errorf("record scan of %s: %w", scan.Slot, err)
		}
		slots = append(slots, scan.Slot)
	}
	return slots, nil
}

// dropChunks drops what is older than some seconds, each second, while the API reads the log. What goes is put aside, and
// put back for the checks. (Retention drops only what is rolled up, which takes an hour; that a row which comes too late for it is
// refused, and makes no chunk, record's TestLateScans holds.)
func dropChunks(t *testing.T, w *world) {
	t.Helper()
	w.exec(t, "CREATE TABLE dropped (LIKE monitor_log)")
	asked, dropped := 0, 0
	until := time.Now().Add(full(8*time.Second, time.Minute))
	for time.Now().Before(until) || dropped == 0 && time.Now().Before(until.Add(30*time.Second)) {
		older := time.Now().Add(-8 * time.Second)
		w.exec(t, "INSERT INTO dropped SELECT * FROM monitor_log WHERE slot < $1", older)
		chunks, err := w.tryToAsk(t.Context(), "SELECT drop_chunks('monitor_log', older_than => @older::timestamptz)",
			pgx.NamedArgs{"older": older})
		if db.TroubleOf(err) != db.TroubleRetry { // who drops may be the one that a deadlock costs
			require.NoError(t, err)
		}
		dropped += len(chunks)
		for _, id := range w.monitors[:5] {
			var list struct{ Data []json.RawMessage }
			status, err := w.request(t.Context(), http.MethodGet, fmt.Sprintf("/api/v1/monitors/%d/scans", id), nil, &list)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, status, "readers get rows or nothing, never an error")
			asked++
		}
		time.Sleep(time.Second)
	}
	w.exec(t, "SELECT set_chunk_time_interval('monitor_log', INTERVAL '6 hours')")
	t.Logf("%d chunks dropped, %d reads", dropped, asked)
	require.NotZero(t, dropped)
	w.exec(t, "INSERT INTO monitor_log SELECT * FROM dropped ON CONFLICT DO NOTHING")
}

// fillWithChunks gives the log two thousand chunks, as a year and a half of it has, empties them, and then lets workers and the
// database die: nobody runs out of locks, neither who works nor who takes over.
func fillWithChunks(t *testing.T, w *world) {
	t.Helper()
	const chunks, atOnce = 2000, 50 // each takes locks of its own in the transaction that makes it
	oldest := time.Now().Add(-chunks * 6 * time.Hour)
	for n := 0; n < chunks-8; n += atOnce { // the last two days are the world's
		w.exec(t, `INSERT INTO monitor_log (slot, monitor_id, late_ms, total_us, monitor_version, outcome, reason, worker)
			SELECT slot, 1, 0, 0, 1, 'ok', 'round', '' FROM generate_series($1::timestamptz, $2, INTERVAL '6 hours') AS slot`,
			oldest.Add(time.Duration(n)*6*time.Hour), oldest.Add(time.Duration(min(n+atOnce, chunks-8)-1)*6*time.Hour))
	}
	for _, chunk := range w.ask(t, "SELECT show_chunks('monitor_log', older_than => INTERVAL '1 day')::text", nil) {
		w.exec(t, "DELETE FROM "+chunk)
	}
	require.Greater(t, one[int](t, w.direct, "SELECT count(*)::integer FROM show_chunks('monitor_log')"), chunks-20)
	killAllWorkers(t, w)
	crashPostgres(t, w)
	for _, id := range w.monitors[:5] {
		for _, path := range []string{"", "/scans", "/scans?outcome=ok"} {
			status, err := w.request(t.Context(), http.MethodGet, fmt.Sprintf("/api/v1/monitors/%d%s", id, path), nil, nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, status, path)
		}
	}
}
