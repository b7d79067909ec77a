package dbtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"riverwatch/db"
)

const (
	templatePrefix = "riverwatch_template_"
	templateLock   = 727212 // held by whoever makes or drops templates
	templateLives  = 24 * time.Hour
)

// template gives the name of the migrated database that tests clone. There is one on the server for each state of the
// migrations: the first process that needs it makes it, others find it, and one that nobody asked for in a day is
// dropped. No one may connect to it: a session there, TimescaleDB's scheduler's for one, would make cloning fail.
var template = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	hash, err := db.SchemaHash()
	if err != nil {
		return "", err
	}
	conn, err := connect(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx) //nolint:errcheck // the lock goes with it

	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", templateLock); err != nil {
		return "", fmt.Errorf("lock the templates: %w", err)
	}
	name := templatePrefix + hash
	if err := ensureTemplate(ctx, conn, name); err != nil {
		return "", fmt.Errorf("make the template %s: %w", name, err)
	}
	used := time.Now().UTC()
	if err := run(ctx, conn, "COMMENT ON DATABASE "+name+" IS '"+used.Format(time.RFC3339)+"'"); err != nil {
		return "", err
	}
	return name, dropStale(ctx, conn, used.Add(-templateLives))
})

func ensureTemplate(ctx context.Context, conn *pgx.Conn, name string) error {
	var open bool
	err := conn.QueryRow(ctx, "SELECT datallowconn FROM pg_database WHERE datname = $1", name).Scan(&open)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
	case err != nil || !open:
		return err
	default: // whoever made it was killed before it was done
		if err := run(ctx, conn, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			return err
		}
	}

	if err := run(ctx, conn, "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		return err
	}
	databaseURL, err := urlOf(name)
	if err != nil {
		return err
	}
	if err := db.MigrateUp(ctx, databaseURL, 6*time.Hour, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	return run(ctx, conn, "ALTER DATABASE "+name+" ALLOW_CONNECTIONS false",
		"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '"+name+"'")
}

// dropStale drops templates that were last asked for before an instant, and what tests left that were killed before it.
func dropStale(ctx context.Context, conn *pgx.Conn, before time.Time) error {
	rows, err := conn.Query(ctx, `
		SELECT datname FROM pg_database
		WHERE
			starts_with(datname, $1) AND coalesce(shobj_description(oid, 'pg_database'), '') < $2
			OR datname ~ '^test_[0-9]{8}_' AND datname < $3`,
		templatePrefix, before.Format(time.RFC3339), testPrefix(before))
	if err != nil {
		return fmt.Errorf("list stale databases: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("list stale databases: %w", err)
	}
	for _, name := range names {
		if err := run(ctx, conn, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			return err
		}
	}
	return nil
}

func run(ctx context.Context, conn *pgx.Conn, statements ...string) error {
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}
