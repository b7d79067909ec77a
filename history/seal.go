package history

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"riverwatch/db"
)

// sealAfter is how long after its end a chunk is sealed: late rows are cheaper without the index.
const sealAfter = 10 * time.Minute

// Seal gives the oldest chunk of the log that is over its index on monitor_id, for people with SQL and for exports, beside those
// who write, and names it; empty: there is none to seal. It may take minutes. An index that is left half made is made anew.
func Seal(ctx context.Context, pool *pgxpool.Pool, now time.Time) (chunk string, err error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return "", fmt.Errorf("get a connection: %w", err)
	}
	defer conn.Release()
	// It waits for whoever is just writing to the chunk, or reading it.
	if _, err := conn.Exec(ctx, "SET statement_timeout = 0; SET lock_timeout = '5min'"); err != nil {
		return "", fmt.Errorf("set how long it may take: %w", err)
	}
	defer func() {
		_, resetErr := conn.Exec(context.WithoutCancel(ctx), "RESET ALL")
		err = errors.Join(err, resetErr)
	}()
	next, err := db.New(conn).UnsealedChunk(ctx, now.Add(-sealAfter))
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("find a chunk to seal: %w", err)
	}
	if next.Broken != "" {
		if _, err := conn.Exec(ctx, "DROP INDEX CONCURRENTLY "+next.Broken); err != nil {
			return "", fmt.Errorf("drop the index of %s that is half made: %w", next.Chunk, err)
		}
	}
	_, table, _ := strings.Cut(next.Chunk, ".")
	name := pgx.Identifier{strings.Trim(table, `"`) + "_monitor"}.Sanitize()
	if _, err := conn.Exec(ctx, fmt.Sprintf("CREATE INDEX CONCURRENTLY %s ON %s (monitor_id)", name, next.Chunk)); err != nil {
		return "", fmt.Errorf("seal %s: %w", next.Chunk, err)
	}
	return next.Chunk, nil
}
