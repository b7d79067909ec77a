package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertest"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"riverwatch/db/dbtest"
	"riverwatch/httpapi"
	"riverwatch/queue"
	"riverwatch/uptime"
)

func TestCreateMonitor(t *testing.T) {
	t.Parallel()

	t.Run("HasTheDefaultsPeopleKnow", func(t *testing.T) {
		t.Parallel()
		a := newTestAPI(t)
		answer := a.post(monitorsPath, `{"url":"HTTP://Example.com:80/health"}`)
		require.Equal(t, http.StatusCreated, answer.status, answer.raw)
		got := answer.monitor()
		require.Equal(t, fmt.Sprintf("%s/%d", monitorsPath, got.ID), answer.header.Get("Location"))

		next := uptime.ScheduleOf(got.ID, 60).SlotAfter(time.Now())
		require.WithinDuration(t, next, *got.NextScanAt, time.Minute)
		require.Equal(t, monitor{
			ID: got.ID, Name: "example.com/health", Method: "GET", URL: "http://example.com/health", IntervalSeconds: 60,
			TimeoutMS: 10_000, AcceptedStatuses: []string{"200-299"}, MaxRedirects: 10, FailureThreshold: 3,
			SuccessThreshold: 2, RetryIntervalSeconds: 20, Tags: []string{}, Enabled: true, Status: "pending",
			NextScanAt: got.NextScanAt, Version: 1,
		}, got)
		require.Equal(t, got, a.get(answer.header.Get("Location")).monitor())
	})

	t.Run("KeepsWhatIsSaid", func(t *testing.T) {
		t.Parallel()
		a := newTestAPI(t)
		got := a.create(`{"url":"https://example.com/","name":"Shop","method":"POST","regexp":"o+k","regexp_invert":true,
			"interval_seconds":10,"timeout_ms":900,"accepted_statuses":["204","300-308"],"max_redirects":0,
			"failure_threshold":1,"success_threshold":5,"retry_interval_seconds":6,"tags":["b","a"],"enabled":false}`)
		pattern := "o+k"
		require.Equal(t, monitor{
			ID: got.ID, Name: "Shop", Method: "POST", URL: "https://example.com/", Regexp: &pattern, RegexpInvert: true,
			IntervalSeconds: 10, TimeoutMS: 900, AcceptedStatuses: []string{"204", "300-308"}, MaxRedirects: 0,
			FailureThreshold: 1, SuccessThreshold: 5, RetryIntervalSeconds: 6, Tags: []string{"b", "a"}, Enabled: false,
			Status: "paused", Version: 1,
		}, got)
	})

	t.Run("QueuesTheFirstScanAndTheFirstRounds", func(t *testing.T) {
		t.Parallel()
		a := newTestAPI(t)
		got := a.create(`{"url":"http://example.com/"}`)
		driver := riverpgxv5.New(a.pool)
		scan := rivertest.RequireInserted(t.Context(), t, driver, queue.ScanArgs{}, nil)
		require.Equal(t, got.ID, scan.Args.MonitorID)
		var round queue.RoundArgs
		require.NoError(t, json.Unmarshal(dbtest.One[[]byte](t, a.pool,
			"SELECT args FROM river_job WHERE kind = 'round' ORDER BY scheduled_at LIMIT 1"), &round))
		require.True(t, round.Slot.Equal(*got.NextScanAt))
	})

	t.Run("ShortIntervalsHaveShortTimeouts", func(t *testing.T) {
		t.Parallel()
		a := newTestAPI(t)
		require.Equal(t, 5000, a.create(`{"url":"http://example.com/","interval_seconds":10}`).TimeoutMS)
	})

	t.Run("ReportsAllThatIsWrongAtOnce", func(t *testing.T) {
		t.Parallel()
		a := newTestAPI(t)
		answer := a.post(monitorsPath, `{"interval_seconds":9,"name":"","method":"get","tags":["a","a"],"failure_threshold":0}`)
		require.Equal(t, http.StatusBadRequest, answer.status)
		require.Equal(t, map[string]string{
			"body.url": "field_required", "body.interval_seconds": "interval_range", "body.name": "string_too_short",
			"body.method": "value_unknown", "body.tags": "list_duplicate",
			"body.failure_threshold": "failure_threshold_range",
		}, answer.codes())

		answer = a.post(monitorsPath, `{"url":"ftp://example.com/","regexp":"(","accepted_statuses":["99"],"tags":["a\u0007"],
			"interval_seconds":10,"timeout_ms":10000,"name":"a\u0000b"}`)
		require.Equal(t, map[string]string{
			"body.url": "url_scheme", "body.regexp": "regexp_invalid", "body.accepted_statuses": "status_invalid",
			"body.tags[0]": "string_invalid", "body.timeout_ms": "timeout_range", "body.name": "string_invalid",
		}, answer.codes())

		answer = a.post(monitorsPath, `{"url":"http://example.com/","method":"HEAD","regexp":"x"}`)
		require.Equal(t, map[string]string{"body.regexp": "regexp_without_body"}, answer.codes())
		require.Zero(t, a.count(`SELECT count(*) FROM monitors`))
	})

	t.Run("SaysWhichSettingWouldAllowARefusedTarget", func(t *testing.T) {
		t.Parallel()
		a := newTestAPI(t)
		answer := a.post(monitorsPath, `{"url":"http://127.0.0.1:9999/"}`)
		require.Equal(t, map[string]string{"body.url": "target_not_allowed"}, answer.codes())
		require.Contains(t, answer.raw, "RIVERWATCH_ALLOW_CIDRS")
		a = newTestAPI(t, "127.0.0.0/8")
		a.create(`{"url":"http://127.0.0.1:9999/"}`)
	})
}

