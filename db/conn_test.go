package db_test

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.EmptyURL(t)

	t.Run("SessionsDoNotWaitForEver", func(t *testing.T) {
		t.Parallel()
		pool := dbtest.Open(t, databaseURL)
		for setting, want := range map[string]string{
			"lock_timeout": "2s", "statement_timeout": "30s", "idle_in_transaction_session_timeout": "1min",
			"TimeZone": "UTC", "application_name": "riverwatch",
			"tcp_user_timeout": "20000", "tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3",
		} {
			var got string
			require.NoError(t, pool.QueryRow(t.Context(), "SELECT current_setting($1)", setting).Scan(&got))
			require.Equal(t, want, got, setting)
		}
		require.EqualValues(t, 10, pool.Config().MaxConns)
	})

	t.Run("WhatTheURLSaysWins", func(t *testing.T) {
		t.Parallel()
		pool := dbtest.Open(t, databaseURL+"&lock_timeout=7s&connect_timeout=9")
		var got string
		require.NoError(t, pool.QueryRow(t.Context(), "SHOW lock_timeout").Scan(&got))
		require.Equal(t, "7s", got)
		require.Equal(t, 9*time.Second, pool.Config().ConnConfig.ConnectTimeout)
	})

	t.Run("ABadURL", func(t *testing.T) {
		t.Parallel()
		_, err := db.Open(t.Context(), "postgres://%zz", 4)
		require.ErrorContains(t, err, "parse the database's URL")
	})
}

// A primary that is one no more may keep its sessions, which then refuse to write for as long as they live.
func TestASessionThatMayOnlyReadIsLeft(t *testing.T) {
	t.Parallel()
	write := func(pool *pgxpool.Pool) error {
		_, err := pool.Exec(t.Context(), "CREATE TABLE IF NOT EXISTS written ()")
		return err
	}
	demoted := func(t *testing.T, databaseURL string, is bool) {
		t.Helper()
		pool := dbtest.Open(t, databaseURL)
		config := pool.Config().ConnConfig
		dbtest.Exec(t, pool, "SET default_transaction_read_only = off")
		dbtest.Exec(t, pool, fmt.Sprintf("ALTER DATABASE %s SET default_transaction_read_only = %t", config.Database, is))
		pool.Close()
	}
	open := func(t *testing.T, databaseURL string) *pgxpool.Pool {
		t.Helper()
		pool, err := db.Open(t.Context(), databaseURL, 1)
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		return pool
	}

	t.Run("ItsPoolFindsOneThatWrites", func(t *testing.T) {
		t.Parallel()
		pool := open(t, dbtest.EmptyURL(t))
		require.NoError(t, write(pool))
		dbtest.Exec(t, pool, "SET default_transaction_read_only = on") // as a reload does to all sessions there are
		require.Equal(t, db.TroubleAway, db.TroubleOf(write(pool)))
		require.NoError(t, write(pool))
	})

	t.Run("ASingleServerIsRead", func(t *testing.T) {
		t.Parallel()
		databaseURL := dbtest.EmptyURL(t)
		demoted(t, databaseURL, true)
		pool := open(t, databaseURL)
		for range 2 {
			require.Equal(t, db.TroubleAway, db.TroubleOf(write(pool)))
			require.Equal(t, 1, dbtest.One[int](t, pool, "SELECT 1"))
		}
		demoted(t, databaseURL, false)
		require.Equal(t, db.TroubleAway, db.TroubleOf(write(pool)), "the session is of before")
		require.NoError(t, write(pool))
	})

	t.Run("OfSeveralTheOneThatWrites", func(t *testing.T) {
		t.Parallel()
		databaseURL := dbtest.EmptyURL(t)
		parsed, err := url.Parse(databaseURL)
		require.NoError(t, err)
		parsed.Host += ",localhost:" + parsed.Port()
		pool := open(t, parsed.String())
		require.NoError(t, write(pool))
		demoted(t, databaseURL, true)
		pool.Reset()
		require.Equal(t, db.TroubleAway, db.TroubleOf(pool.Ping(t.Context())), "none does")
		demoted(t, databaseURL, false)
		require.NoError(t, write(pool))
	})
}
