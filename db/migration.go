package db

import (
	"context"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log/slog"
	"strings"

	"github.com/jackc/pgx/v5"
)

const (
	// undoDivider stands between a migration and its undo. sqlc knows it, too, and reads only what is above.
	undoDivider = "---- create above / drop below ----"
	// outsideTransaction is a line of what cannot run in a transaction, such as CREATE INDEX CONCURRENTLY. Each statement
	// ends its line then. If it is cut off half way, it runs again from the beginning.
	outsideTransaction = "---- outside a transaction ----\n"
)

// A migration is a file of the schema, and the step from one version to the next.
type migration struct {
	version  int // that it makes
	name     string
	up, down string
}

// loadMigrations reads the files of a folder schema, which are numbered from 001 on.
func loadMigrations(files fs.FS) ([]migration, error) {
	entries, err := fs.ReadDir(files, "schema")
	if err != nil {
		return nil, fmt.Errorf("list the migrations: %w", err)
	}
	var migrations []migration
	for i, entry := range entries {
		text, err := fs.ReadFile(files, "schema/"+entry.Name())
		if err != nil {
			return nil, fmt.Errorf("read the migrations: %w", err)
		}
		m := migration{version: i + 1, name: entry.Name()}
		var divided bool
		m.up, m.down, divided = strings.Cut(string(text), undoDivider)
		if number := fmt.Sprintf("%03d_", m.version); !divided || !strings.HasPrefix(m.name, number) {
			return nil, fmt.Errorf("migration %s: its name must begin with %s, and its undo must be below %q",
				m.name, number, undoDivider)
		}
		migrations = append(migrations, m)
	}
	return migrations, nil
}

// hashOf gives a hash of migrations, in 16 hexadecimal digits.
func hashOf(migrations []migration) string {
	hash := fnv.New64a()
	for _, m := range migrations {
		fmt.Fprintln(hash, m.name, len(m.up), m.up, len(m.down), m.down)
	}
	return fmt.Sprintf("%016x", hash.Sum64())
}

// run makes or undoes a migration, and notes which version the schema has then: in one transaction, or at the end.
func (m migration) run(ctx context.Context, conn *pgx.Conn, up bool, baseline string, logger *slog.Logger) error {
	direction, sql, version := "up", m.up, m.version
	if !up {
		direction, sql, version = "down", m.down, m.version-1
	}
	logger.InfoContext(ctx, "migration", slog.String("name", m.name), slog.String("direction", direction),
		slog.Int("version", m.version))

	do := func(conn DBTX, statements ...string) error {
		for _, statement := range append(statements, "RESET ALL") { // settings are for the migration alone
			if _, err := conn.Exec(ctx, statement); err != nil {
				return fmt.Errorf("migration %s %s: %w", m.name, direction, err)
			}
		}
		if version == 0 { // the table that would say so is gone
			return nil
		}
		if err := New(conn).SetSchema(ctx, SetSchemaParams{Version: version, Baseline: baseline}); err != nil {
			return fmt.Errorf("set the schema's version: %w", err)
		}
		return nil
	}
	if strings.Contains(sql, outsideTransaction) {
		return do(conn, strings.SplitAfter(sql, ";\n")...)
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return do(tx, sql) })
}
