// Package db holds the database: its schema (schema), the queries (queries) and what sqlc generates from both. By hand
// are connections, migrations, the sorting of errors, what belongs to a row, and the read that hides how the log is keyed.
package db

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Conn is what code takes that runs in a transaction of its own or within its caller's: a pool or a [pgx.Tx].
type Conn interface {
	DBTX
	Begin(ctx context.Context) (pgx.Tx, error)
}

const connectTimeout = 2 * time.Second // an API caller is told within 3 s that the database is away

// Open makes a pool of at most maxConns connections, without connecting yet. Its sessions give up on a lock after 2 s
// and on a statement after 30 s, and do not keep a transaction open that their process has forgotten: a database in
// trouble answers with an error, not with silence. The server ends the session of a process whose host is gone within 30 s,
// instead of two hours.
//
// A session that may only read is no longer used once it refused to write: its server is a primary no more, and the next one
// finds who is. Where the URL names several servers, that is the one that takes writes; a single one is used for reading also
// while it takes none.
func Open(ctx context.Context, url string, maxConns int) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("parse the database's URL: %w", err)
	}
	config.MaxConns = int32(maxConns) //nolint:gosec // a setting between 4 and 1000
	setDefault(config.ConnConfig.RuntimeParams, "application_name", "riverwatch")
	setDefault(config.ConnConfig.RuntimeParams, "timezone", "UTC")
	setDefault(config.ConnConfig.RuntimeParams, "lock_timeout", "2s")
	setDefault(config.ConnConfig.RuntimeParams, "statement_timeout", "30s")
	setDefault(config.ConnConfig.RuntimeParams, "idle_in_transaction_session_timeout", "60s")
	setDefault(config.ConnConfig.RuntimeParams, "tcp_user_timeout", "20s")
	setDefault(config.ConnConfig.RuntimeParams, "tcp_keepalives_idle", "10")
	setDefault(config.ConnConfig.RuntimeParams, "tcp_keepalives_interval", "5")
	setDefault(config.ConnConfig.RuntimeParams, "tcp_keepalives_count", "3")
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	onError := config.ConnConfig.OnPgError
	config.ConnConfig.OnPgError = func(conn *pgconn.PgConn, pgErr *pgconn.PgError) (usable bool) {
		return onError(conn, pgErr) && pgErr.Code != readOnly
	}
	several := slices.ContainsFunc(config.ConnConfig.Fallbacks, func(other *pgconn.FallbackConfig) bool {
		return other.Host != config.ConnConfig.Host || other.Port != config.ConnConfig.Port
	})
	if several && config.ConnConfig.ValidateConnect == nil { // the URL does not say which
		config.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}

	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("make the database pool: %w", err)
	}
	return pool, nil
}

// setDefault lets what the URL says win.
func setDefault(params map[string]string, name, value string) {
	if _, ok := params[name]; !ok {
		params[name] = value
	}
}

// PlanEach gives a connection whose queries are planned each time, for the values that they have then: those of which the same
// text asks for a few rows or for most of a table. A plan that is kept for all values would be right for one of both.
func PlanEach(conn DBTX) DBTX { return planEach{conn} }

type planEach struct{ DBTX }

// Query implements DBTX.
func (p planEach) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return p.DBTX.Query(ctx, sql, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
}
