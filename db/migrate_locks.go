package db

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"riverwatch/wait"
)

const (
	lockNotAvailable     = "55P03"
	deadlockDetected     = "40P01"
	serializationFailure = "40001"

	migratorName = "riverwatch migrate" // its application_name
	// So long a migration waits for a lock: whoever comes after it waits behind it.
	migrationLockTimeout = 500 * time.Millisecond
	// So long it leaves the others alone then, and each time twice as long, at most longestPause.
	firstPause   = time.Second
	longestPause = 30 * time.Second

	lockTick    = 200 * time.Millisecond // between asking for the lock around migrations
	blockerTick = 100 * time.Millisecond // between looking whom a migration waits for
	tellAgain   = time.Minute
)

// lockMigrations waits until no other process migrates.
func lockMigrations(ctx context.Context, conn DBTX) error {
	for {
		locked, err := New(conn).TryLockMigrations(ctx)
		if err != nil {
			return fmt.Errorf("lock the migrations: %w", err)
		}
		if locked {
			return nil
		}
		if !wait.For(ctx, lockTick) {
			return fmt.Errorf("lock the migrations: %w", context.Cause(ctx))
		}
	}
}

// patiently migrates, and starts again from where it was when it did not get a lock in time, until ctx ends.
func patiently(ctx context.Context, logger *slog.Logger, migrate func() error) error {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := migrate()
		// Not one that the database's time limit ended, or an operator: it would never come to its end.
		if !IsCode(err, lockNotAvailable) && !IsCode(err, deadlockDetected) && !IsCode(err, serializationFailure) {
			return err
		}
		logger.WarnContext(ctx, "migration gives way, and tries again", slog.Duration("after", pause), slog.Any("error", err))
		if !wait.For(ctx, pause) {
			return fmt.Errorf("migrate: %w", context.Cause(ctx))
		}
	}
}

// tellBlockers says in the log whom a migration waits for, until ctx ends.
func tellBlockers(ctx context.Context, conn DBTX, logger *slog.Logger) {
	told := map[int]time.Time{}
	var before []ListBlockersRow // a tick ago: who blocks for a moment only is not worth a line
	for wait.For(ctx, blockerTick) {
		blockers, err := New(conn).ListBlockers(ctx, migratorName)
		if err != nil {
			continue // the migration has the same trouble, and says so
		}
		for _, blocker := range blockers {
			still := slices.ContainsFunc(before, func(b ListBlockersRow) bool { return b.PID == blocker.PID })
			if !still || time.Since(told[blocker.PID]) < tellAgain {
				continue
			}
			told[blocker.PID] = time.Now()
			logger.WarnContext(ctx, "migration waits for a lock", slog.Int("blocker_pid", blocker.PID),
				slog.String("blocker", blocker.ApplicationName), slog.String("blocker_state", blocker.State),
				slog.String("blocker_query", blocker.Query))
		}
		before = blockers
	}
}
