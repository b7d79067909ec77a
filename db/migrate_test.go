package db_test

import (
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"riverwatch/db"
	"riverwatch/db/dbtest"
)

const chunk = 6 * time.Hour

var discard = slog.New(slog.DiscardHandler)

func versions(t *testing.T, pool *pgxpool.Pool) db.Versions {
	t.Helper()
	v, err := db.SchemaVersions(t.Context(), pool)
	require.NoError(t, err)
	return v
}

func count(t *testing.T, pool *pgxpool.Pool, from string) (n int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM "+from).Scan(&n))
	return n
}

func TestMigrations(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("schema/*.sql")
	require.NoError(t, err)
	latest := len(files) // the version that they make

	t.Run("AnEmptyDatabaseGoesUpAndDownAndUp", func(t *testing.T) {
		t.Parallel()
		databaseURL := dbtest.EmptyURL(t)
		pool := dbtest.Open(t, databaseURL)

		never := versions(t, pool)
		require.Zero(t, never.Riverwatch)
		require.Zero(t, never.River)
		require.False(t, never.Current())

		require.NoError(t, db.MigrateUp(t.Context(), databaseURL, chunk, discard))
		current := versions(t, pool)
		require.True(t, current.Current())
		require.Equal(t, latest, current.Riverwatch)
		require.Equal(t, current.RiverWanted, current.River)

		require.NoError(t, db.MigrateDown(t.Context(), databaseURL, 1, discard))
		one := versions(t, pool)
		require.Equal(t, latest-1, one.Riverwatch)
		require.NotZero(t, one.River, "River's goes only with the last of ours")
		require.False(t, one.Current())

		require.NoError(t, db.MigrateDown(t.Context(), databaseURL, 100, discard))
		require.Equal(t, never, versions(t, pool))
		const leftovers = `pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'S')`
		require.Zero(t, count(t, pool, leftovers))
		require.Zero(t, count(t, pool, `pg_proc WHERE pronamespace = 'public'::regnamespace AND proname LIKE '%slot%'`))
		require.Zero(t, count(t, pool, `pg_type WHERE typname = 'river_job_state'`))

		require.NoError(t, db.MigrateUp(t.Context(), databaseURL, chunk, discard))
		require.True(t, versions(t, pool).Current())
	})

	t.Run("RowsSurviveTheWayDownAsFarAsTheirTablesDo", func(t *testing.T) {
		t.Parallel()
		databaseURL := dbtest.URL(t)
		pool := dbtest.Open(t, databaseURL)
		monitor := dbtest.Monitor(t, pool, 60, 7000)
		slot := time.Unix(1_790_000_047, 0).UTC()
		asked := dbtest.Scan(monitor.ID, slot.Add(1500*time.Millisecond))
		asked.Reason = "asked"
		dbtest.Insert(t, pool, dbtest.Scan(monitor.ID, slot), dbtest.Scan(monitor.ID, slot.Add(24*time.Hour)), asked)
		require.NoError(t, db.New(pool).OpenSchedules(t.Context(), db.OpenSchedulesParams{
			MonitorIDs: []int64{monitor.ID}, FromAts: []time.Time{slot}, IntervalsSeconds: []int{60}, PhasesMS: []int{7000},
		}))

		// The log as a plain table, and no functions.
		require.NoError(t, db.MigrateDown(t.Context(), databaseURL, latest-3, discard))
		require.Equal(t, 3, count(t, pool, "monitor_log"))
		require.Equal(t, 1, count(t, pool, "monitor_schedules"))
		require.Equal(t, 2, count(t, pool,
			"pg_indexes WHERE indexname IN ('monitor_log_pkey', 'monitor_log_outside_rounds')"))

		require.NoError(t, db.MigrateUp(t.Context(), databaseURL, chunk, discard))
		require.True(t, versions(t, pool).Current())
		require.Equal(t, 1, count(t, pool, "timescaledb_information.hypertables WHERE hypertable_name = 'monitor_log'"))
		scans, _, err := db.NewestScans(t.Context(), pool, monitor.ID, slot, slot.Add(25*time.Hour), 10)
		require.NoError(t, err)
		require.Len(t, scans, 3)

		// Without the log.
		require.NoError(t, db.MigrateDown(t.Context(), databaseURL, latest-2, discard))
		require.Equal(t, 1, count(t, pool, "monitors"))
		require.NoError(t, db.MigrateUp(t.Context(), databaseURL, chunk, discard))
		require.Zero(t, count(t, pool, "monitor_log"))
		require.Equal(t, 1, count(t, pool, "monitor_schedules"))
	})

	t.Run("CutOffAtAnyPointTheNextStartFinishes", func(t *testing.T) {
		t.Parallel()
		databaseURL := dbtest.EmptyURL(t)
		pool := dbtest.Open(t, databaseURL)
		proxy, proxied := dbtest.NewProxy(t, databaseURL)
		// Each start gets a little further than the one before, and finds what that one left.
		require.Greater(t, cuts(t, proxy, func() error { return db.MigrateUp(t.Context(), proxied, chunk, discard) }), 20)
		require.True(t, versions(t, pool).Current())
		require.Greater(t, cuts(t, proxy, func() error { return db.MigrateDown(t.Context(), proxied, latest, discard) }), 20)
		require.Zero(t, versions(t, pool).River)

		require.NoError(t, db.MigrateUp(t.Context(), databaseURL, chunk, discard))
		require.True(t, versions(t, pool).Current())
	})

	t.Run("SoDoesWhatRunsOutsideATransaction", func(t *testing.T) {
		t.Parallel()
		databaseURL := dbtest.URL(t)
		pool := dbtest.Open(t, databaseURL)
		proxy, proxied := dbtest.NewProxy(t, databaseURL)
		files := schemaUpTo(t, latest, "index.sql", "column.sql")
		up := func() error { return db.MigrateUpBy(t.Context(), proxied, files, chunk, discard) }
		require.Greater(t, cuts(t, proxy, up), 5)
		require.Equal(t, latest+2, versions(t, pool).Riverwatch)
		require.Equal(t, 1, count(t, pool, "pg_index WHERE indexrelid = 'monitors_updated'::regclass AND indisvalid"))
	})

	t.Run("WithoutTheRightToMakeRoles", func(t *testing.T) {
		t.Parallel()
		databaseURL := dbtest.EmptyURL(t)
		admin := dbtest.Open(t, databaseURL)
		parsed, err := url.Parse(databaseURL)
		require.NoError(t, err)
		owner := "owner_of_" + strings.TrimPrefix(parsed.Path, "/")
		dbtest.Exec(t, admin, "CREATE EXTENSION timescaledb; CREATE ROLE "+owner+" LOGIN PASSWORD 'owner'; ALTER DATABASE "+parsed.Path[1:]+" OWNER TO "+owner)
		t.Cleanup(func() {
			dbtest.Exec(t, admin, "REASSIGN OWNED BY "+owner+" TO CURRENT_USER; DROP OWNED BY "+owner+"; DROP ROLE "+owner)
		})
		parsed.User = url.UserPassword(owner, "owner")
		require.NoError(t, db.MigrateUp(t.Context(), parsed.String(), chunk, discard))
		pool := dbtest.Open(t, parsed.String())
		require.True(t, versions(t, pool).Current())
		dbtest.Exec(t, pool, "SELECT * FROM report.uptime_daily")
	})

	t.Run("TenProcessesAtOnce", func(t *testing.T) {
		t.Parallel()
		databaseURL := dbtest.EmptyURL(t)
		var all errgroup.Group
		for range 10 {
			all.Go(func() error { return db.MigrateUp(t.Context(), databaseURL, chunk, discard) })
		}
		require.NoError(t, all.Wait())
		require.True(t, versions(t, dbtest.Open(t, databaseURL)).Current())
	})

	t.Run("ASmallPoolInTheURLDoesNotLockItselfOut", func(t *testing.T) {
		t.Parallel()
		databaseURL := dbtest.EmptyURL(t)
		require.NoError(t, db.MigrateUp(t.Context(), databaseURL+"&pool_max_conns=1", chunk, discard))
	})

	t.Run("TheChunkIsASetting", func(t *testing.T) {
		t.Parallel()
		databaseURL := dbtest.URL(t)
		pool := dbtest.Open(t, databaseURL)
		require.NoError(t, db.MigrateUp(t.Context(), databaseURL, time.Hour, discard))

		at := time.Date(2026, 5, 1, 10, 30, 0, 0, time.UTC)
		require.NoError(t, db.New(pool).MakeLogChunks(t.Context(), at))
		require.NoError(t, db.New(pool).MakeLogChunks(t.Context(), at.Add(time.Minute)), "again")
		rows, err := pool.Query(t.Context(),
			"SELECT range_start FROM timescaledb_information.chunks WHERE hypertable_name = 'monitor_log' ORDER BY 1")
		require.NoError(t, err)
		var starts []string
		for rows.Next() {
			var start time.Time
			require.NoError(t, rows.Scan(&start))
			starts = append(starts, start.UTC().Format(time.TimeOnly))
		}
		require.NoError(t, rows.Err())
		require.Equal(t, []string{"11:00:00", "12:00:00"}, starts)
		require.Zero(t, count(t, pool, "monitor_log"), "the rows that made them are gone")
	})

	t.Run("AnOlderProgramRunsOnANewerSchema", func(t *testing.T) {
		t.Parallel()
		databaseURL := dbtest.URL(t)
		pool := dbtest.Open(t, databaseURL)
		_, err := pool.Exec(t.Context(), "UPDATE schema_version SET version = version + 1")
		require.NoError(t, err)

		require.NoError(t, db.MigrateUp(t.Context(), databaseURL, chunk, discard))
		newer := versions(t, pool)
		require.Equal(t, latest+1, newer.Riverwatch)
		require.True(t, newer.Current())
		require.ErrorContains(t, db.MigrateDown(t.Context(), databaseURL, 1, discard),
			fmt.Sprintf("current version %d", latest+1),
			"how to undo it is not known here")
	})

	t.Run("ADatabaseOfAnEarlierBuildIsToldAndLeftAsItIs", func(t *testing.T) {
		t.Parallel()
		sql, err := os.ReadFile("testdata/earlier_build.sql")
		require.NoError(t, err)
		databaseURL := dbtest.EmptyURL(t)
		pool := dbtest.Open(t, databaseURL)
		_, err = pool.Exec(t.Context(), string(sql))
		require.NoError(t, err)
		const shape = `SELECT string_agg(concat_ws(' ', table_name, column_name, data_type), ', ' ORDER BY table_name, column_name)
			FROM information_schema.columns WHERE table_schema = 'public'`
		var before, after string
		require.NoError(t, pool.QueryRow(t.Context(), shape).Scan(&before))

		err = db.MigrateUp(t.Context(), databaseURL, chunk, discard)
		require.ErrorIs(t, err, db.ErrEarlierBuild)
		require.ErrorContains(t, err, "schema at version 10 of the baseline none")
		require.ErrorContains(t, err, "drop it and create it")
		require.ErrorContains(t, err, "remove the folder .data")
		require.ErrorIs(t, db.MigrateDown(t.Context(), databaseURL, 1, discard), db.ErrEarlierBuild)
		_, err = db.SchemaVersions(t.Context(), pool)
		require.ErrorIs(t, err, db.ErrEarlierBuild, "nor does a worker or an API start on it")

		require.NoError(t, pool.QueryRow(t.Context(), shape).Scan(&after))
		require.Equal(t, before, after)
		require.Equal(t, 1, count(t, pool, "monitors WHERE phase = 7.25"))
		require.Equal(t, 1, count(t, pool, "schema_version WHERE version = 10"))
	})

	t.Run("SoIsOneWithoutMigrations", func(t *testing.T) {
		t.Parallel()
		databaseURL := dbtest.EmptyURL(t)
		pool := dbtest.Open(t, databaseURL)
		_, err := pool.Exec(t.Context(), "CREATE TABLE schema_version (version int4 NOT NULL); INSERT INTO schema_version VALUES (0)")
		require.NoError(t, err)
		require.ErrorIs(t, db.MigrateUp(t.Context(), databaseURL, chunk, discard), db.ErrEarlierBuild)
		require.Equal(t, 1, count(t, pool, "pg_class WHERE relnamespace = 'public'::regnamespace"))
	})

	t.Run("SoIsOneOfAnotherBaseline", func(t *testing.T) {
		t.Parallel()
		databaseURL := dbtest.URL(t)
		pool := dbtest.Open(t, databaseURL)
		_, err := pool.Exec(t.Context(), "UPDATE schema_version SET baseline = '0123456789abcdef'")
		require.NoError(t, err)
		err = db.MigrateUp(t.Context(), databaseURL, chunk, discard)
		require.ErrorIs(t, err, db.ErrEarlierBuild)
		require.ErrorContains(t, err, "of the baseline 0123456789abcdef")
	})

	t.Run("ErrorsSayWhatFailed", func(t *testing.T) {
		t.Parallel()
		err := db.MigrateUp(t.Context(), "postgres://%zz", chunk, discard)
		require.ErrorContains(t, err, "parse the database's URL")

		err = db.MigrateUp(t.Context(), "postgres://riverwatch@127.0.0.1:1/none?sslmode=disable", chunk, discard)
		require.ErrorContains(t, err, "connect to the database")
		require.Equal(t, db.TroubleAway, db.TroubleOf(err))

		databaseURL := dbtest.URL(t)
		pool := dbtest.Open(t, databaseURL)
		_, err = pool.Exec(t.Context(), "CREATE VIEW keeps AS SELECT id FROM monitors")
		require.NoError(t, err)
		require.ErrorContains(t, db.MigrateDown(t.Context(), databaseURL, latest, discard), "migrate down: ")
		require.Equal(t, 2, versions(t, pool).Riverwatch, "each migration is undone whole or not at all")

		pool.Close()
		_, err = db.SchemaVersions(t.Context(), pool)
		require.ErrorContains(t, err, "get the schema's versions")
	})
}

