package db_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/uptime"
)

// schemaUpTo gives the first migrations of ours, and behind them made-up ones of testdata.
func schemaUpTo(t *testing.T, version int, madeUp ...string) fs.FS {
	t.Helper()
	paths, err := filepath.Glob("schema/*.sql")
	require.NoError(t, err)
	files := fstest.MapFS{}
	add := func(path, name string) {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		files["schema/"+name] = &fstest.MapFile{Data: content}
	}
	for _, path := range paths[:version] {
		add(path, filepath.Base(path))
	}
	for i, name := range madeUp {
		add(filepath.Join("testdata", "migrations", name), fmt.Sprintf("%03d_%s", version+i+1, name))
	}
	return files
}

// life reads and writes a database as workers, recorders and APIs do, and notes what went wrong. Its sessions give up on
// a lock after a second.
type life struct {
	pool    *pgxpool.Pool
	monitor db.Monitor

	mu    sync.Mutex
	done  map[string]int
	wrong []string
}

// startLife gives a database life until the test ends.
func startLife(t *testing.T, databaseURL string) *life {
	t.Helper()
	pool, err := db.Open(t.Context(), databaseURL+"&lock_timeout=1s", 20)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	l := &life{pool: pool, monitor: dbtest.Monitor(t, pool, 10, 0), done: map[string]int{}}
	l.prepare(t)
	ctx, stop := context.WithCancel(context.Background())
	var living sync.WaitGroup
	t.Cleanup(living.Wait)
	t.Cleanup(stop)
	statements := l.statements()
	for name := range statements {
		l.done[name] = 0
	}
	for name, do := range statements {
		living.Go(func() {
			for ctx.Err() == nil {
				l.note(ctx, name, do(ctx))
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	l.goOn(t)
	return l
}

func (l *life) prepare(t *testing.T) {
	t.Helper()
	require.NoError(t, db.New(l.pool).PutMonitorStates(t.Context(), db.PutMonitorStatesParams{
		MonitorIDs: []int64{l.monitor.ID}, Statuses: []string{"up"}, Sinces: []time.Time{day}, JudgedSlots: []time.Time{day},
		Failures: []int{0}, Successes: []int{0},
	}))
	require.NoError(t, db.New(l.pool).OpenSchedules(t.Context(), db.OpenSchedulesParams{
		MonitorIDs: []int64{l.monitor.ID}, FromAts: []time.Time{day}, IntervalsSeconds: []int{10}, PhasesMS: []int{0},
	}))
}

func (l *life) statements() map[string]func(context.Context) error {
	queries, slot := db.New(l.pool), day
	return map[string]func(context.Context) error{
		"list": func(ctx context.Context) error {
			_, err := queries.ListMonitorsByID(ctx, db.ListMonitorsByIDParams{PageSize: 10})
			return err
		},
		"create": func(ctx context.Context) error {
			ids, err := queries.NextMonitorIDs(ctx, 1)
			if err != nil {
				return err
			}
			one := l.monitor
			one.ID, one.URL = ids[0], fmt.Sprintf("https://example.com/life/%d", ids[0])
			return queries.CreateMonitors(ctx, []db.CreateMonitorsParams{db.CreateMonitorsParams(one)}).Close()
		},
		"round": func(ctx context.Context) error {
			_, err := queries.ListRoundMonitors(ctx, db.ListRoundMonitorsParams{IntervalSeconds: 10, Slot: day})
			return err
		},
		"record": func(ctx context.Context) error {
			slot = slot.Add(10 * time.Second)
			return pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error { return record(ctx, tx, l.monitor.ID, slot) })
		},
		"show": func(ctx context.Context) error {
			_, _, err := db.NewestScans(ctx, l.pool, l.monitor.ID, day, day.Add(time.Hour), 10)
			return err
		},
		"tend": func(ctx context.Context) error {
			_, err := queries.ListUnaccountedSlots(ctx, db.ListUnaccountedSlotsParams{Since: day, Until: day.Add(time.Minute)})
			return err
		},
		"miss": func(ctx context.Context) error {
			_, err := queries.DeclareGap(ctx, db.DeclareGapParams{
				IntervalSeconds: 10, PhaseMS: 0, FromSlot: day, ToSlot: day, Reason: "overloaded", At: day,
			})
			if errors.Is(err, pgx.ErrNoRows) {
				return nil
			}
			return err
		},
		"keep secrets": func(ctx context.Context) error {
			if err := queries.PutSecrets(ctx, db.PutSecretsParams{MonitorIDs: []int64{l.monitor.ID}, Secrets: [][]byte{[]byte("{}")}}); err != nil {
				return err
			}
			_, err := queries.ListSecrets(ctx, []int64{l.monitor.ID})
			return err
		},
		"look at certificates": func(ctx context.Context) error {
			_, err := queries.ListCertificates(ctx, l.monitor.ID)
			return err
		},
		"attend": func(ctx context.Context) error {
			_, err := queries.AttendWorker(ctx, "w1")
			return err
		},
		"warn": func(ctx context.Context) error {
			return queries.RaiseWarning(ctx, db.RaiseWarningParams{At: day, Kind: "no_sight", Process: "w1"})
		},
		"insert a job": func(ctx context.Context) error {
			_, err := l.pool.Exec(ctx, `INSERT INTO river_job (kind, queue, state, max_attempts, args)
				VALUES ('round', 'rounds', 'available', 20, '{}')`)
			return err
		},
		"take a job": func(ctx context.Context) error {
			_, err := l.pool.Exec(ctx, `UPDATE river_job SET state = 'completed', finalized_at = now() WHERE id IN (
				SELECT id FROM river_job WHERE state = 'available' ORDER BY id LIMIT 5 FOR UPDATE SKIP LOCKED)`)
			return err
		},
	}
}

// record writes a scan as the recorder does.
func record(ctx context.Context, tx pgx.Tx, monitorID int64, slot time.Time) error {
	queries := db.New(tx)
	if _, err := queries.CopyScans(ctx, []db.CopyScansParams{db.CopyScansParams(dbtest.Scan(monitorID, slot))}); err != nil {
		return err
	}
	if _, err := queries.LockMonitorStates(ctx, []int64{monitorID}); err != nil {
		return err
	}
	if _, err := queries.ListMonitors(ctx, []int64{monitorID}); err != nil {
		return err
	}
	return queries.PutMonitorStates(ctx, db.PutMonitorStatesParams{
		MonitorIDs: []int64{monitorID}, Statuses: []string{string(uptime.Up)}, Sinces: []time.Time{day},
		JudgedSlots: []time.Time{slot}, Failures: []int{0}, Successes: []int{1},
	})
}

func (l *life) note(ctx context.Context, name string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.done[name]++
	case ctx.Err() == nil:
		l.wrong = append(l.wrong, name+": "+err.Error())
	}
}

// goOn waits until each statement has been done some times more, and gives what went wrong up to then.
func (l *life) goOn(t *testing.T) (wrong []string) {
	t.Helper()
	counts := func() map[string]int {
		l.mu.Lock()
		defer l.mu.Unlock()
		wrong = slices.Clone(l.wrong)
		return maps.Clone(l.done)
	}
	before := counts()
	require.Eventually(t, func() bool {
		for name, count := range counts() {
			if count < before[name]+3 {
				return false
			}
		}
		return true
	}, 20*time.Second, 10*time.Millisecond)
	return wrong
}

// meet takes a migration to a database that lives, and gives what went wrong for those who use it.
func meet(t *testing.T, databaseURL string, files fs.FS) (wrong []string) {
	t.Helper()
	l := startLife(t, databaseURL)
	before := tableFiles(t, l.pool)
	require.NoError(t, db.MigrateUpBy(t.Context(), databaseURL, files, chunk, discard))
	wrong = l.goOn(t)
	after := tableFiles(t, l.pool)
	for table, file := range before {
		if now, ok := after[table]; ok && now != file {
			wrong = append(wrong, table+" is written anew")
		}
	}
	return wrong
}

// tableFiles gives the files in which tables and indexes are.
func tableFiles(t *testing.T, pool *pgxpool.Pool) map[string]uint32 {
	t.Helper()
	rows, err := pool.Query(t.Context(), `SELECT oid::regclass::text, pg_relation_filenode(oid) FROM pg_class
		WHERE relkind IN ('r', 'i') AND relnamespace = 'public'::regnamespace`)
	require.NoError(t, err)
	files := map[string]uint32{}
	var table string
	var file uint32
	_, err = pgx.ForEachRow(rows, []any{&table, &file}, func() error {
		files[table] = file
		return nil
	})
	require.NoError(t, err)
	return files
}

// No migration after the baseline may keep anybody waiting for over a second, however large the tables are.
func TestMigrationsMeetALivingDatabase(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("schema/*.sql")
	require.NoError(t, err)
	latest := len(paths)

	for version := db.BaselineVersion + 1; version <= latest; version++ {
		t.Run(filepath.Base(paths[version-1]), func(t *testing.T) {
			t.Parallel()
			databaseURL := dbtest.EmptyURL(t)
			require.NoError(t, db.MigrateUpBy(t.Context(), databaseURL, schemaUpTo(t, version-1), chunk, discard))
			require.Empty(t, meet(t, databaseURL, schemaUpTo(t, version)))
		})
	}

	t.Run("GoodOnesPass", func(t *testing.T) {
		t.Parallel()
		require.Empty(t, meet(t, dbtest.URL(t), schemaUpTo(t, latest, "column.sql", "index.sql", "settings.sql")))
	})

	t.Run("AnIndexIsMadeWhileOthersWaitToMigrate", func(t *testing.T) {
		t.Parallel()
		databaseURL, files := dbtest.URL(t), schemaUpTo(t, latest, "index.sql")
		var all errgroup.Group
		var logged logs
		for range 5 {
			all.Go(func() error {
				return db.MigrateUpBy(t.Context(), databaseURL, files, chunk, slog.New(slog.NewTextHandler(&logged, nil)))
			})
		}
		require.NoError(t, all.Wait())
		require.Equal(t, 1, logged.count("msg=migration "))
		require.Zero(t, logged.count("gives way"), "it waits for none of them")
	})

	t.Run("ALongLockIsCaught", func(t *testing.T) {
		t.Parallel()
		wrong := strings.Join(meet(t, dbtest.URL(t), schemaUpTo(t, latest, "long_lock.sql")), "\n")
		require.Contains(t, wrong, "record: ")
		require.Contains(t, wrong, "55P03")
	})

	t.Run("ATableWrittenAnewIsCaught", func(t *testing.T) {
		t.Parallel()
		require.Contains(t, meet(t, dbtest.URL(t), schemaUpTo(t, latest, "rewrite.sql")), "monitors is written anew")
	})

	t.Run("ASlowOneIsNotCutOff", func(t *testing.T) {
		t.Parallel()
		databaseURL := dbtest.URL(t)
		pool := dbtest.Open(t, databaseURL)
		dbtest.Exec(t, pool, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET statement_timeout = 100', current_database()); END $$`)
		require.NoError(t, db.MigrateUpBy(t.Context(), databaseURL, schemaUpTo(t, latest, "slow.sql"), chunk, discard))
	})

	t.Run("OneThatIsCancelledIsNotTriedAgain", func(t *testing.T) {
		t.Parallel()
		err := db.MigrateUpBy(t.Context(), dbtest.URL(t), schemaUpTo(t, latest, "cancelled.sql"), chunk, discard)
		require.ErrorContains(t, err, "57014")
	})

	t.Run("BehindALongReaderItGivesWayAndSaysForWhom", func(t *testing.T) {
		t.Parallel()
		databaseURL := dbtest.URL(t)
		l := startLife(t, databaseURL)
		dump, err := pgx.Connect(t.Context(), databaseURL+"&application_name=pg_dump")
		require.NoError(t, err)
		defer dump.Close(context.Background()) //nolint:errcheck // nothing is kept
		for _, sql := range []string{"BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", "LOCK TABLE monitors IN ACCESS SHARE MODE"} {
			_, err := dump.Exec(t.Context(), sql)
			require.NoError(t, err)
		}

		var logged logs
		files := schemaUpTo(t, latest, "column.sql")
		migrated := make(chan error, 1)
		go func() {
			migrated <- db.MigrateUpBy(t.Context(), databaseURL, files, chunk,
				slog.New(slog.NewTextHandler(&logged, nil)))
		}()
		require.Eventually(t, func() bool { return logged.count("migration gives way") >= 2 }, 20*time.Second, 10*time.Millisecond)
		require.Empty(t, l.goOn(t), "others do not wait with it")
		require.Empty(t, migrated)
		require.Equal(t, 1, logged.count("migration waits for a lock"), "once a minute")
		require.Equal(t, 1, logged.count(fmt.Sprintf("blocker_pid=%d blocker=pg_dump ", dump.PgConn().PID())))
		require.Equal(t, 1, logged.count(`blocker_query="LOCK TABLE monitors IN ACCESS SHARE MODE"`))

		_, err = dump.Exec(t.Context(), "COMMIT")
		require.NoError(t, err)
		require.NoError(t, <-migrated)
		require.Empty(t, l.goOn(t))
		require.Equal(t, latest+1, versions(t, l.pool).Riverwatch)
	})

	t.Run("UntilItsContextEnds", func(t *testing.T) {
		t.Parallel()
		databaseURL := dbtest.URL(t)
		tx, err := dbtest.Open(t, databaseURL).Begin(t.Context())
		require.NoError(t, err)
		defer tx.Rollback(context.Background()) //nolint:errcheck // nothing is kept
		_, err = tx.Exec(t.Context(), "LOCK TABLE monitors IN ACCESS SHARE MODE")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = db.MigrateUpBy(ctx, databaseURL, schemaUpTo(t, latest, "column.sql"), chunk, discard)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// logs keeps what is logged.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logs) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(text)
}

func (l *logs) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}
