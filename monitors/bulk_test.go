package monitors_test

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/monitors"
	"riverwatch/monitors/monitorstest"
	"riverwatch/queue"
)

// roundTrips counts how often the database is asked for something and waited for. A batch is one. River tells of jobs once in
// a while, whoever inserts them.
type roundTrips struct{ count atomic.Int64 }

func (r *roundTrips) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if !strings.Contains(data.SQL, "PGNotifyMany") {
		r.count.Add(1)
	}
	return ctx
}

func (r *roundTrips) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	r.count.Add(1)
	return ctx
}

func (*roundTrips) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData)     {}
func (*roundTrips) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (*roundTrips) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// A bulk asks the database as often for a thousand monitors as for ten, whatever becomes of them: what it holds, others wait for.
func TestABulkIsAFewRoundTrips(t *testing.T) {
	t.Parallel()
	config, err := pgxpool.ParseConfig(dbtest.URL(t))
	require.NoError(t, err)
	trips := &roundTrips{}
	config.ConnConfig.Tracer = trips
	config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false } // it is counted
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	p := monitorstest.On(t, pool)
	p.Create(t, monitorstest.Of(monitorstest.URL("first"), 60)) // River asks for the types of its columns

	asked := map[string][]int64{}
	for _, size := range []int{10, 1000} {
		given := make([]monitors.Monitor, size)
		for i := range given {
			given[i] = monitorstest.Of(monitorstest.URL("%d/%d", size, i), 60)
			given[i].Secrets.BearerToken = "secret"
		}
		create := func(step string, update bool, want monitors.Result) {
			before := trips.count.Load()
			creations, err := p.Store().Create(t.Context(), given, update)
			require.NoError(t, err)
			asked[step] = append(asked[step], trips.count.Load()-before)
			require.False(t, slices.ContainsFunc(creations, func(c monitors.Creation) bool { return c.Result != want }), step)
		}
		each := func(change func(m *monitors.Monitor)) {
			for i := range given {
				change(&given[i])
			}
		}
		create("new", false, monitors.Created)
		create("there", false, monitors.Exists)
		create("nothing new", true, monitors.Updated)
		each(func(m *monitors.Monitor) { m.MaxRedirects, m.Secrets.BearerToken = 3, "another" })
		create("judged anew", true, monitors.Updated)
		each(func(m *monitors.Monitor) { m.IntervalSeconds, m.Secrets.BearerToken = 30, "" })
		create("promised anew", true, monitors.Updated)
		p.Exec(t, `UPDATE monitors SET deleted_at = now() WHERE deleted_at IS NULL`)
		p.Exec(t, `DELETE FROM monitor_states; DELETE FROM monitor_schedules`)
		create("revived", false, monitors.Created)
	}
	for step, counts := range asked {
		require.LessOrEqual(t, counts[0], int64(20), step)
		require.Equal(t, counts[0], counts[1], "%s: a thousand take more round trips than ten", step)
	}
}

// Two bulks insert rounds in one order, those of all slots together: else each could wait for one that the other inserted.
func TestABulkInsertsRoundsInTheirOrder(t *testing.T) {
	t.Parallel()
	p := monitorstest.On(t, dbtest.New(t))
	var given []monitors.Monitor
	var rows []db.Monitor
	for i := range 10 {
		m := monitorstest.Of(monitorstest.URL("%d", i), 60)
		m.Enable(false)
		rows = append(rows, p.Create(t, m))
		m.Enable(true)
		given = append(given, m)
	}
	slices.SortFunc(rows, func(a, b db.Monitor) int { return cmp.Compare(a.PhaseMS, b.PhaseMS) })
	require.NotEqual(t, slices.MinFunc(rows, func(a, b db.Monitor) int { return cmp.Compare(a.ID, b.ID) }), rows[0])
	first := rows[0].Schedule()
	begun := queue.Round(first, first.SlotAfter(monitorstest.Noon))
	_, err := p.Queue.InsertMany(t.Context(), []river.InsertManyParams{begun})
	require.NoError(t, err)
	p.Exec(t, "UPDATE river_job SET state = 'running' WHERE kind = 'round'")
	other, err := p.Pool.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = other.Rollback(context.Background()) })
	insert := func(round river.InsertManyParams) {
		_, err := p.Queue.InsertManyTx(t.Context(), other, []river.InsertManyParams{round})
		require.NoError(t, err)
	}
	insert(queue.Round(first, first.Next(first.SlotAfter(monitorstest.Noon))))

	done := make(chan error, 1)
	go func() {
		_, err := p.Store().Create(context.Background(), given, true)
		done <- err
	}()
	awaitLock(t, p)
	for _, row := range rows[1:] {
		insert(queue.Round(row.Schedule(), row.Schedule().SlotAfter(monitorstest.Noon)))
	}

	require.NoError(t, other.Commit(t.Context()))
	require.NoError(t, <-done)
	require.Equal(t, 10, p.Count(t, "monitor_schedules WHERE until_at IS NULL"))
	require.Equal(t, 1, p.Count(t, "monitor_schedules WHERE phase_ms = $1 AND from_at = $2", first.PhaseMS,
		first.Next(first.SlotAfter(monitorstest.Noon))), "the round that has begun may have read its monitors")
}

// A change of very many monitors takes its time: what is promised then begins when it is promised, as a slot before that is late.
func TestAPromiseBeginsWhenItIsMade(t *testing.T) {
	t.Parallel()
	p := monitorstest.On(t, dbtest.New(t))
	store := p.Store()
	var asked atomic.Int64
	store.Now = func() time.Time { // each time it is asked, ten minutes later
		return monitorstest.Noon.Add(time.Duration(asked.Add(1)-1) * 10 * time.Minute)
	}
	creations, err := store.Create(t.Context(), []monitors.Monitor{monitorstest.Of(monitorstest.URL("slow"), 60)}, false)
	require.NoError(t, err)
	require.True(t, creations[0].Monitor.CreatedAt.Equal(monitorstest.Noon))
	first := creations[0].Monitor.Schedule().SlotAfter(monitorstest.Noon.Add(10 * time.Minute))
	require.True(t, first.Equal(dbtest.One[time.Time](t, p.Pool, "SELECT from_at FROM monitor_schedules")))
	require.True(t, first.Equal(dbtest.One[time.Time](t, p.Pool, "SELECT min((args ->> 'slot')::timestamptz) FROM river_job WHERE kind = 'round'")))
}