func TestCreateMonitorThatIsThere(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	first := a.create(`{"url":"http://example.com/","name":"first"}`)

	conflict := a.post(monitorsPath, `{"url":"http://EXAMPLE.com","name":"second"}`)
	require.Equal(t, http.StatusConflict, conflict.status)
	require.Equal(t, "monitor_exists", conflict.problem().Code)
	require.Equal(t, first.ID, conflict.problem().MonitorID)
	require.Equal(t, "first", a.get(fmt.Sprintf("%s/%d", monitorsPath, first.ID)).monitor().Name)

	updated := a.post(monitorsPath+"?if_exists=update", `{"url":"http://example.com/","name":"second"}`)
	require.Equal(t, http.StatusOK, updated.status, updated.raw)
	require.Equal(t, first.ID, updated.monitor().ID)
	require.Equal(t, "second", updated.monitor().Name)
	require.Equal(t, 2, updated.monitor().Version)

	other := a.create(`{"url":"http://example.com/","regexp":"another"}`)
	require.NotEqual(t, first.ID, other.ID)

	require.Equal(t, http.StatusNoContent, a.send(http.MethodDelete, fmt.Sprintf("%s/%d", monitorsPath, first.ID), "").status)
	revived := a.create(`{"url":"http://example.com/","name":"third"}`)
	require.Equal(t, first.ID, revived.ID, "it has its history back")
	require.Equal(t, "third", revived.Name)

	require.Equal(t, http.StatusBadRequest, a.post(monitorsPath+"?if_exists=replace", `{"url":"http://example.com/"}`).status)
}

func TestFiftyClientsCreateTheSameMonitor(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	server := httptest.NewServer(a.handler)
	t.Cleanup(server.Close)

	const clients = 50
	statuses := make(chan int, clients)
	start := make(chan struct{})
	var open sync.WaitGroup
	for range clients {
		open.Go(func() {
			<-start
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+monitorsPath,
				strings.NewReader(`{"url":"http://example.com/raced"}`))
			if err != nil {
				return
			}
			request.Header.Set("Content-Type", "application/json")
			response, err := server.Client().Do(request)
			if err != nil {
				return
			}
			_ = response.Body.Close()
			statuses <- response.StatusCode
		})
	}
	close(start)
	open.Wait()
	close(statuses)

	counts := map[int]int{}
	for status := range statuses {
		counts[status]++
	}
	require.Equal(t, 1, counts[http.StatusCreated], counts)
	// A busy machine may turn some away, who may come again.
	require.Equal(t, clients-1, counts[http.StatusConflict]+counts[http.StatusServiceUnavailable], counts)
	require.Equal(t, 1, a.count(`SELECT count(*) FROM monitors`))
	require.Equal(t, 1, a.count(`SELECT count(*) FROM monitor_states`))
	require.Equal(t, 1, a.count(`SELECT count(*) FROM monitor_schedules`))
}

