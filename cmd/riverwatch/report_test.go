package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/history"
	"riverwatch/uptime"
)

// A month of a scan each ten minutes, in which one monitor was down for an hour, and not scanned at one slot.
func TestReport(t *testing.T) {
	t.Parallel()
	const hostile = `=1|<script>alert(1)</script> *x*`
	environment := map[string]string{"DATABASE_URL": dbtest.URL(t)}
	pool := dbtest.Open(t, environment["DATABASE_URL"])
	now := time.Now().UTC()
	until := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	begin := until.AddDate(0, -1, 0)
	month := begin.Format("2006-01")
	schedule := uptime.Schedule{Interval: 600}
	dbtest.Monitors(t, pool, schedule, begin.Add(-24*time.Hour), 3, func(n int, m *db.Monitor) {
		m.Name = fmt.Sprintf("quiet %d", n)
		if n == 0 {
			m.Name, m.Tags = hostile, []string{"shop"}
		}
	})
	down := begin.Add(30 * time.Hour)
	for _, change := range []struct {
		at     time.Time
		status uptime.Status
	}{{begin.Add(-24 * time.Hour), uptime.Up}, {down, uptime.Down}, {down.Add(time.Hour), uptime.Up}} {
		dbtest.Exec(t, pool, "INSERT INTO status_changes (monitor_id, at, status) VALUES (1000, $1, $2)", change.at, string(change.status))
	}
	dbtest.Exec(t, pool, "INSERT INTO scan_gaps VALUES (600, 0, 1000, $1, $1, 'service_down', now())", begin.Add(50*time.Hour))
	var scans []db.Scan
	for n := range 200 { // of 1 ms, 2 ms… each; those of the month alone count
		scan := dbtest.Scan(1000, begin.Add(time.Duration(n-100)*10*time.Minute))
		scan.TotalUS = max(1, n-100) * 1000
		if n >= 190 {
			scan.Outcome = uptime.ConnectRefused
		}
		scans = append(scans, scan)
	}
	dbtest.Insert(t, pool, scans...)
	whole := until.Sub(begin).Seconds()
	percent := fmt.Sprintf("%.3f", float64(int((whole-4200)/(whole-600)*100_000))/1000)
	stamped := down.Format(time.RFC3339) + " to " + down.Add(time.Hour).Format(time.RFC3339) + " (1h0m0s)"

	t.Run("CSV", func(t *testing.T) {
		t.Parallel()
		stdout, _, err := command(t.Context(), environment, "report", "--month", month, "--format", "csv")
		require.NoError(t, err)
		all, err := csv.NewReader(strings.NewReader(stdout)).ReadAll()
		require.NoError(t, err)
		require.Len(t, all, 4)
		row := map[string]string{}
		for i, name := range all[0] {
			row[name] = all[1][i]
		}
		latency := func(name string) (ms float64) {
			_, err := fmt.Sscan(row[name], &ms)
			require.NoError(t, err)
			delete(row, name)
			return ms
		}
		require.InEpsilon(t, 45, latency("p50_ms"), 0.06)
		require.InEpsilon(t, 85, latency("p95_ms"), 0.06)
		require.InEpsilon(t, 89, latency("p99_ms"), 0.06)
		require.Equal(t, map[string]string{
			"monitor_id": "1000", "name": "'" + hostile, "key": "", "url": "https://example.com/1000", "from": begin.Format(time.RFC3339),
			"until": until.Format(time.RFC3339), "uptime_percent": percent, "up_seconds": fmt.Sprint(int(whole - 4200)), "degraded_seconds": "0",
			"down_seconds": "3600", "unknown_seconds": "600", "paused_seconds": "0", "maintenance_seconds": "0", "downtimes": "1",
			"downtime_intervals": down.Format(time.RFC3339) + "/" + down.Add(time.Hour).Format(time.RFC3339), "scans": "100",
			"success_percent": "90.000",
		}, row)
		require.Equal(t, []string{"1001", "quiet 1", "", "https://example.com/1001"}, all[2][:4])
		require.Empty(t, all[2][6], "nothing is known")
	})

	t.Run("Markdown", func(t *testing.T) {
		t.Parallel()
		stdout, _, err := command(t.Context(), environment, "report", "--month", month, "--tag", "shop")
		require.NoError(t, err)
		require.Contains(t, stdout, "# Uptime in "+month+", of monitors with the tag shop")
		require.Contains(t, stdout, history.UptimeRule)
		require.NotContains(t, stdout, "quiet")
		lines := strings.Split(strings.TrimSpace(stdout), "\n")
		unescaped := regexp.MustCompile(`(^|[^\\])\|`)
		for _, line := range lines[len(lines)-3:] {
			require.Len(t, unescaped.FindAllString(line, -1), 13, line)
		}
		require.Contains(t, stdout, `| =1\|&lt;script\>alert\(1\)&lt;/script\> \*x\* | https://example.com/1000 | `+percent+` | 1h0m0s | `+
			stamped+` | 600 | 0 | 0 | 90.000 | `)
	})

	t.Run("HTMLToAFile", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "report.html")
		stdout, stderr, err := command(t.Context(), environment, "report", "--month", month, "--format", "html", "--output", file)
		require.NoError(t, err)
		require.Empty(t, stdout)
		require.Contains(t, stderr, "reporting: 3/3 monitors\n")
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		page := string(raw)
		require.NotContains(t, page, "<script")
		require.Contains(t, page, "<td>=1|&lt;script&gt;alert(1)&lt;/script&gt; *x*</td>")
		require.Contains(t, page, `<td class="number">`+percent+`</td>`)
		require.Contains(t, page, "<div>"+stamped+"</div>")
		require.Contains(t, page, "paused and maintenance count in neither.")
		require.Equal(t, 4, strings.Count(page, "<tr>"), "three monitors and the head")
		require.True(t, strings.HasSuffix(page, "</html>\n"))
		require.NoFileExists(t, file+".part")
	})

	t.Run("OfThisMonthUntilNow", func(t *testing.T) {
		t.Parallel()
		stdout, _, err := command(t.Context(), environment, "report", "--month", now.Format("2006-01"), "--format", "csv", "--tag", "shop")
		require.NoError(t, err)
		require.Contains(t, stdout, ",100.000,")
	})

	t.Run("NoHalfReportIsLeft", func(t *testing.T) {
		t.Parallel()
		databaseURL := dbtest.URL(t)
		dbtest.Exec(t, dbtest.Open(t, databaseURL), "DROP TABLE history_progress")
		broken := dbtest.Open(t, databaseURL)
		dbtest.Monitors(t, broken, schedule, begin, 1, func(int, *db.Monitor) {})
		folder := t.TempDir()
		file := filepath.Join(folder, "report.md")
		require.NoError(t, os.WriteFile(file, []byte("of before"), 0o600))
		_, _, err := command(t.Context(), map[string]string{"DATABASE_URL": databaseURL}, "report", "--month", month, "--output", file)
		require.ErrorContains(t, err, "uptime of monitors: ")
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, "of before", string(raw))
		require.NoFileExists(t, file+".part")
	})
}

// What is not all of it is not shown as if it were.
func TestPercent(t *testing.T) {
	t.Parallel()
	month := (31 * 24 * time.Hour).Microseconds()
	for want, part := range map[string]int64{"100.000": month, "99.999": month - 1, "0.000": 1, "50.000": month / 2} {
		require.Equal(t, want, *percent(part, month))
	}
	require.Nil(t, percent(0, 0))
}
