package httpapi_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/history"
	"riverwatch/uptime"
)

type latency struct {
	From, To time.Time
	Step     string
	Total    latencyStep
	Steps    []latencyStep
}

type latencyStep struct {
	At           time.Time `json:"at"`
	Source       string    `json:"source"`
	Good         int       `json:"good"`
	Failed       int       `json:"failed"`
	Inconclusive int       `json:"inconclusive"`
	AvgMS        *float64  `json:"avg_ms"`
	P50MS        *float64  `json:"p50_ms"`
	MaxMS        *float64  `json:"max_ms"`
	ConnectMS    *float64  `json:"connect_ms"`
	TLSMS        *float64  `json:"tls_ms"`
}

type counted struct {
	Step  string
	Total countedStep
	Steps []countedStep
}

type countedStep struct {
	At             time.Time          `json:"at"`
	UpSeconds      float64            `json:"up_seconds"`
	DownSeconds    float64            `json:"down_seconds"`
	UnknownSeconds float64            `json:"unknown_seconds"`
	UnknownReasons map[string]float64 `json:"unknown_reasons"`
	PausedSeconds  float64            `json:"paused_seconds"`
	Ratio          *float64           `json:"ratio"`
	SuccessRate    *float64           `json:"success_rate"`
}

// Two hours of a scan a minute of 10 ms, of which 3 ms connecting; half an hour of it down, ten minutes missed.
func TestHistory(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	created := a.create(`{"url":"http://example.com/","interval_seconds":60}`)
	path := fmt.Sprintf("%s/%d", monitorsPath, created.ID)
	schedule := uptime.ScheduleOf(created.ID, 60)
	end := history.HourOf(time.Now())
	begin := end.Add(-2 * time.Hour)
	dbtest.Exec(t, a.pool, "UPDATE monitor_schedules SET from_at = $1", begin)
	dbtest.Exec(t, a.pool, "DELETE FROM status_changes")
	for n, status := range []uptime.Status{uptime.Up, uptime.Down, uptime.Up} { // in the order of time: a row takes back what is later
		dbtest.Exec(t, a.pool, "INSERT INTO status_changes (monitor_id, at, status) VALUES ($1, $2, $3)",
			created.ID, begin.Add(time.Duration(n)*30*time.Minute), string(status))
	}
	var scans []db.Scan
	for slot := schedule.SlotAfter(begin.Add(-time.Minute)); slot.Before(end); slot = schedule.Next(slot) {
		scan := dbtest.Scan(created.ID, slot)
		scan.TotalUS, scan.ConnectUS = 10_000, new(3_000)
		switch after := slot.Sub(begin); {
		case after < 0:
			continue
		case after >= 30*time.Minute && after < time.Hour:
			scan.Outcome = uptime.ConnectRefused
		case after >= 90*time.Minute && after < 100*time.Minute:
			dbtest.Exec(t, a.pool, "INSERT INTO scan_gaps VALUES (60, $1, $2, $3, $3, 'service_down', now())", schedule.PhaseMS, created.ID, slot)
			continue
		}
		scans = append(scans, scan)
	}
	dbtest.Insert(t, a.pool, scans...)
	of := func(from, to time.Time, step string) string {
		return "?" + url.Values{"from": {from.Format(time.RFC3339)}, "to": {to.Format(time.RFC3339)}, "step": {step}}.Encode()
	}

	t.Run("Latency", func(t *testing.T) {
		t.Parallel()
		var got latency
		a.get(path + "/latency" + of(begin, end, "1h")).into(&got)
		require.Len(t, got.Steps, 2)
		require.Equal(t, "1h", got.Step)
		require.Equal(t, []int{30, 50}, []int{got.Steps[0].Good, got.Steps[1].Good})
		require.Equal(t, 30, got.Total.Failed)
		require.InDelta(t, 10, *got.Total.AvgMS, 1e-9)
		require.InDelta(t, 3, *got.Total.ConnectMS, 1e-9)
		require.InEpsilon(t, 10, *got.Total.P50MS, 0.045)
		require.Nil(t, got.Total.TLSMS)
		require.Equal(t, "scans", got.Steps[0].Source)

		a.get(path + "/latency" + of(begin, end, "auto")).into(&got)
		require.Equal(t, "5m", got.Step)
		require.Len(t, got.Steps, 24)
		require.Nil(t, got.Steps[18].AvgMS, "of missed slots")
		require.Empty(t, got.Steps[18].Source)
	})

	t.Run("Uptime", func(t *testing.T) {
		t.Parallel()
		var got counted
		a.get(path + "/uptime" + of(begin, end, "1h")).into(&got)
		require.Len(t, got.Steps, 2)
		require.InDelta(t, 1800, got.Total.DownSeconds, 1e-9)
		require.InDelta(t, 600, got.Total.UnknownSeconds, 1e-9)
		require.Equal(t, map[string]float64{"service_down": 600}, got.Total.UnknownReasons)
		require.InDelta(t, 4800, got.Total.UpSeconds, 1e-9)
		require.InDelta(t, 4800.0/6600, *got.Total.Ratio, 1e-9)
		require.InDelta(t, 80.0/110, *got.Total.SuccessRate, 1e-9)
		require.InDelta(t, 0.5, *got.Steps[0].Ratio, 1e-9)
		require.InDelta(t, 1, *got.Steps[1].Ratio, 1e-9)

		a.get(path + "/uptime" + of(begin.Add(-24*time.Hour), begin, "1d")).into(&got)
		require.Nil(t, got.Total.Ratio, "it was not there yet")
		require.Nil(t, got.Total.SuccessRate)
		require.Zero(t, got.Total.PausedSeconds)
	})

	t.Run("TimesInAnyForm", func(t *testing.T) {
		t.Parallel()
		for _, from := range []string{
			begin.Format(time.RFC3339), strconv.FormatInt(begin.Unix(), 10), fmt.Sprintf("now-%ds", int(time.Since(begin).Seconds())),
		} {
			var got latency
			answer := a.get(path + "/latency?step=5m&to=now&from=" + url.QueryEscape(from))
			require.Equal(t, http.StatusOK, answer.status, answer.raw)
			answer.into(&got)
			require.True(t, got.From.Equal(begin), "%s: %s", from, got.From)
		}
		var got latency
		a.get(path + "/latency?from=now-30d").into(&got)
		require.Equal(t, "1h", got.Step)
		a.get(path + "/latency?from=now-90d").into(&got)
		require.Equal(t, "1d", got.Step)
		a.get(path + "/latency").into(&got)
		require.InDelta(t, 24, got.To.Sub(got.From).Hours(), 0.1)
	})

	t.Run("WhatIsWrongIsSaid", func(t *testing.T) {
		t.Parallel()
		for query, code := range map[string]string{
			"?from=now-30d&step=5m":         "range_too_large",
			"?from=now&to=now-1h":           "range_invalid",
			"?from=1999-01-01T00:00:00Z":    "range_invalid",
			"?from=yesterday":               "",
			"?from=now-1x":                  "",
			"?from=now5m":                   "",
			"?from=-5":                      "",
			"?from=now-999999999d":          "",
			"?step=2h":                      "",
			"?from=2026-13-01T00:00:00Z":    "",
			"?from=now-100000h&step=1h":     "range_too_large",
			"?from=2262-04-12T00:00:00Z":    "range_invalid",
			"?from=99999999999999999999999": "",
		} {
			for _, of := range []string{"/latency", "/uptime"} {
				answer := a.get(path + of + query)
				require.Equal(t, http.StatusBadRequest, answer.status, "%s: %s", query, answer.raw)
				require.Contains(t, answer.raw, code)
				require.Regexp(t, `query\.(from|to|step)`, answer.raw)
			}
		}
		require.Equal(t, http.StatusNotFound, a.get(monitorsPath+"/999999/latency").status)
		require.Equal(t, http.StatusNotFound, a.get(monitorsPath+"/999999/uptime").status)
	})

	t.Run("AListIncludesThePast", func(t *testing.T) {
		t.Parallel()
		type list struct {
			Data []struct {
				ID   int64
				Past *struct {
					Slots    []map[string]any `json:"slots"`
					Uptime7d *float64         `json:"uptime_7d"`
					P95MS24h *float64         `json:"p95_ms_24h"`
				}
			}
		}
		var got list
		a.get(monitorsPath).into(&got)
		require.Nil(t, got.Data[0].Past)
		got = list{}
		a.get(monitorsPath + "?include=bars,uptime,latency").into(&got)
		require.Len(t, got.Data[0].Past.Slots, 60)
		require.InDelta(t, 0.727, *got.Data[0].Past.Uptime7d, 0.2)
		require.InEpsilon(t, 10, *got.Data[0].Past.P95MS24h, 0.045)
		got = list{}
		a.get(monitorsPath + "?include=uptime").into(&got)
		require.Nil(t, got.Data[0].Past.Slots)
		require.NotNil(t, got.Data[0].Past.Uptime7d)
		require.Equal(t, http.StatusBadRequest, a.get(monitorsPath+"?include=bars,nothing").status)
	})

	t.Run("Summary", func(t *testing.T) {
		t.Parallel()
		var got struct {
			Monitors int
			ByStatus map[string]int `json:"by_status"`
			Promised float64        `json:"promised_scans_per_second"`
			Slowest  []struct{ ID int64 }
			MostDown []struct {
				ID   int64
				Down float64 `json:"down_seconds"`
			} `json:"most_down"`
		}
		a.get("/api/v1/summary").into(&got)
		require.Equal(t, 1, got.Monitors)
		require.Len(t, got.ByStatus, len(uptime.Statuses()))
		require.Equal(t, 1, got.ByStatus["pending"])
		require.InEpsilon(t, 1.0/60, got.Promised, 1e-9)
		require.Empty(t, got.Slowest, "nothing is rolled up")
		require.Len(t, got.MostDown, 1)
		require.Equal(t, created.ID, got.MostDown[0].ID)
		require.InDelta(t, 1800, got.MostDown[0].Down, 1e-9)

		a.create(`{"url":"http://example.com/other","interval_seconds":60}`)
		a.get("/api/v1/summary").into(&got)
		require.Equal(t, 1, got.Monitors, "it is kept for a moment")
	})

	t.Run("Storage", func(t *testing.T) {
		t.Parallel()
		var got struct {
			Data []struct {
				Name  string     `json:"name"`
				From  *time.Time `json:"from"`
				Bytes int64      `json:"bytes"`
			} `json:"data"`
			RolledUpUntil *time.Time `json:"rolled_up_until"`
		}
		a.get("/api/v1/storage").into(&got)
		require.Len(t, got.Data, 3)
		require.Equal(t, "scans", got.Data[0].Name)
		require.Positive(t, got.Data[0].Bytes)
		require.NotNil(t, got.Data[0].From)
		require.Nil(t, got.Data[1].From)
		require.Nil(t, got.RolledUpUntil)
	})
}