func TestEditMonitor(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	created := a.create(`{"url":"http://example.com/","name":"Shop","regexp":"x","tags":["a"],"interval_seconds":30,"timeout_ms":1000}`)
	path := fmt.Sprintf("%s/%d", monitorsPath, created.ID)

	answer := a.patch(path, `{"regexp":null,"name":null,"interval_seconds":300}`)
	require.Equal(t, http.StatusOK, answer.status, answer.raw)
	want := created
	want.Regexp, want.Name, want.IntervalSeconds, want.Version = nil, "example.com", 300, 2
	got := answer.monitor()
	want.NextScanAt = got.NextScanAt
	require.Equal(t, want, got)

	same := a.patch(path, `{}`)
	require.Equal(t, 2, same.monitor().Version, "nothing changed")

	require.Equal(t, map[string]string{"body.url": "field_required"}, a.patch(path, `{"url":null}`).codes())
	require.Equal(t, map[string]string{"body.timeout_ms": "timeout_range"}, a.patch(path, `{"interval_seconds":10,"timeout_ms":30000}`).codes())
	require.Equal(t, map[string]string{"body.id": "json_unknown_field"}, a.patch(path, `{"id":7}`).codes())
	require.Equal(t, map[string]string{"body": "json_type"}, a.patch(path, `null`).codes())
	require.Equal(t, want, a.get(path).monitor(), "what was refused changed nothing")

	other := a.create(`{"url":"http://example.com/other"}`)
	conflict := a.patch(path, `{"url":"http://example.com/other"}`)
	require.Equal(t, http.StatusConflict, conflict.status)
	require.Equal(t, other.ID, conflict.problem().MonitorID)
	a.send(http.MethodDelete, fmt.Sprintf("%s/%d", monitorsPath, other.ID), "")
	conflict = a.patch(path, `{"url":"http://example.com/other"}`)
	require.Equal(t, http.StatusConflict, conflict.status)
	require.Contains(t, conflict.problem().Detail, "deleted")
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	path := fmt.Sprintf("%s/%d", monitorsPath, a.create(`{"url":"http://example.com/"}`).ID)

	paused := a.post(path+"/pause", "")
	require.Equal(t, http.StatusOK, paused.status, paused.raw)
	require.Equal(t, "paused", paused.monitor().Status)
	require.False(t, paused.monitor().Enabled)
	require.Nil(t, paused.monitor().NextScanAt)
	require.Equal(t, paused.raw, a.post(path+"/pause", "").raw, "pausing again changes nothing")

	resumed := a.post(path+"/resume", "")
	require.Equal(t, http.StatusOK, resumed.status, resumed.raw)
	require.Equal(t, "pending", resumed.monitor().Status)
	require.True(t, resumed.monitor().Enabled)
	require.NotNil(t, resumed.monitor().NextScanAt)
}

