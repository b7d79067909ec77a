package db

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log/slog"
	"path"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/tern/v2/migrate"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// The migrations up to this version are the baseline: what an empty database gets. Until the first release they are
// rewritten as the schema should be; from then on they never change, and what is new is added after them.
const baselineVersion = 8

const undefinedTable = "42P01" // a SQLSTATE

// ErrEarlierBuild is the error of a database that was made from another baseline.
var ErrEarlierBuild = errors.New("the database was made by an earlier build, before the first release, and must be made " +
	"anew: drop it and create it, or, if it is that of make run, remove the folder .data (nothing was changed)")

// Versions says how far a database's schema is: ours and River's, each with the version that this program wants.
type Versions struct {
	Riverwatch, RiverwatchWanted int
	River, RiverWanted           int
}

// Current reports whether this program can run on the schema. A newer one will do: migrations only add until every
// process of the older program is gone.
func (v Versions) Current() bool {
	return v.Riverwatch >= v.RiverwatchWanted && v.River >= v.RiverWanted
}

type migrators struct {
	conn  *pgx.Conn
	tern  *migrate.Migrator
	river *rivermigrate.Migrator[pgx.Tx]
}

// MigrateUp brings a database up to this program's schema, River's included. Chunks of the log made from now on hold
// logChunk. However many processes call it at once, they do so one after the other. A schema that a newer program made
// stays as it is.
//
// Who uses the database meanwhile goes on: a migration that does not get a lock in time gives it up, says in the log whom
// it waits for, and tries again until ctx ends.
func MigrateUp(ctx context.Context, url string, logChunk time.Duration, logger *slog.Logger) error {
	files, err := fs.Sub(schemaFiles, "schema")
	if err != nil {
		return fmt.Errorf("load the migrations: %w", err)
	}
	return migrateUp(ctx, url, files, logChunk, logger)
}

func migrateUp(ctx context.Context, url string, files fs.FS, logChunk time.Duration, logger *slog.Logger) error {
	return withMigrators(ctx, url, files, logger, func(m *migrators) error {
		return patiently(ctx, logger, func() error { return m.up(ctx, logChunk, logger) })
	})
}

func (m *migrators) up(ctx context.Context, logChunk time.Duration, logger *slog.Logger) error {
	if _, err := m.river.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrate River's schema up: %w", err)
	}
	version, err := m.tern.GetCurrentVersion(ctx)
	if err != nil {
		return fmt.Errorf("get the schema's version: %w", err)
	}
	if int(version) > len(m.tern.Migrations) {
		logger.WarnContext(ctx, "the database's schema is newer than this program", slog.Int("version", int(version)))
	} else if err := m.tern.Migrate(ctx); err != nil {
		return fmt.Errorf("migrate up: %w", err)
	}
	if err := New(m.conn).SetLogChunk(ctx, logChunk.Seconds()); err != nil {
		return fmt.Errorf("set the log's chunk: %w", err)
	}
	return nil
}

// MigrateDown undoes the last steps migrations of ours. Where none of ours is left, River's go too.
func MigrateDown(ctx context.Context, url string, steps int, logger *slog.Logger) error {
	files, err := fs.Sub(schemaFiles, "schema")
	if err != nil {
		return fmt.Errorf("load the migrations: %w", err)
	}
	return withMigrators(ctx, url, files, logger, func(m *migrators) error {
		version, err := m.tern.GetCurrentVersion(ctx)
		if err != nil {
			return fmt.Errorf("get the schema's version: %w", err)
		}
		target := max(0, int(version)-steps)
		return patiently(ctx, logger, func() error { return m.down(ctx, target) })
	})
}

func (m *migrators) down(ctx context.Context, target int) error {
	if err := m.tern.MigrateTo(ctx, int32(target)); err != nil { //nolint:gosec // not above the version
		return fmt.Errorf("migrate down: %w", err)
	}
	if target > 0 {
		return nil
	}
	all := &rivermigrate.MigrateOpts{TargetVersion: -1}
	if _, err := m.river.Migrate(ctx, rivermigrate.DirectionDown, all); err != nil {
		return fmt.Errorf("migrate River's schema down: %w", err)
	}
	return nil
}

// SchemaVersions reads the versions of a database's schema; those of a database that was never migrated are 0. The error
// is [ErrEarlierBuild] for one that must be made anew.
func SchemaVersions(ctx context.Context, conn DBTX) (Versions, error) {
	versions, err := wantedVersions()
	if err != nil {
		return Versions{}, err
	}
	if err := checkBaseline(ctx, conn); err != nil {
		return Versions{}, err
	}
	row, err := New(conn).SchemaVersions(ctx)
	if IsCode(err, undefinedTable) {
		return versions, nil
	}
	if err != nil {
		return Versions{}, fmt.Errorf("get the schema's versions: %w", err)
	}
	versions.Riverwatch, versions.River = row.Riverwatch, row.River
	return versions, nil
}

