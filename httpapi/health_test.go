package httpapi_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
)

func openPool(t *testing.T, databaseURL string) *pgxpool.Pool {
	t.Helper()
	pool, err := db.Open(context.Background(), databaseURL, 4)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func TestReady(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	require.Equal(t, http.StatusOK, a.get("/livez").status)
	require.Equal(t, http.StatusOK, a.get("/readyz").status)
}

func TestSchemaOfAnEarlierBuild(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	_, err := a.pool.Exec(t.Context(), "UPDATE schema_version SET baseline = 'another'")
	require.NoError(t, err)
	answer := a.get("/readyz")
	require.Equal(t, http.StatusServiceUnavailable, answer.status, answer.raw)
	require.Equal(t, "schema_outdated", answer.problem().Code)
	require.Contains(t, answer.raw, "made anew")
}

func TestWithoutSchema(t *testing.T) {
	t.Parallel()
	a := newTestAPIOn(t, openPool(t, dbtest.EmptyURL(t)))
	require.Equal(t, http.StatusOK, a.get("/livez").status)
	for _, answer := range []answer{a.get("/readyz"), a.get(monitorsPath), a.post(monitorsPath, `{"url":"http://example.com/"}`)} {
		require.Equal(t, http.StatusServiceUnavailable, answer.status, answer.raw)
		require.Equal(t, "schema_outdated", answer.problem().Code)
		require.NotEmpty(t, answer.header.Get("Retry-After"))
	}
}

// A database that is away is told of, whether it refuses, or takes the connection and says nothing. (That it is within
// 3.5 s is for a machine that has time: F16 of make chaos.)
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	closed, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())

	for name, listener := range map[string]net.Listener{"Silent": silent, "Closed": closed} {
		a := newTestAPIOn(t, openPool(t, "postgres://u@"+listener.Addr().String()+"/d?sslmode=disable"))
		require.Equal(t, http.StatusOK, a.get("/livez").status)
		for route, send := range map[string]func() answer{
			"ready":  func() answer { return a.get("/readyz") },
			"list":   func() answer { return a.get(monitorsPath) },
			"create": func() answer { return a.post(monitorsPath, `{"url":"http://example.com/"}`) },
			"bulk":   func() answer { return a.post(monitorsPath+"/bulk", `{"monitors":[{"url":"http://example.com/"}]}`) },
			"scan":   func() answer { return a.post(monitorsPath+"/1/scan", "") },
			"delete": func() answer { return a.send(http.MethodDelete, monitorsPath+"/1", "") },
		} {
			t.Run(name+"/"+route, func(t *testing.T) {
				t.Parallel()
				began := time.Now()
				answer := send()
				require.Less(t, time.Since(began), 10*time.Second, "a hang would be cut by nothing but the test's end")
				require.Equal(t, http.StatusServiceUnavailable, answer.status, answer.raw)
				require.Equal(t, "database_unavailable", answer.problem().Code)
				require.Equal(t, "5", answer.header.Get("Retry-After"))
				require.NotContains(t, answer.raw, "127.0.0.1")
			})
		}
	}
}

// A database that is there, and takes too long, is not said to be away.
func TestTooSlow(t *testing.T) {
	t.Parallel()
	tooSlow := func(t *testing.T, answer answer) {
		t.Helper()
		require.Equal(t, http.StatusServiceUnavailable, answer.status, answer.raw)
		require.Equal(t, "too_slow", answer.problem().Code)
		require.Equal(t, "5", answer.header.Get("Retry-After"))
	}

	t.Run("ARead", func(t *testing.T) {
		t.Parallel()
		a := newTestAPI(t)
		a.create(`{"url":"http://example.com/shop"}`)
		dbtest.Exec(t, a.pool, "ALTER TABLE monitor_states RENAME TO states")
		dbtest.Exec(t, a.pool, "CREATE VIEW monitor_states AS SELECT * FROM states WHERE (SELECT pg_sleep(60)) IS NOT NULL")
		tooSlow(t, a.get(monitorsPath+"?q=shop"))
	})

	t.Run("AChangeThatSomebodyIsInTheWayOf", func(t *testing.T) {
		t.Parallel()
		a := newTestAPI(t)
		monitor := a.create(`{"url":"http://example.com/"}`)
		tx, err := a.pool.Begin(t.Context())
		require.NoError(t, err)
		t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
		dbtest.Exec(t, tx, "SELECT FROM monitors FOR UPDATE")
		tooSlow(t, a.send(http.MethodDelete, fmt.Sprintf("%s/%d", monitorsPath, monitor.ID), ""))
	})

	t.Run("ButOneThatSaysNothingMoreIsAway", func(t *testing.T) {
		t.Parallel()
		config, err := pgxpool.ParseConfig(dbtest.URL(t))
		require.NoError(t, err)
		var silent atomic.Bool
		config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			return lossy{conn, &silent}, err
		}
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		a := newTestAPIOn(t, pool)
		require.Equal(t, http.StatusOK, a.get(monitorsPath).status)
		silent.Store(true)
		require.Equal(t, "database_unavailable", a.get(monitorsPath).problem().Code)
	})
}

// lossy is a connection on which nothing gets through once it is silent.
type lossy struct {
	net.Conn

	silent *atomic.Bool
}

func (l lossy) Write(p []byte) (int, error) {
	if l.silent.Load() {
		return len(p), nil
	}
	return l.Conn.Write(p)
}
