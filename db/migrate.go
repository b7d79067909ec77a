package db

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"riverwatch/wait"
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

// MigrateUp brings a database up to this program's schema, River's included. Chunks of the log made from now on hold
// logChunk. However many processes call it at once, they do so one after the other. A schema that a newer program made
// stays as it is.
//
// Who uses the database meanwhile goes on: a migration that does not get a lock in time gives it up, says in the log whom
// it waits for, and tries again until ctx ends.
func MigrateUp(ctx context.Context, url string, logChunk time.Duration, logger *slog.Logger) error {
	return migrateUp(ctx, url, schemaFiles, logChunk, logger)
}

func migrateUp(ctx context.Context, url string, files fs.FS, logChunk time.Duration, logger *slog.Logger) error {
	return withMigrator(ctx, url, files, logger, func(m *migrator) error {
		if _, err := m.river.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
			return fmt.Errorf("migrate River's schema up: %w", err)
		}
		version, err := schemaVersion(ctx, m.conn, m.baseline)
		if err != nil {
			return err
		}
		if version > len(m.migrations) {
			logger.WarnContext(ctx, "the database's schema is newer than this program", slog.Int("version", version))
		}
		for ; version < len(m.migrations); version++ {
			if err := m.migrations[version].run(ctx, m.conn, true, m.baseline, logger); err != nil {
				return fmt.Errorf("migrate up: %w", err)
			}
		}
		if err := New(m.conn).SetLogChunk(ctx, logChunk.Seconds()); err != nil {
			return fmt.Errorf("set the log's chunk: %w", err)
		}
		return nil
	})
}

// MigrateDown undoes the last steps migrations of ours. Where none of ours is left, River's go too.
func MigrateDown(ctx context.Context, url string, steps int, logger *slog.Logger) error {
	target := -1 // not known yet
	return withMigrator(ctx, url, schemaFiles, logger, func(m *migrator) error {
		version, err := schemaVersion(ctx, m.conn, m.baseline)
		if err != nil {
			return err
		}
		if version > len(m.migrations) {
			return fmt.Errorf("migrate down: current version %d is unknown here, where %d is the last", version, len(m.migrations))
		}
		if target < 0 {
			target = max(0, version-steps)
		}
		for ; version > target; version-- {
			if err := m.migrations[version-1].run(ctx, m.conn, false, m.baseline, logger); err != nil {
				return fmt.Errorf("migrate down: %w", err)
			}
		}
		if target > 0 {
			return nil
		}
		all := &rivermigrate.MigrateOpts{TargetVersion: -1}
		if _, err := m.river.Migrate(ctx, rivermigrate.DirectionDown, all); err != nil {
			return fmt.Errorf("migrate River's schema down: %w", err)
		}
		return nil
	})
}

// SchemaVersions reads the versions of a database's schema; those of a database that was never migrated are 0. The error
// is [ErrEarlierBuild] for one that must be made anew.
func SchemaVersions(ctx context.Context, conn DBTX) (Versions, error) {
	migrations, err := loadMigrations(schemaFiles)
	if err != nil {
		return Versions{}, err
	}
	wantedOfRiver, err := wantedRiverVersion()
	if err != nil {
		return Versions{}, err
	}
	version, err := schemaVersion(ctx, conn, hashOf(migrations[:baselineVersion]))
	if err != nil {
		return Versions{}, err
	}
	river, err := New(conn).GetRiverVersion(ctx)
	if err != nil && !IsCode(err, undefinedTable) {
		return Versions{}, fmt.Errorf("get the schema's versions: %w", err)
	}
	return Versions{
		Riverwatch: version, RiverwatchWanted: len(migrations), River: river, RiverWanted: wantedOfRiver,
	}, nil
}

// schemaVersion gives the version of our schema, 0 for a database that has none, and ErrEarlierBuild for one that was
// made from another baseline.
func schemaVersion(ctx context.Context, conn DBTX, baseline string) (int, error) {
	schema, err := New(conn).GetSchema(ctx)
	switch {
	case IsCode(err, undefinedTable):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("get the schema's versions: %w", err)
	case schema.Baseline != baseline:
		return 0, fmt.Errorf("schema at version %d of the baseline %s, where this program's is %s: %w",
			schema.Version, schema.Baseline, baseline, ErrEarlierBuild)
	}
	return schema.Version, nil
}

func wantedRiverVersion() (int, error) {
	river, err := rivermigrate.New(riverpgxv5.New(nil), nil)
	if err != nil {
		return 0, fmt.Errorf("load River's migrations: %w", err)
	}
	return len(river.AllVersions()), nil
}

// SchemaHash names what MigrateUp makes, in 16 hexadecimal digits: another one with each change of a migration.
func SchemaHash() (string, error) {
	migrations, ourErr := loadMigrations(schemaFiles)
	river, riverErr := wantedRiverVersion()
	hash := fnv.New64a()
	fmt.Fprintln(hash, hashOf(migrations), river)
	return fmt.Sprintf("%016x", hash.Sum64()), errors.Join(ourErr, riverErr)
}

// A migrator has the lock around all migrations.
type migrator struct {
	conn       *pgx.Conn
	migrations []migration
	baseline   string
	river      *rivermigrate.Migrator[pgx.Tx]
}

// withMigrator gives migrate a migrator, again and again until it gets all locks in time. Its connections are without the
// time limits of [Open] but for locks: a migration, and the wait for another process's, take what they take.
func withMigrator(
	ctx context.Context, url string, files fs.FS, logger *slog.Logger, migrate func(*migrator) error,
) error {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("parse the database's URL: %w", err)
	}
	config.MaxConns = 3 // ours, with the lock; River's; that of tellBlockers
	config.ConnConfig.RuntimeParams["application_name"] = migratorName
	config.ConnConfig.RuntimeParams["lock_timeout"] = migrationLockTimeout.String()
	config.ConnConfig.RuntimeParams["statement_timeout"] = "0" // whatever the role's is: a migration takes as long as it takes
	config.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
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

	m := &migrator{conn: conn.Conn()}
	if m.migrations, err = loadMigrations(files); err != nil {
		return err
	}
	m.baseline = hashOf(m.migrations[:baselineVersion])
	if _, err := schemaVersion(ctx, conn, m.baseline); err != nil {
		return err // before River's migrations change anything
	}
	m.river, err = rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: logger})
	if err != nil {
		return fmt.Errorf("load River's migrations: %w", err)
	}
	defer wait.Beside(ctx, func(ctx context.Context) { tellBlockers(ctx, pool, logger) })()
	return patiently(ctx, logger, func() error { return migrate(m) })
}