func TestUnknownMonitor(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	gone := a.create(`{"url":"http://example.com/"}`)
	a.send(http.MethodDelete, fmt.Sprintf("%s/%d", monitorsPath, gone.ID), "")

	for _, id := range []string{"999999", "9223372036854775807", fmt.Sprint(gone.ID)} {
		path := monitorsPath + "/" + id
		for _, answer := range []answer{
			a.get(path), a.patch(path, `{"name":"x"}`), a.send(http.MethodDelete, path, ""), a.post(path+"/pause", ""),
			a.post(path+"/resume", ""), a.post(path+"/scan", ""), a.get(path + "/scans"), a.get(path + "/certificates"),
		} {
			require.Equal(t, http.StatusNotFound, answer.status, answer.raw)
			require.Equal(t, "not_found", answer.problem().Code)
		}
	}
	for _, id := range []string{"0", "-1", "abc", "9223372036854775808", "1' or '1'='1", "..%2f..%2fetc%2fpasswd", strings.Repeat("1", 10_000)} {
		answer := a.get(monitorsPath + "/" + url.PathEscape(id))
		require.Contains(t, []int{http.StatusBadRequest, http.StatusNotFound}, answer.status, id)
		require.Less(t, len(answer.raw), 1000)
	}
	require.Empty(t, a.log.String())
}

// list is a page of monitors.
type list struct {
	Data       []monitor `json:"data"`
	NextCursor *string   `json:"next_cursor"`
}

func TestKeys(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	first := a.create(`{"url":"https://Shop.example:8443/checkout","key":"shop/checkout"}`)
	plain := a.create(`{"url":"https://shop.example:8443/checkout"}`)
	a.create(`{"url":"https://other.example/","key":"other"}`)

	conflict := a.post(monitorsPath, `{"url":"https://elsewhere.example/","key":"shop/checkout"}`)
	require.Equal(t, http.StatusConflict, conflict.status, conflict.raw)
	require.Equal(t, first.ID, conflict.problem().MonitorID)
	require.Contains(t, conflict.problem().Detail, "with this key")
	conflict = a.post(monitorsPath, `{"url":"https://shop.example:8443/checkout"}`)
	require.Equal(t, plain.ID, conflict.problem().MonitorID)
	require.Contains(t, conflict.problem().Detail, "with this method, url and regexp")
	require.Equal(t, first.ID, a.post(upsert, `{"url":"https://elsewhere.example/","key":"shop/checkout"}`).monitor().ID)

	for query, want := range map[string][]int64{
		"key=shop/checkout": {first.ID}, "key=shop": {}, "host=shop.example": {plain.ID}, "host=SHOP.example&sort=name": {plain.ID},
		"host=elsewhere.example&key=shop/checkout": {first.ID}, "host=elsewhere.example&key=other": {}, "q=op/CHECK": {first.ID},
	} {
		var page struct{ Data []monitor }
		a.get(monitorsPath + "?" + query).into(&page)
		ids := []int64{}
		for _, m := range page.Data {
			ids = append(ids, m.ID)
		}
		require.Equal(t, want, ids, query)
	}

	for body, code := range map[string]string{
		`{"url":"https://a.example/","key":""}`: "string_too_short", `{"url":"https://a.example/","key":"a\u0007"}`: "string_invalid",
		`{"url":"https://a.example/","key":"` + strings.Repeat("k", 201) + `"}`: "string_too_long",
	} {
		require.Equal(t, code, a.post(monitorsPath, body).codes()["body.key"], body)
	}
	require.Equal(t, "string_invalid", a.post(monitorsPath, `{"url":"https://a.example/","description":"a\nb"}`).codes()["body.description"])
}

// What people will read is refused where it would not be read as it stands, and nothing empty is stored as something else.
func TestTextsThatAreRefused(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	refused := func(field string, value any) map[string]string {
		answer := a.post(monitorsPath, encoded(t, map[string]any{"url": "https://example.com/", field: value}))
		require.Equal(t, http.StatusBadRequest, answer.status, answer.raw)
		return answer.codes()
	}
	for _, text := range []string{"a\x00b", "a\nb", "a\u001bb", "pay\u202efdp.exe", "\u2066a", "a\u200fb", "a\u2028b"} {
		for _, field := range []string{"key", "name", "description"} {
			require.Equal(t, map[string]string{"body." + field: "string_invalid"}, refused(field, text), "%q", text)
		}
		require.Equal(t, map[string]string{"body.tags[1]": "string_invalid"}, refused("tags", []string{"fine", text}), "%q", text)
	}
	require.Equal(t, map[string]string{"body.regexp": "regexp_empty"}, refused("regexp", ""))
	require.Equal(t, map[string]string{"body.regexps[1]": "regexp_empty"}, refused("regexps", []string{"a", ""}))
	require.Equal(t, map[string]string{"body.header_regexps.Server": "regexp_empty"}, refused("header_regexps", map[string]any{"Server": ""}))
	require.Equal(t, map[string]string{"body.headers.X-Word": "header_value"}, refused("headers", map[string]any{"X-Word": "ü"}))
	require.Zero(t, a.count("SELECT count(*) FROM monitors"))
	fine := a.create(`{"url":"https://example.com/","name":"Überwachung 東京 🙂","key":"größe/1","description":"e\u0301"}`)
	require.Equal(t, "Überwachung 東京 🙂", fine.Name)
}

