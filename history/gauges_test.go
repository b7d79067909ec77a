package history_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/history"
)

// gaugesOf gives what a scrape has, by name and table.
func gaugesOf(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	got := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			name := family.GetName()
			for _, label := range metric.GetLabel() {
				name += " " + label.GetName() + "=" + label.GetValue()
			}
			got[name] = metric.GetGauge().GetValue()
		}
	}
	return got
}

// What is kept is what Stored says, asked once a minute, and nothing while the database is away.
func TestGauges(t *testing.T) {
	t.Parallel()
	p := hourly(t, 5, 6)
	now := noon.Add(5*time.Hour + 30*time.Minute)
	clock := now
	registry := prometheus.NewRegistry()
	history.RegisterGauges(registry, p.Pool, func() time.Time { return clock }, slog.New(slog.DiscardHandler))
	before := gaugesOf(t, registry)
	require.NotContains(t, before, "riverwatch_rolled_up_until_timestamp_seconds")
	require.NotContains(t, before, "riverwatch_storage_oldest_timestamp_seconds table=hours")
	p.account(t, now)
	p.rollUp(t)
	require.Equal(t, before, gaugesOf(t, registry), "kept for a minute")
	clock = clock.Add(time.Minute)

	stored, err := history.Stored(t.Context(), p.Pool, clock)
	require.NoError(t, err)
	scans, hours := stored.Tables[0], stored.Tables[1]
	got := gaugesOf(t, registry)
	require.Equal(t, map[string]float64{
		"riverwatch_storage_bytes table=scans":                    float64(scans.Bytes),
		"riverwatch_storage_bytes table=hours":                    float64(hours.Bytes),
		"riverwatch_storage_bytes table=days":                     0,
		"riverwatch_storage_oldest_timestamp_seconds table=scans": float64(noon.Unix()),
		"riverwatch_storage_oldest_timestamp_seconds table=hours": float64(hours.From.Unix()),
		"riverwatch_storage_growth_bytes_per_day table=scans":     float64(*scans.BytesPerDay),
		"riverwatch_rolled_up_until_timestamp_seconds":            float64(noon.Add(5 * time.Hour).Unix()),
	}, got)

	dbtest.Exec(t, p.Pool, "ALTER TABLE history_progress RENAME TO away")
	clock = clock.Add(time.Minute)
	require.Empty(t, gaugesOf(t, registry))
	require.Empty(t, gaugesOf(t, registry), "nor does what was so before come back")
}

// A scrape goes on without a database, and the log says why.
func TestGaugesOfADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	pool, err := db.Open(t.Context(), "postgres://u@127.0.0.1:1/d?sslmode=disable", 4)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	registry := prometheus.NewRegistry()
	history.RegisterGauges(registry, pool, time.Now, slog.New(slog.NewTextHandler(&log, nil)))
	began := time.Now()
	require.Empty(t, gaugesOf(t, registry))
	require.Less(t, time.Since(began), 10*time.Second)
	require.Contains(t, log.String(), "the metrics of storage are missing")
}
