//go:build linux

package chaos_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/jobs"
	"riverwatch/queue"
	"riverwatch/uptime"
)

// Faults of what changes while the program works: monitors, the schema, the program itself; and of many doing the same.
func changeFaults() []fault {
	return []fault{
		{"F35", "three tend and insert rounds at the same time", true, setup{monitors: full(80, 1000), workers: 3, tendMay: true}, race},
		{"F47", "the schema is migrated under load", true, setup{}, migrate},
		{"F48", "the program is replaced, one process after the other", true, setup{}, deploy},
		{"F50", "many write across a chunk's boundary", true, setup{chunks: 3 * time.Second}, crossBoundaries},
		{"F51", "old chunks go while others are written and read", true, setup{chunks: 2 * time.Second}, dropChunks},
		{"F55", "monitors are edited, paused, deleted and revived during scans that fail", true, setup{
			workerEnv: []string{"RIVERWATCH_PROBES_PER_HOST=2000"}, // each edit of what is expected asks for a scan
		}, editAll},
		{"F65", "the log has two thousand chunks", false, setup{
			ownCluster: true, monitors: 200, noClient: true, gaps: lostWithTheDatabase, late: lateAgain, healed: databaseIsBack,
		}, fillWithChunks},
		{"F64", "two bulks change the same monitors again and again", true, setup{alone: true}, changeInBulk},
	}
}

