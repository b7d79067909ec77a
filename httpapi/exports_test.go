package httpapi_test

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/uptime"
)

const exportPath = "/api/v1/export/scans"

// lines gives the objects of JSONL.
func lines(t *testing.T, raw string) (rows []map[string]any) {
	t.Helper()
	for line := range strings.Lines(raw) {
		row := map[string]any{}
		require.NoError(t, json.Unmarshal([]byte(line), &row), line)
		rows = append(rows, row)
	}
	return rows
}

// sheetOf gives the rows of CSV by the names of their columns, and these.
func sheetOf(t *testing.T, raw string) (rows []map[string]string, columns []string) {
	t.Helper()
	require.True(t, strings.HasSuffix(raw, "\r\n"))
	all, err := csv.NewReader(strings.NewReader(raw)).ReadAll()
	require.NoError(t, err)
	for _, cells := range all[1:] {
		row := map[string]string{}
		for i, cell := range cells {
			row[all[0][i]] = cell
		}
		rows = append(rows, row)
	}
	return rows, all[0]
}

func TestExport(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	const hostile = `=HYPERLINK("http://evil","x")`
	shop := a.create(`{"url":"https://example.com/shop","name":` + fmt.Sprintf("%q", hostile) + `,"tags":["shop","a,b"],"key":"@key","interval_seconds":10}`)
	other := a.create(`{"url":"https://example.com/other","interval_seconds":10}`)
	third := a.create(`{"url":"https://example.com/third","interval_seconds":10}`)
	gone := a.create(`{"url":"https://example.com/gone","tags":["shop"],"interval_seconds":60}`)

	// Five hours in chunks of three. A page, which has 1,000, ends within a slot of three monitors.
	end := time.Now().UTC().Truncate(time.Minute).Add(-time.Minute)
	begin := end.Add(-5 * time.Hour)
	dbtest.Exec(t, a.pool, "SELECT set_log_chunk(INTERVAL '3 hours')")
	dbtest.Exec(t, a.pool, "UPDATE monitor_schedules SET phase_ms = 0, from_at = $1", begin)
	var scans []db.Scan
	for slot := begin; slot.Before(end); slot = slot.Add(10 * time.Second) {
		scan := dbtest.Scan(shop.ID, slot)
		scan.TotalUS = len(scans)
		scans = append(scans, scan, dbtest.Scan(other.ID, slot), dbtest.Scan(third.ID, slot), dbtest.Scan(gone.ID, slot))
	}
	bad := dbtest.Scan(shop.ID, begin.Add(150*time.Minute+time.Microsecond))
	bad.Reason, bad.Outcome, bad.LateMS, bad.HTTPStatus, bad.RegexpMatched = "asked", uptime.StatusMismatch, -5, new(500), new(false)
	bad.Error, bad.BodyExcerpt, bad.RemoteIP = new("-1, it said"), new("\"a\"\nb"), new(netip.MustParseAddr("2001:db8::1"))
	bad.DNSUS, bad.ConnectUS, bad.TLSUS, bad.WaitUS, bad.TransferUS, bad.BodyBytes = new(1), new(2), new(3), new(4), new(5500), new(6)
	scans = append(scans, bad)
	dbtest.Insert(t, a.pool, scans...)
	require.Equal(t, http.StatusNoContent, a.send(http.MethodDelete, fmt.Sprintf("%s/%d", monitorsPath, gone.ID), "").status)
	slices.SortFunc(scans, func(x, y db.Scan) int {
		if c := x.Slot.Compare(y.Slot); c != 0 {
			return c
		}
		return int(x.MonitorID - y.MonitorID)
	})
	of := func(ids ...int64) (keys []string) {
		for _, scan := range scans {
			if slices.Contains(ids, scan.MonitorID) {
				keys = append(keys, fmt.Sprintf("%d at %s", scan.MonitorID, scan.Slot.Format(time.RFC3339Nano)))
			}
		}
		return keys
	}
	keysOf := func(rows []map[string]any) (keys []string) {
		for _, row := range rows {
			keys = append(keys, fmt.Sprintf("%.0f at %s", row["monitor_id"], row["slot"]))
		}
		return keys
	}
	path := fmt.Sprintf("%s/%d/scans", monitorsPath, shop.ID)

	t.Run("HasEachScanOnceOldestFirst", func(t *testing.T) {
		t.Parallel()
		for path, ids := range map[string][]int64{
			path + ".jsonl":                             {shop.ID},
			exportPath + ".jsonl":                       {shop.ID, other.ID, third.ID},
			exportPath + ".jsonl?tag=shop&from=now-90d": {shop.ID},
			exportPath + ".jsonl?tag=nobody":            {},
		} {
			answer := a.get(path)
			require.Equal(t, http.StatusOK, answer.status, answer.raw)
			require.Equal(t, of(ids...), keysOf(lines(t, answer.raw)), path)
			require.Equal(t, "application/jsonl; charset=utf-8", answer.header.Get("Content-Type"))
			require.Contains(t, answer.header.Get("Content-Disposition"), `.jsonl"`)
		}
		part := "?" + url.Values{"from": {begin.Add(time.Hour).Format(time.RFC3339)}, "to": {end.Add(-time.Hour).Format(time.RFC3339)}}.Encode()
		require.Len(t, lines(t, a.get(path+".jsonl"+part).raw), 3*360+1, "from the first until before the last")
		require.Len(t, lines(t, a.get(exportPath+".jsonl"+part).raw), 3*3*360+1)
	})

	t.Run("SaysOfAScanWhatTheListDoes", func(t *testing.T) {
		t.Parallel()
		var list struct{ Data []map[string]any }
		a.get(path + "?limit=1&" + url.Values{
			"from": {bad.Slot.Format(time.RFC3339Nano)}, "to": {bad.Slot.Add(time.Microsecond).Format(time.RFC3339Nano)},
		}.Encode()).into(&list)
		require.Len(t, list.Data, 1)
		want := list.Data[0]
		for name, value := range want {
			require.NotNil(t, value, "%s: each column of it is to be seen", name)
		}
		isBad := func(row map[string]any) bool { return row["slot"] == want["slot"] }
		rows := lines(t, a.get(path+".jsonl").raw)
		want["monitor_id"] = float64(shop.ID)
		require.Equal(t, want, rows[slices.IndexFunc(rows, isBad)])
		rows = lines(t, a.get(exportPath+".jsonl").raw)
		want["monitor_name"], want["monitor_key"], want["monitor_url"] = hostile, "@key", "https://example.com/shop"
		want["monitor_tags"] = []any{"shop", "a,b"}
		require.Equal(t, want, rows[slices.IndexFunc(rows, isBad)])
	})

	t.Run("IsTheSameAsCSVWithoutFormulas", func(t *testing.T) {
		t.Parallel()
		for _, path := range []string{path, exportPath} {
			answer := a.get(path + ".csv")
			require.Equal(t, "text/csv; charset=utf-8", answer.header.Get("Content-Type"))
			got, columns := sheetOf(t, answer.raw)
			want := lines(t, a.get(path+".jsonl").raw)
			require.ElementsMatch(t, slices.Collect(maps.Keys(want[0])), columns)
			require.Len(t, got, len(want))
			for i, row := range want {
				for name, value := range row {
					cell, isText := "", false
					switch value := value.(type) {
					case nil:
					case string:
						cell, isText = value, true
					default:
						raw, err := json.Marshal(value)
						require.NoError(t, err)
						cell = string(raw)
					}
					if isText && strings.ContainsAny(cell[:min(1, len(cell))], "=+-@") {
						cell = "'" + cell
					}
					require.Equal(t, cell, got[i][name], name)
				}
			}
		}
		raw := a.get(exportPath + ".csv").raw
		require.Contains(t, raw, `"'=HYPERLINK(""http://evil"",""x"")",'@key,`)
		require.Contains(t, raw, `,"'-1, it said",`)
		require.Contains(t, raw, `,-5,`, "a number of ours")
	})

	t.Run("TellsHEADNothingMore", func(t *testing.T) {
		t.Parallel()
		head := a.send(http.MethodHead, exportPath+".csv", "")
		require.Equal(t, http.StatusOK, head.status)
		require.Empty(t, head.raw)
	})

	t.Run("WhatIsWrongIsSaidBeforeIt", func(t *testing.T) {
		t.Parallel()
		for _, path := range []string{path, exportPath} {
			for _, as := range []string{".csv", ".jsonl"} {
				for query, location := range map[string]string{
					"?from=now&to=now-1h": "query.from", "?from=1999-01-01T00:00:00Z": "query.from", "?from=yesterday": "query.from", "?to=x": "query.to",
				} {
					answer := a.get(path + as + query)
					require.Equal(t, http.StatusBadRequest, answer.status, answer.raw)
					require.Contains(t, answer.codes(), location)
				}
			}
		}
		for _, id := range []int64{gone.ID, 999_999} {
			require.Equal(t, http.StatusNotFound, a.get(fmt.Sprintf("%s/%d/scans.csv", monitorsPath, id)).status)
		}
		require.Equal(t, http.StatusBadRequest, a.get(exportPath+".csv?tag="+strings.Repeat("a", 51)).status)
		columns, _, _ := strings.Cut(a.get(exportPath+".csv?tag=nobody").raw, ",")
		require.Equal(t, "monitor_id", columns, "what is empty has its columns")
	})
}