func TestMigrationFiles(t *testing.T) {
	t.Parallel()
	const good = "SELECT 1;\n\n---- create above / drop below ----\n\nSELECT 2;\n"
	for name, files := range map[string]map[string]string{
		"ANumberIsLeftOut":    {"001_a.sql": good, "003_c.sql": good},
		"ANumberIsThereTwice": {"001_a.sql": good, "001_b.sql": good},
		"NoNumber":            {"a.sql": good},
		"NoUndo":              {"001_a.sql": "SELECT 1;"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			schema := fstest.MapFS{}
			for name, text := range files {
				schema["schema/"+name] = &fstest.MapFile{Data: []byte(text)}
			}
			require.ErrorContains(t, db.MigrateUpBy(t.Context(), dbtest.EmptyURL(t), schema, chunk, discard), "its name must begin with")
		})
	}
}

func TestSchemaHash(t *testing.T) {
	t.Parallel()
	hash, err := db.SchemaHash()
	require.NoError(t, err)
	require.Regexp(t, "^[0-9a-f]{16}$", hash)
	again, err := db.SchemaHash()
	require.NoError(t, err)
	require.Equal(t, hash, again)
}

// cuts does something again and again, cut off from the database each time a little later, until it is done in time,
// and gives the number of cuts.
func cuts(t *testing.T, proxy *dbtest.Proxy, do func() error) (n int) {
	t.Helper()
	for after := 1; ; after += 1 + after/10 {
		proxy.CutAfter(after)
		err := do()
		if proxy.CutAfter(0) {
			require.NoError(t, err)
			return n
		}
		n++
	}
}