func TestListMonitors(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	// Names in another order than ids, some of them equal.
	for i, name := range []string{"delta", "alpha", "charlie", "alpha", "bravo", "50%_off", "echo"} {
		a.create(fmt.Sprintf(`{"url":"http://example.com/%d","name":%q,"tags":["all","tag%d"]}`, i, name, i%2))
	}
	ask := func(query string) list {
		t.Helper()
		answer := a.get(monitorsPath + "?" + query)
		require.Equal(t, http.StatusOK, answer.status, answer.raw)
		var page list
		answer.into(&page)
		return page
	}
	// walk follows the cursors and gives all names.
	walk := func(query string) (names []string) {
		t.Helper()
		cursor := ""
		for {
			page := ask(query + cursor)
			for _, m := range page.Data {
				names = append(names, m.Name)
			}
			if page.NextCursor == nil {
				return names
			}
			require.Len(t, page.Data, 2, "a page before the last is full")
			cursor = "&cursor=" + *page.NextCursor
		}
	}

	require.Equal(t, []string{"delta", "alpha", "charlie", "alpha", "bravo", "50%_off", "echo"}, walk("limit=2"))
	require.Equal(t, []string{"50%_off", "alpha", "alpha", "bravo", "charlie", "delta", "echo"}, walk("limit=2&sort=name"))
	require.Equal(t, []string{"alpha", "alpha", "50%_off"}, walk("limit=2&tag=tag1"))
	require.Equal(t, []string{"alpha", "alpha"}, walk("q=ALPH"))
	require.Equal(t, []string{"charlie"}, walk("q=example.com/2"))
	for _, text := range []string{"%_", "%", "_"} {
		require.Equal(t, []string{"50%_off"}, walk("q="+url.QueryEscape(text)), "text is text, not a pattern")
	}
	require.Len(t, walk("limit=2&status=pending"), 7)
	require.Empty(t, ask("status=down").Data)
	require.Len(t, ask("").Data, 7)
	require.Nil(t, ask("limit=7").NextCursor, "a last page that is full is the last")

	byID := ask("limit=2").NextCursor
	for _, query := range []string{
		"limit=0", "limit=-1", "limit=201", "limit=1000000000", "limit=abc", "sort=secret",
		"sort=name%3Bdrop+table+monitors", "status=gone", "cursor=garbage", "cursor=e30", "bogus=1",
		"sort=name&cursor=" + *byID,
	} {
		answer := a.get(monitorsPath + "?" + query)
		require.Equal(t, http.StatusBadRequest, answer.status, "%s: %s", query, answer.raw)
		require.NotEmpty(t, answer.codes())
	}
}

