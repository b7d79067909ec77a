// Package dbtest gives a test a database of its own, migrated and empty, and rows to put in it.
package dbtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
)

// New gives a pool on a migrated database, which goes with the test. It is a clone of a template that no one may
// connect to: a session there, TimescaleDB's scheduler's for one, would make cloning fail.
func New(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return open(t, URL(t))
}

// URL is [New] for those who connect themselves.
func URL(t testing.TB) string {
	t.Helper()
	name, err := template()
	require.NoError(t, err)
	return create(t, " TEMPLATE "+name)
}

// EmptyURL gives the URL of a database that was never migrated.
func EmptyURL(t testing.TB) string {
	t.Helper()
	return create(t, " TEMPLATE template0")
}

func open(t testing.TB, databaseURL string) *pgxpool.Pool {
	t.Helper()
	pool, err := db.Open(context.Background(), databaseURL, 10)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func create(t testing.TB, options string) string {
	t.Helper()
	name := "test_" + strings.ToLower(rand.Text())
	ctx := context.Background() // the test's own ends before its cleanup
	require.NoError(t, admin(ctx, "CREATE DATABASE "+name+options))
	t.Cleanup(func() { require.NoError(t, admin(ctx, "DROP DATABASE "+name+" WITH (FORCE)")) })
	databaseURL, err := urlOf(name)
	require.NoError(t, err)
	return databaseURL
}

// template makes the template once per process; a test binary is a process, so there are few.
var template = sync.OnceValues(func() (name string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	name = "template_" + strings.ToLower(rand.Text())
	if err := admin(ctx, "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		return "", err
	}
	databaseURL, err := urlOf(name)
	if err != nil {
		return "", err
	}
	if err := db.MigrateUp(ctx, databaseURL, 6*time.Hour, slog.New(slog.DiscardHandler)); err != nil {
		return "", err
	}
	if err := admin(ctx, "ALTER DATABASE "+name+" ALLOW_CONNECTIONS false"); err != nil {
		return "", err
	}
	return name, admin(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+name+"'")
})

// admin runs a statement on the server's first database.
func admin(ctx context.Context, sql string) error {
	databaseURL, err := serverURL()
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return fmt.Errorf("connect to the test server: %w", err)
	}
	defer conn.Close(ctx) //nolint:errcheck // nothing is lost
	if _, err := conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

func serverURL() (string, error) {
	databaseURL := os.Getenv("TEST_DATABASE_URL")
	if databaseURL == "" {
		return "", fmt.Errorf("TEST_DATABASE_URL names no server: run the tests with `make test`, which starts one")
	}
	return databaseURL, nil
}

func urlOf(database string) (string, error) {
	databaseURL, err := serverURL()
	if err != nil {
		return "", err
	}
	parsed, err := url.Parse(databaseURL)
	if err != nil {
		return "", fmt.Errorf("parse TEST_DATABASE_URL: %w", err)
	}
	parsed.Path = "/" + database
	return parsed.String(), nil
}