// longLog is a monitor with a log that no connection holds: 30 MB in 25,000 rows.
func longLog(t *testing.T, a *testAPI) (path string) {
	t.Helper()
	monitor := a.create(`{"url":"https://example.com/long","interval_seconds":10}`)
	dbtest.Exec(t, a.pool, "UPDATE monitor_schedules SET phase_ms = 0, from_at = from_at - INTERVAL '4 days'")
	dbtest.Exec(t, a.pool, `
		INSERT INTO monitor_log (slot, monitor_id, late_ms, total_us, monitor_version, outcome, reason, worker, body_excerpt)
		SELECT slot, $1, 0, 0, 1, 'ok', 'round', 'test', repeat('x', 1024)
		FROM generate_series(to_timestamp($2::bigint - 250000), to_timestamp($2::bigint - 10), INTERVAL '10 seconds') AS slot`,
		monitor.ID, time.Now().Unix()/10*10)
	return fmt.Sprintf("%s/%d/scans", monitorsPath, monitor.ID)
}

// begun is an export of which the client has read the first, on a server that grants a request little time.
func begun(t *testing.T, handler http.Handler, path string) (first string, rest io.Reader) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.WriteTimeout, server.Config.ReadTimeout = briefly, briefly
	server.Start()
	t.Cleanup(server.Close)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, http.NoBody)
	require.NoError(t, err)
	answer, err := http.DefaultTransport.RoundTrip(request)
	require.NoError(t, err)
	t.Cleanup(func() { _ = answer.Body.Close() })
	require.Equal(t, http.StatusOK, answer.StatusCode)
	buffered := bufio.NewReader(answer.Body)
	first, err = buffered.ReadString('\n')
	require.NoError(t, err)
	return first, buffered
}