// A bulk body becomes many times as large when it is decoded: whoever sends many at once must wait.
func TestBulksWaitForEachOther(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	tx, err := a.pool.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	dbtest.Exec(t, tx, "LOCK TABLE monitors")
	bulk := func(ctx context.Context, name string) *httptest.ResponseRecorder {
		recorder := httptest.NewRecorder()
		request := httptest.NewRequestWithContext(ctx, http.MethodPost, monitorsPath+"/bulk",
			strings.NewReader(`{"monitors":[{"url":"https://example.com/`+name+`"}]}`))
		request.Header.Set("Content-Type", "application/json")
		a.handler.ServeHTTP(recorder, request)
		return recorder
	}
	var two errgroup.Group
	for _, name := range []string{"one", "two"} {
		two.Go(func() error {
			if answer := bulk(context.Background(), name); answer.Code != http.StatusOK {
				return errors.New(answer.Body.String())
			}
			return nil
		})
	}
	require.Eventually(t, func() bool {
		return dbtest.Count(t, a.pool, "pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())") == 2
	}, 10*time.Second, time.Millisecond)

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	third := bulk(ctx, "three")
	require.Equal(t, http.StatusServiceUnavailable, third.Code)
	require.Contains(t, third.Body.String(), "too_many_bulks")

	require.NoError(t, tx.Commit(t.Context()))
	require.NoError(t, two.Wait())
}

func TestBulk(t *testing.T) {
	t.Parallel()

	type result struct {
		Created, Updated, Exists, Invalid int
		Data                              []struct {
			Outcome string
			ID      int64
			Errors  []struct{ Location, Code string }
		}
	}

	t.Run("EachHasItsOwnOutcome", func(t *testing.T) {
		t.Parallel()
		a := newTestAPI(t)
		there := a.create(`{"url":"http://example.com/there","name":"there"}`)
		body := `{"monitors":[
			{"url":"http://example.com/new"},
			{"url":"http://example.com/there","name":"renamed"},
			{"url":"nonsense","interval_seconds":60},
			{"url":"http://example.com/x","bogus":1},
			{"url":"http://example.com/NEW"},
			{"url":"http://example.com/new","name":"again"},
			null]}`

		answer := a.post(monitorsPath+"/bulk", body)
		require.Equal(t, http.StatusOK, answer.status, answer.raw)
		var got result
		answer.into(&got)
		var outcomes []string
		for _, r := range got.Data {
			outcomes = append(outcomes, r.Outcome)
		}
		require.Equal(t, []string{"created", "exists", "invalid", "invalid", "created", "exists", "invalid"}, outcomes)
		require.Equal(t, there.ID, got.Data[1].ID)
		require.Equal(t, got.Data[0].ID, got.Data[5].ID)
		require.Equal(t, "body.monitors[3].bogus", got.Data[3].Errors[0].Location)
		require.Equal(t, "json_unknown_field", got.Data[3].Errors[0].Code)
		require.Equal(t, []int{2, 0, 2, 3}, []int{got.Created, got.Updated, got.Exists, got.Invalid})
		require.Equal(t, 3, a.count(`SELECT count(*) FROM monitors`))

		a.post(monitorsPath+"/bulk?if_exists=update", body).into(&got)
		require.Equal(t, []int{0, 4, 0, 3}, []int{got.Created, got.Updated, got.Exists, got.Invalid})
		require.Equal(t, "renamed", a.get(fmt.Sprintf("%s/%d", monitorsPath, there.ID)).monitor().Name)
	})

	t.Run("TakesAThousandAndNoMore", func(t *testing.T) {
		t.Parallel()
		a := newTestAPI(t)
		body := func(n int) string {
			var b bytes.Buffer
			for i := range n {
				fmt.Fprintf(&b, `,{"url":"http://example.com/%d"}`, i)
			}
			return `{"monitors":[` + strings.TrimPrefix(b.String(), ",") + `]}`
		}
		var got result
		answer := a.post(monitorsPath+"/bulk", body(1000))
		require.Equal(t, http.StatusOK, answer.status, answer.raw)
		answer.into(&got)
		require.Equal(t, 1000, got.Created)
		require.Equal(t, 1000, a.count(`SELECT count(*) FROM monitor_schedules`))
		require.Equal(t, uptime.RoundsAhead*a.count(`SELECT count(DISTINCT phase_ms) FROM monitors`),
			a.count(`SELECT count(*) FROM river_job WHERE kind = 'round'`), "the next rounds of each phase, once")

		for _, n := range []int{0, 1001} {
			require.Equal(t, map[string]string{"body.monitors": "list_length"}, a.post(monitorsPath+"/bulk", body(n)).codes())
		}
		require.Equal(t, map[string]string{"body": "json_invalid"}, a.post(monitorsPath+"/bulk", `{"monitors":[`).codes())
	})

	t.Run("NothingValidIsNothingCreated", func(t *testing.T) {
		t.Parallel()
		a := newTestAPI(t)
		var got result
		a.post(monitorsPath+"/bulk", `{"monitors":[{}]}`).into(&got)
		require.Equal(t, 1, got.Invalid)
	})
}