// checkBaseline gives ErrEarlierBuild, unless the database is new or was made from the baseline of this program.
func checkBaseline(ctx context.Context, conn DBTX) error {
	version, err := New(conn).GetSchemaVersion(ctx)
	if IsCode(err, undefinedTable) || err == nil && version == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get the schema's versions: %w", err)
	}
	wanted, err := hashMigrations(baselineVersion)
	if err != nil {
		return err
	}
	found, err := New(conn).GetBaseline(ctx)
	if IsCode(err, undefinedTable) {
		found, err = "none", nil
	}
	if err != nil {
		return fmt.Errorf("get the schema's baseline: %w", err)
	}
	if found != wanted {
		return fmt.Errorf("schema at version %d of the baseline %s, where this program's is %s: %w",
			version, found, wanted, ErrEarlierBuild)
	}
	return nil
}

func wantedVersions() (Versions, error) {
	river, riverErr := rivermigrate.New(riverpgxv5.New(nil), nil)
	files, filesErr := fs.ReadDir(schemaFiles, "schema")
	if err := errors.Join(riverErr, filesErr); err != nil {
		return Versions{}, fmt.Errorf("load the migrations: %w", err)
	}
	return Versions{RiverwatchWanted: len(files), RiverWanted: len(river.AllVersions())}, nil
}

// SchemaHash names what MigrateUp makes, in 16 hexadecimal digits: another one with each change of a migration.
func SchemaHash() (string, error) {
	versions, err := wantedVersions()
	if err != nil {
		return "", err
	}
	ours, err := hashMigrations(versions.RiverwatchWanted)
	hash := fnv.New64a()
	fmt.Fprintln(hash, ours, versions.RiverWanted)
	return fmt.Sprintf("%016x", hash.Sum64()), err
}

// hashMigrations gives a hash of the first migrations of ours, in 16 hexadecimal digits.
func hashMigrations(count int) (string, error) {
	files, err := fs.ReadDir(schemaFiles, "schema")
	if err != nil {
		return "", fmt.Errorf("load the migrations: %w", err)
	}
	hash := fnv.New64a()
	for _, file := range files[:count] {
		content, err := fs.ReadFile(schemaFiles, path.Join("schema", file.Name()))
		if err != nil {
			return "", fmt.Errorf("load the migrations: %w", err)
		}
		fmt.Fprintln(hash, file.Name(), len(content), string(content))
	}
	return fmt.Sprintf("%016x", hash.Sum64()), nil
}

// withMigrators calls use with both migrators ready and the lock held, on connections without the time limits of
// [Open] but for locks: a migration, and the wait for another process's, take what they take.
func withMigrators(
	ctx context.Context, url string, files fs.FS, logger *slog.Logger, use func(*migrators) error,
) error {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("parse the database's URL: %w", err)
	}
	config.MaxConns = 3 // ours, with the lock; River's; that of tellBlockers
	config.ConnConfig.RuntimeParams["application_name"] = migratorName
	config.ConnConfig.RuntimeParams["lock_timeout"] = migrationLockTimeout.String()
	config.ConnConfig.OnNotice = func(_ *pgconn.PgConn, _ *pgconn.Notice) {}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("make the database pool: %w", err)
	}
	defer pool.Close()
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer conn.Release()

	if err := lockMigrations(ctx, conn); err != nil {
		return err
	}
	// The lock goes with the connection, whatever happens; this frees it at once.
	defer func() { _ = New(conn).UnlockMigrations(context.WithoutCancel(ctx)) }()

	if err := checkBaseline(ctx, conn); err != nil {
		return err
	}
	baseline, err := hashMigrations(baselineVersion)
	if err != nil {
		return err
	}
	if err := New(conn).NameBaseline(ctx, baseline); err != nil {
		return fmt.Errorf("name the schema's baseline: %w", err)
	}
	m := &migrators{conn: conn.Conn()}
	if m.tern, err = newTern(ctx, m.conn, files, logger); err != nil {
		return err
	}
	m.river, err = rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: logger})
	if err != nil {
		return fmt.Errorf("load River's migrations: %w", err)
	}
	telling, stop := context.WithCancel(ctx)
	var teller sync.WaitGroup
	teller.Go(func() { tellBlockers(telling, pool, logger) })
	defer teller.Wait()
	defer stop()
	return use(m)
}

func newTern(ctx context.Context, conn *pgx.Conn, files fs.FS, logger *slog.Logger) (*migrate.Migrator, error) {
	tern, err := migrate.NewMigrator(ctx, conn, "schema_version")
	if err != nil {
		return nil, fmt.Errorf("prepare the schema's version table: %w", err)
	}
	if err := tern.LoadMigrations(files); err != nil {
		return nil, fmt.Errorf("load the migrations: %w", err)
	}
	tern.OnStart = func(sequence int32, name, direction, _ string) {
		logger.InfoContext(ctx, "migration", slog.String("name", name), slog.String("direction", direction),
			slog.Int("version", int(sequence)))
	}
	return tern, nil
}
