package db_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
)

func TestTroubleOf(t *testing.T) {
	t.Parallel()
	code := func(code string) error { return &pgconn.PgError{Code: code} }

	tests := []struct {
		name string
		err  error
		want db.Trouble
	}{
		{"NoError", nil, db.TroubleNone},
		{"NotTheDatabases", errors.New("bad regexp"), db.TroubleNone},
		{"NoRows", pgx.ErrNoRows, db.TroubleNone},
		{"TheCallerLeft", fmt.Errorf("query: %w", context.Canceled), db.TroubleNone},

		{"SerializationFailure", code("40001"), db.TroubleRetry},
		{"Deadlock", code("40P01"), db.TroubleRetry},
		{"LockTimeout", code("55P03"), db.TroubleRetry},
		{"StatementTimeout", code("57014"), db.TroubleRetry},
		{"IdleInTransaction", code("25P03"), db.TroubleRetry},
		{"TransactionTimeout", code("25P04"), db.TroubleRetry},

		{"ConnectionFailure", code("08006"), db.TroubleAway},
		{"AdminShutdown", code("57P01"), db.TroubleAway},
		{"CrashShutdown", code("57P02"), db.TroubleAway},
		{"StartingUp", code("57P03"), db.TroubleAway},
		{"TooManyConnections", code("53300"), db.TroubleAway},
		{"DiskFull", code("53100"), db.TroubleAway},
		{"ReadOnly", code("25006"), db.TroubleAway},
		{"IOError", code("58030"), db.TroubleAway},
		{"Deadline", fmt.Errorf("query: %w", context.DeadlineExceeded), db.TroubleAway},
		{"CutOff", fmt.Errorf("read: %w", io.ErrUnexpectedEOF), db.TroubleAway},
		{"Reset", &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, db.TroubleAway},
		{"ClosedSocket", fmt.Errorf("write: %w", net.ErrClosed), db.TroubleAway},
		{"ClosedConnection", fmt.Errorf("exec: %w", pgconn.ErrConnClosed), db.TroubleAway},

		{"UniqueViolation", code("23505"), db.TroubleOurs},
		{"CheckViolation", code("23514"), db.TroubleOurs},
		{"BadText", code("22021"), db.TroubleOurs},
		{"NoSuchTable", code("42P01"), db.TroubleOurs},
		{"InATransactionThatFailed", code("25P02"), db.TroubleOurs},
		{"Wrapped", fmt.Errorf("insert: %w", code("22003")), db.TroubleOurs},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, db.TroubleOf(test.err))
		})
	}
}

// What the errors of a real server are taken for.
func TestTroubleOfARealServer(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.EmptyURL(t)
	pool := dbtest.Open(t, databaseURL)

	t.Run("NobodyListens", func(t *testing.T) {
		t.Parallel()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, listener.Close())

		other := dbtest.Open(t, "postgres://riverwatch@"+listener.Addr().String()+"/riverwatch?sslmode=disable")
		require.Equal(t, db.TroubleAway, db.TroubleOf(other.Ping(t.Context())))
	})

	t.Run("TheServerDoesNotAnswer", func(t *testing.T) {
		t.Parallel()
		listener, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
		require.NoError(t, err)
		defer listener.Close() //nolint:errcheck // nothing is lost

		other := dbtest.Open(t, "postgres://riverwatch@"+listener.Addr().String()+"/riverwatch?sslmode=disable")
		require.LessOrEqual(t, other.Config().ConnConfig.ConnectTimeout, 2*time.Second, "an API caller is told within 3 s")
		require.Equal(t, db.TroubleAway, db.TroubleOf(other.Ping(t.Context())))
	})

	t.Run("TheDatabaseIsNotThere", func(t *testing.T) {
		t.Parallel()
		config, err := pgxpool.ParseConfig(databaseURL)
		require.NoError(t, err)
		config.ConnConfig.Database += "_gone"
		other, err := pgxpool.NewWithConfig(t.Context(), config)
		require.NoError(t, err)
		defer other.Close()
		require.Equal(t, db.TroubleAway, db.TroubleOf(other.Ping(t.Context())))
	})

	t.Run("TheBackendIsTerminated", func(t *testing.T) {
		t.Parallel()
		_, err := pool.Exec(t.Context(), "SELECT pg_terminate_backend(pg_backend_pid())")
		require.Equal(t, db.TroubleAway, db.TroubleOf(err))
	})

	t.Run("AConnectionIsUsedAfterItsEnd", func(t *testing.T) {
		t.Parallel()
		conn, err := pgx.Connect(t.Context(), databaseURL)
		require.NoError(t, err)
		require.NoError(t, conn.Close(t.Context()))
		_, err = conn.Exec(t.Context(), "SELECT 1")
		require.Equal(t, db.TroubleAway, db.TroubleOf(err))
	})

	t.Run("AStatementTakesTooLong", func(t *testing.T) {
		t.Parallel()
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), "SET LOCAL statement_timeout = 1; SELECT pg_sleep(10)")
			return err
		})
		require.Equal(t, db.TroubleRetry, db.TroubleOf(err))
	})

	t.Run("TheCallersDeadlinePasses", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := pool.Exec(ctx, "SELECT pg_sleep(10)")
		require.Equal(t, db.TroubleAway, db.TroubleOf(err))
	})

	t.Run("TheCallerLeaves", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := pool.Exec(ctx, "SELECT 1")
		require.Equal(t, db.TroubleNone, db.TroubleOf(err))
	})
}

func TestIsCode(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("insert: %w", &pgconn.PgError{Code: "23505"})
	require.True(t, db.IsCode(err, "23505"))
	require.False(t, db.IsCode(err, "23514"))
	require.False(t, db.IsCode(errors.New("23505"), "23505"))
	require.False(t, db.IsCode(nil, "23505"))
}