func TestGetAfterManyChanges(t *testing.T) {
	t.Parallel()
	a := newTestAPIOn(t, dbtest.New(t))
	path := fmt.Sprintf("%s/%d", monitorsPath, a.create(`{"url":"http://example.com/"}`).ID)
	var open sync.WaitGroup
	for i := range 8 {
		open.Go(func() { a.patch(path, fmt.Sprintf(`{"name":"n%d"}`, i)) })
	}
	open.Wait()
	got := a.get(path).monitor()
	require.Equal(t, 9, got.Version, "no change is lost")
	require.True(t, slices.Contains(strings.Split("n0 n1 n2 n3 n4 n5 n6 n7", " "), got.Name))
}

// A change is made when the database's clock says: by that of an API that is ten minutes ahead, nobody would scan the monitor
// for ten minutes, nor judge it.
func TestAnAPIWhoseClockIsAhead(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	a.handler = httpapi.New(httpapi.Config{
		Pool: a.pool, Queue: a.queue, Policy: policy(), Version: "test",
		Now:    func() time.Time { return time.Now().Add(10 * time.Minute) },
		Logger: slog.New(slog.DiscardHandler),
	})
	none := func(what string) {
		t.Helper()
		require.Zero(t, a.count(`SELECT count(*) FROM (
			SELECT from_at AS at FROM monitor_schedules UNION ALL SELECT until_at FROM monitor_schedules
			UNION ALL SELECT judged_slot FROM monitor_states UNION ALL SELECT since FROM monitor_states
			UNION ALL SELECT scheduled_at FROM river_job WHERE kind = 'scan'
			UNION ALL SELECT unnest(ARRAY[created_at, updated_at, paused_at, deleted_at]) FROM monitors
		) AS instants WHERE at > clock_timestamp() + INTERVAL '2 minutes'`), what)
	}
	monitor := a.create(`{"url":"http://example.com/"}`)
	none("created")
	path := fmt.Sprintf("%s/%d", monitorsPath, monitor.ID)
	require.Equal(t, http.StatusOK, a.patch(path, `{"accepted_statuses":["404"],"interval_seconds":30}`).status)
	none("changed")
	require.Equal(t, http.StatusOK, a.post(path+"/pause", "").status)
	require.NotNil(t, dbtest.One[*time.Time](t, a.pool, "SELECT paused_at FROM monitors"))
	none("paused")
	require.Equal(t, http.StatusOK, a.post(path+"/resume", "").status)
	none("resumed")
	require.Equal(t, http.StatusNoContent, a.send(http.MethodDelete, path, "").status)
	none("deleted")
	require.Equal(t, http.StatusCreated, a.post(monitorsPath, `{"url":"http://example.com/","enabled":false}`).status)
	none("revived")
}

// A name that nobody chose says where the monitor looks, also when that changes.
func TestTheDefaultNameFollowsTheURL(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	path := fmt.Sprintf("%s/%d", monitorsPath, a.create(`{"url":"http://example.com/a"}`).ID)
	for _, step := range []struct{ patch, name string }{
		{`{"url":"http://Example.com/b/"}`, "example.com/b"},
		{`{"interval_seconds":30}`, "example.com/b"},
		{`{"url":"http://example.com/c","name":"shop"}`, "shop"},
		{`{"url":"http://example.com/d"}`, "shop"},
		{`{"name":null}`, "example.com/d"},
		{`{"url":"http://example.com/e"}`, "example.com/e"},
	} {
		require.Equal(t, step.name, a.patch(path, step.patch).monitor().Name, step.patch)
	}
}
