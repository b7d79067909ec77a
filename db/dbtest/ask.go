package dbtest

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
)

// Exec runs a statement.
func Exec(t require.TestingT, conn db.DBTX, sql string, args ...any) {
	_, err := conn.Exec(context.Background(), sql, args...)
	require.NoError(t, err)
}

// One gives the first column of the only row of a query.
func One[T any](t require.TestingT, conn db.DBTX, sql string, args ...any) T {
	rows, err := conn.Query(context.Background(), sql, args...)
	require.NoError(t, err)
	value, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	require.NoError(t, err)
	return value
}

// Count counts rows: from is what follows FROM.
func Count(t require.TestingT, conn db.DBTX, from string, args ...any) int {
	return One[int](t, conn, "SELECT count(*)::int FROM "+from, args...)
}

// Column gives the first column of all rows of a query.
func Column[T any](t require.TestingT, conn db.DBTX, sql string, args ...any) []T {
	rows, err := conn.Query(context.Background(), sql, args...)
	require.NoError(t, err)
	values, err := pgx.CollectRows(rows, pgx.RowTo[T])
	require.NoError(t, err)
	return values
}