// race lets three tend and three insert rounds, without a pause, besides workers that do the same. What they share is the
// database, as three processes do. Each of forty chains has a round every ten seconds: four hundred in the long run.
func race(t *testing.T, w *world) {
	t.Helper()
	schedules := w.schedules(t)
	ctx, cancel := context.WithTimeout(t.Context(), full(12*time.Second, 100*time.Second))
	defer cancel()
	var group errgroup.Group
	for range 3 {
		pool := dbtest.Open(t, w.proxy.url)
		inserts := newQueue(t, pool)
		group.Go(func() error {
			tend := jobs.Tend{Conn: pool, Queue: inserts, Now: time.Now}
			for sleep(ctx, time.Millisecond) {
				if _, err := tend.Once(context.WithoutCancel(ctx)); err != nil {
					return fmt.Errorf("tend: %w", err)
				}
			}
			return nil
		})
		group.Go(func() error {
			for sleep(ctx, time.Millisecond) {
				if err := insertNext(context.WithoutCancel(ctx), inserts, schedules); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
}

// schedules gives those of all monitors, once each.
func (w *world) schedules(t *testing.T) (schedules []uptime.Schedule) {
	t.Helper()
	rows, err := w.direct.Query(t.Context(), "SELECT DISTINCT interval_seconds, phase_ms FROM monitors")
	require.NoError(t, err)
	schedules, err = pgx.CollectRows(rows, pgx.RowToStructByPos[uptime.Schedule])
	require.NoError(t, err)
	return schedules
}

func insertNext(ctx context.Context, inserts queue.Queue, schedules []uptime.Schedule) error {
	var rounds []river.InsertManyParams
	for _, schedule := range schedules {
		next := schedule.SlotAfter(time.Now())
		rounds = append(rounds, queue.RoundAt(schedule, next, next))
	}
	_, err := inserts.InsertMany(ctx, rounds)
	return err
}

var discard = slog.New(slog.DiscardHandler)

func newQueue(t *testing.T, pool *pgxpool.Pool) queue.Queue {
	t.Helper()
	inserts, err := queue.New(pool, discard, nil)
	require.NoError(t, err)
	return inserts
}

// insertMany inserts so many monitors of one schedule, from id 1,000,000 on, and gives their first slot.
func (w *world) insertMany(t *testing.T, count int) time.Time {
	t.Helper()
	schedule := uptime.Schedule{Interval: 60, PhaseMS: 1000 * int((time.Now().Unix()+20)%60)}
	slot := schedule.SlotAfter(time.Now())
	dbtest.Monitors(t, w.direct, schedule, slot, count, func(n int, m *db.Monitor) {
		m.ID, m.URL, m.TimeoutMS = int64(1_000_001+n), fmt.Sprintf("%s/many/%d", w.target.URL, n+1), 5000
		m.FailureThreshold, m.SuccessThreshold, m.RetryIntervalSeconds = 1, 1, 86400
		m.AcceptedStatuses, m.MaxRedirects = []string{"200"}, 0
	})
	require.NoError(t, insertNext(t.Context(), newQueue(t, w.direct), []uptime.Schedule{schedule}))
	return slot
}

// migrate brings the schema to that of the next release, by ten processes at once, while all work and a dump reads what
// is to change. The present program goes on with the next schema.
func migrate(t *testing.T, w *world) {
	t.Helper()
	next, err := newer()
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var watching sync.WaitGroup
	var longest time.Duration
	var asked, failed int
	watching.Go(func() { longest = w.sampleLocks(ctx, "l.locktype = 'relation'") })
	watching.Go(func() { asked, failed = w.ask5xx(ctx) })

	dump, err := w.direct.Begin(t.Context())
	require.NoError(t, err)
	defer dump.Rollback(context.Background()) //nolint:errcheck // it only read
	_, err = dump.Exec(t.Context(), "SET LOCAL idle_in_transaction_session_timeout = 0")
	require.NoError(t, err)
	_, err = dump.Exec(t.Context(), "LOCK TABLE monitors, monitor_log, river_job IN ACCESS SHARE MODE")
	require.NoError(t, err)
	var migrations []*process
	for range 10 {
		migrations = append(migrations, start(t, next, w.env(), nil, "migrate", "up"))
	}
	began := time.Now()
	logged := func() (all string) {
		for _, p := range migrations {
			require.True(t, p.alive(), p.stderr)
			all += p.stderr.String()
		}
		return all
	}
	for !strings.Contains(logged(), "LOCK TABLE monitors") { // ten that start at once may need a while
		require.True(t, sleep(t.Context(), 10*time.Millisecond))
	}
	time.Sleep(full(4*time.Second, time.Minute) - time.Since(began))
	require.Equal(t, 1, strings.Count(logged(), "LOCK TABLE monitors, monitor_log, river_job"), "the one that migrates says whom it waits for")

	require.NoError(t, dump.Rollback(t.Context()))
	for _, p := range migrations {
		<-p.ended
		require.NoError(t, p.err, p.stderr)
	}
	require.Equal(t, []string{"7"}, w.ask(t, "SELECT DISTINCT chaos::text FROM monitors", nil))
	time.Sleep(full(2*time.Second, 20*time.Second))
	cancel()
	watching.Wait()
	require.Less(t, longest, time.Second, "somebody waits for a lock")
	require.Greater(t, asked, 100)
	require.LessOrEqual(t, failed, asked/1000, "of %d answers of the API", asked)
}

// ask5xx asks the API until ctx is done, and gives how often, and how often it did not get what it asked for.
func (w *world) ask5xx(ctx context.Context) (asked, failed int) {
	for sleep(ctx, 10*time.Millisecond) {
		status, err := w.request(ctx, http.MethodGet, "/api/v1/monitors?limit=10", nil, nil)
		if ctx.Err() != nil {
			break
		}
		asked++
		if err != nil || status >= http.StatusInternalServerError {
			failed++
		}
	}
	return asked, failed
}

// sampleLocks gives the longest that anybody was seen waiting for a lock until ctx is done, of those who are looked at: a
// condition on l (pg_locks) and a (pg_stat_activity).
func (w *world) sampleLocks(ctx context.Context, those string) (longest time.Duration) {
	for sleep(ctx, 50*time.Millisecond) {
		var seconds float64
		err := w.direct.QueryRow(ctx, `SELECT coalesce(max(extract(epoch FROM clock_timestamp() - waitstart)), 0)::float8
			FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
			WHERE NOT granted AND a.datname = current_database() AND `+those).Scan(&seconds)
		if err == nil {
			longest = max(longest, time.Duration(seconds*float64(time.Second)))
		}
	}
	return longest
}

// deploy replaces each process by that of an older program and then by the new one again, so that the two work together in
// either order, and leaves a job of a kind that only a newer program knows. (Four minutes in the long run instead of ten:
// each mixture of programs sees every monitor's slot four times, and tend comes each minute.)
func deploy(t *testing.T, w *world) {
	t.Helper()
	old, err := older()
	if err != nil {
		t.Skipf("needs the commits of this repository, to build an older program: %v", err)
	}
	t.Logf("the older program is that of %s", old[1])
	w.exec(t, `INSERT INTO river_job (kind, queue, state, max_attempts, args)
		VALUES ('from_the_future', 'rounds', 'available', 20, '{}')`)
	for _, next := range []string{old[0], w.program} {
		for i := range w.workers {
			p := start(t, next, w.env(), nil, "worker")
			p.name(t)
			_, code := w.workers[i].terminate(t)
			require.Zero(t, code)
			w.workers[i] = p
			time.Sleep(full(500*time.Millisecond, 40*time.Second))
		}
		_, code := w.api.terminate(t)
		require.Zero(t, code)
		w.api = start(t, next, w.env("RIVERWATCH_LISTEN="+strings.TrimPrefix(w.address, "http://")), nil, "api")
		w.api.stdout.await(t, regexp.MustCompile(`(http://\S+)/docs/`))
		time.Sleep(full(500*time.Millisecond, 40*time.Second))
	}
	require.Equal(t, []string{"available 0"}, w.ask(t,
		"SELECT state || ' ' || attempt FROM river_job WHERE kind = 'from_the_future'", nil), "it waits for one who knows it")
	require.Empty(t, w.ask(t, "SELECT kind || ' ' || args FROM river_job WHERE state = 'discarded'", nil))
}
