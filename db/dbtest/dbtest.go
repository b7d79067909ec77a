// Package dbtest gives a test a database of its own, migrated and empty, and monitors to put in it.
package dbtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/uptime"
)

// New gives a pool on a migrated database, which goes with the test.
func New(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return Open(t, URL(t))
}

// Open gives a pool on a database, as the program opens it, until the test ends.
func Open(t testing.TB, databaseURL string) *pgxpool.Pool {
	t.Helper()
	pool, err := db.Open(context.Background(), databaseURL, 10)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// URL is [New] for those who connect themselves.
func URL(t testing.TB) string {
	t.Helper()
	name, err := template()
	require.NoError(t, err)
	return create(t, name)
}

// EmptyURL gives the URL of a database that was never migrated.
func EmptyURL(t testing.TB) string {
	t.Helper()
	return create(t, "template0")
}

func create(t testing.TB, template string) string {
	t.Helper()
	name := testPrefix(time.Now()) + strings.ToLower(rand.Text())
	ctx := context.Background() // the test's own ends before its cleanup
	require.NoError(t, admin(ctx, "CREATE DATABASE "+name+" TEMPLATE "+template))
	t.Cleanup(func() { require.NoError(t, admin(ctx, "DROP DATABASE "+name+" WITH (FORCE)")) })
	databaseURL, err := urlOf(name)
	require.NoError(t, err)
	return databaseURL
}

// testPrefix begins the names of the databases of tests that run on a day, so that those of killed tests can be told.
func testPrefix(at time.Time) string { return "test_" + at.UTC().Format("20060102") + "_" }

// admin runs a statement on the server's first database.
func admin(ctx context.Context, sql string) error {
	conn, err := connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // nothing is lost
	if _, err := conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

// connect connects to the server's first database.
func connect(ctx context.Context) (*pgx.Conn, error) {
	databaseURL, err := serverURL()
	if err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return nil, fmt.Errorf("connect to the test server: %w", err)
	}
	return conn, nil
}

func serverURL() (string, error) {
	databaseURL := os.Getenv("TEST_DATABASE_URL")
	if databaseURL == "" {
		return "", errors.New("TEST_DATABASE_URL names no server: run the tests with `make test`, which starts one")
	}
	return databaseURL, nil
}

func urlOf(database string) (string, error) {
	databaseURL, err := serverURL()
	if err != nil {
		return "", err
	}
	parsed, err := url.Parse(databaseURL)
	if err != nil {
		return "", fmt.Errorf("parse TEST_DATABASE_URL: %w", err)
	}
	parsed.Path = "/" + database
	query := parsed.Query()
	query.Set("connect_timeout", "30") // seconds: a test machine may be busy
	parsed.RawQuery = query.Encode()
	return parsed.String(), nil
}

// Monitor gives a monitor of an interval and phase, without state, schedule or jobs. Its URL is its own.
func Monitor(t require.TestingT, conn db.DBTX, interval, phaseMS int) db.Monitor {
	ids, err := db.New(conn).NextMonitorIDs(context.Background(), 1)
	require.NoError(t, err)
	return insertMonitors(t, conn, row(ids[0], uptime.Schedule{Interval: interval, PhaseMS: phaseMS}, time.Now()))[0]
}

// Monitors gives monitors of one schedule, a thing that ids do not easily give, pending and promised from an instant on.
// change changes what is inserted of the one with a number, from 0 on; their ids are 1000, 1001… unless it does.
func Monitors(
	t require.TestingT, conn db.DBTX, schedule uptime.Schedule, from time.Time, count int, change func(n int, m *db.Monitor),
) {
	rows := make([]db.Monitor, count)
	var states db.PutMonitorStatesParams
	var open db.OpenSchedulesParams
	for n := range rows {
		rows[n] = row(int64(1000+n), schedule, from)
		change(n, &rows[n])
		states.MonitorIDs = append(states.MonitorIDs, rows[n].ID)
		states.Statuses = append(states.Statuses, string(uptime.Pending))
		states.Sinces, states.JudgedSlots = append(states.Sinces, from), append(states.JudgedSlots, from)
		states.Failures, states.Successes = append(states.Failures, 0), append(states.Successes, 0)
		open.MonitorIDs, open.FromAts = append(open.MonitorIDs, rows[n].ID), append(open.FromAts, from)
		open.IntervalsSeconds = append(open.IntervalsSeconds, schedule.Interval)
		open.PhasesMS = append(open.PhasesMS, schedule.PhaseMS)
	}
	insertMonitors(t, conn, rows...)
	require.NoError(t, db.New(conn).PutMonitorStates(context.Background(), states))
	require.NoError(t, db.New(conn).OpenSchedules(context.Background(), open))
}

// row is a monitor with all that the database asks for.
func row(id int64, schedule uptime.Schedule, at time.Time) db.Monitor {
	return db.Monitor{
		ID: id, Version: 1, Name: "shop", Method: "GET", URL: fmt.Sprintf("https://example.com/%d", id), Host: "example.com",
		IntervalSeconds: schedule.Interval, PhaseMS: schedule.PhaseMS, TimeoutMS: 1000, AcceptedStatuses: []string{"200-299"},
		MaxRedirects: 10, FailureThreshold: 3, SuccessThreshold: 2, RetryIntervalSeconds: 20, Tags: []string{},
		Request: []byte("{}"), Expectations: []byte("{}"), SecretNames: []string{}, CreatedAt: at, UpdatedAt: at,
	}
}

func insertMonitors(t require.TestingT, conn db.DBTX, rows ...db.Monitor) []db.Monitor {
	params := make([]db.CreateMonitorsParams, len(rows))
	for i, row := range rows {
		params[i] = db.CreateMonitorsParams(row)
	}
	db.New(conn).CreateMonitors(context.Background(), params).QueryRow(func(i int, row db.Monitor, err error) {
		require.NoError(t, err)
		rows[i] = row
	})
	return rows
}

// Scan gives a good scan of a monitor at a slot, for its round. It is not in the log yet.
func Scan(monitorID int64, slot time.Time) db.Scan {
	return db.Scan{
		Slot: slot.UTC(), MonitorID: monitorID, TotalUS: 1000, MonitorVersion: 1, Outcome: uptime.OK, Reason: "round",
		Worker: "test",
	}
}

// Insert writes scans to the log.
func Insert(t require.TestingT, conn db.DBTX, scans ...db.Scan) {
	params := make([]db.CopyScansParams, len(scans))
	for i, scan := range scans {
		params[i] = db.CopyScansParams(scan)
	}
	_, err := db.New(conn).CopyScans(context.Background(), params)
	require.NoError(t, err)
}
