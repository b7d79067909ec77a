package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"riverwatch/db"
)

func (p *program) migrateCommand() *cobra.Command {
	migrate := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database's schema up to date, or back",
		Long: `Changes the schema of the database that DATABASE_URL names, River's included. However many
processes migrate at once, they do so one after the other.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var steps int
	down := &cobra.Command{
		Use:   "down",
		Short: "Undo migrations, and lose what is in the tables that they made",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if steps < 1 {
				return usageError(fmt.Errorf("--steps: %d: accepted is 1 or more", steps))
			}
			config, logger, err := p.settings()
			if err != nil {
				return err
			}
			return db.MigrateDown(cmd.Context(), config.DatabaseURL, steps, logger)
		},
	}
	down.Flags().IntVar(&steps, "steps", 1, "how many migrations to undo; with the last of ours, River's go too")
	migrate.AddCommand(
		&cobra.Command{
			Use:   "up",
			Short: "Bring the schema up to what this program needs",
			Args:  noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				config, logger, err := p.settings()
				if err != nil {
					return err
				}
				pool, err := db.Open(cmd.Context(), config.DatabaseURL, config.DBConnections)
				if err != nil {
					return err
				}
				defer pool.Close()
				if err := p.bringUp(cmd.Context(), config, pool, logger); err != nil {
					return err
				}
				return p.migrateStatus(cmd.Context())
			},
		},
		down,
		&cobra.Command{
			Use:   "status",
			Short: "Print the schema's versions; exit 1 if they are not what this program needs",
			Args:  noArgs,
			RunE:  func(cmd *cobra.Command, _ []string) error { return p.migrateStatus(cmd.Context()) },
		},
	)
	return migrate
}

// bringUp brings the schema up to date, and says so in a line. The migrations one by one are for RIVERWATCH_LOG_LEVEL=debug.
func (p *program) bringUp(ctx context.Context, config config, pool *pgxpool.Pool, logger *slog.Logger) error {
	before, err := db.SchemaVersions(ctx, pool)
	if err != nil {
		return err
	}
	logger.InfoContext(ctx, "database ready", slog.Int("schema", before.Riverwatch))
	each := logger
	if config.LogLevel > slog.LevelDebug {
		each = p.quiet(config)
	}
	if err := db.MigrateUp(ctx, config.DatabaseURL, time.Duration(config.LogChunk), each); err != nil {
		return err
	}
	after, err := db.SchemaVersions(ctx, pool)
	if err != nil {
		return err
	}
	switch {
	case before.Riverwatch == 0:
		logger.InfoContext(ctx, "schema is new", slog.Int("migrations", after.Riverwatch), slog.Int("of_river", after.River))
	case before != after:
		logger.InfoContext(ctx, "schema is up to date", slog.Int("from", before.Riverwatch), slog.Int("to", after.Riverwatch))
	}
	return nil
}

func (p *program) migrateStatus(ctx context.Context) error {
	config, _, err := p.settings()
	if err != nil {
		return err
	}
	pool, err := db.Open(ctx, config.DatabaseURL, config.DBConnections)
	if err != nil {
		return err
	}
	defer pool.Close()
	versions, err := db.SchemaVersions(ctx, pool)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "riverwatch: version %d of %d\nriver:      version %d of %d\n",
		versions.Riverwatch, versions.RiverwatchWanted, versions.River, versions.RiverWanted)
	if !versions.Current() {
		return fmt.Errorf("the schema is behind: run riverwatch migrate up")
	}
	return nil
}

// settings reads the settings, and makes the logger that they ask for.
func (p *program) settings() (config, *slog.Logger, error) {
	config, err := loadConfig(p.getenv)
	if err != nil {
		return config, nil, usageError(fmt.Errorf("these settings are wrong:\n%w", err))
	}
	return config, p.logger(config.LogLevel), nil
}
