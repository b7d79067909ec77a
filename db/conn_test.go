package db_test

import (
	"testing"
	"time"

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