const briefly = 100 * time.Millisecond

// Whoever reads slowly gets all of it, though it takes longer than the server grants an answer.
func TestExportOutlastsTheTimeoutsOfTheServer(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	first, rest := begun(t, a.handler, longLog(t, a)+".jsonl?from=now-4d")
	time.Sleep(3 * briefly)
	raw, err := io.ReadAll(rest)
	require.NoError(t, err)
	require.Len(t, lines(t, first+string(raw)), 25_000)
}

// What breaks off half way says so in its last line, and is no whole body.
func TestExportBreaksOffLoudly(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.URL(t)
	direct := newTestAPIOn(t, dbtest.Open(t, databaseURL))
	path := longLog(t, direct) + "."
	for _, path := range []string{path, exportPath + "."} {
		for _, as := range []string{"jsonl", "csv"} {
			t.Run(as, func(t *testing.T) {
				t.Parallel()
				proxy, throughProxy := dbtest.NewProxy(t, databaseURL)
				a := newTestAPIOn(t, dbtest.Open(t, throughProxy))
				_, rest := begun(t, a.handler, path+as+"?from=now-4d")
				proxy.SetDown(true)
				raw, err := io.ReadAll(rest)
				require.ErrorIs(t, err, io.ErrUnexpectedEOF)
				text := string(raw)
				if as == "jsonl" {
					rows := lines(t, text)
					require.Equal(t, "database_unavailable", rows[len(rows)-1]["error"])
					require.Contains(t, rows[len(rows)-1]["detail"], "broke off")
					require.Less(t, len(rows), 25_000)
				} else {
					reader := csv.NewReader(strings.NewReader(text)) // it still has as many cells in each row
					var last []string
					for {
						cells, err := reader.Read()
						if errors.Is(err, io.EOF) {
							break
						}
						require.NoError(t, err)
						last = cells
					}
					require.True(t, strings.HasPrefix(last[0], "error: database_unavailable: The export broke off"), last)
				}
				require.NotContains(t, text, "EOF", "no message of a library leaves")
				require.Contains(t, a.log.String(), "the database is away")

				answer := a.get(path + as + "?from=now-4d") // before it has begun it is a problem
				require.Equal(t, http.StatusServiceUnavailable, answer.status)
				require.Equal(t, "database_unavailable", answer.problem().Code)
			})
		}
	}
}
