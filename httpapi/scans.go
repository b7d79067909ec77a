package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"riverwatch/db"
	"riverwatch/uptime"
	"riverwatch/wait"
)

const (
	listScansDoc = "The log of a monitor, newest first: one scan for each slot, and those that were asked for or looked again " +
		"after a failure. Follow next_cursor until it is null: where much of the log is gaps, a page may be short, or empty, and " +
		"not be the last. Without from and to: the last 24 hours."
	scanMonitorDoc = "Scans a monitor at once, besides its schedule. The answer is the scan (200) when it ends within the " +
		"monitor's timeout, else 202: it will be in the list of scans. Of one monitor at most 2 may be open that were asked for, and 60 a minute."

	maxRange     = 31 * 24 * time.Hour
	defaultRange = 24 * time.Hour
)

// scanBody is a scan as the API shows it. What was not measured is null.
type scanBody struct {
	Slot          time.Time      `json:"slot" doc:"When it was due." example:"2026-11-24T10:00:00Z"`
	Reason        string         `json:"reason" enum:"round,retry,asked" doc:"round: due at its slot. retry: a second look at one that had begun to fail, or to answer again. asked: somebody asked, or the monitor was new." example:"round"`
	Outcome       uptime.Outcome `json:"outcome" doc:"What it concluded, as a word that never changes: ok, status_mismatch, timeout_connect…" example:"ok"`
	Good          bool           `json:"good" doc:"Whether the target did all that is expected of it." example:"true"`
	HTTPStatus    *int           `json:"http_status" doc:"The status of the last answer." example:"200"`
	RegexpMatched *bool          `json:"regexp_matched" doc:"Whether the body matched; null: there was no regexp, or no body to match." example:"true"`
	Error         *string        `json:"error" doc:"What went wrong, in words." example:"connection refused"`
	BodyExcerpt   *string        `json:"body_excerpt" doc:"Of a bad answer: the first of its body, at most 1 KiB, cleaned." example:"Service Unavailable"`
	LateMS        int            `json:"late_ms" doc:"How long after its slot it started." example:"12"`
	TotalMS       float64        `json:"total_ms" doc:"How long it took in all." example:"83.4"`
	DNSMS         *float64       `json:"dns_ms" doc:"Looking up the name." example:"2.1"`
	ConnectMS     *float64       `json:"connect_ms" doc:"Connecting." example:"11.9"`
	TLSMS         *float64       `json:"tls_ms" doc:"The TLS handshake." example:"25.2"`
	WaitMS        *float64       `json:"wait_ms" doc:"From the request to the first byte of the answer." example:"40.3"`
	TransferMS    *float64       `json:"transfer_ms" doc:"Reading the body." example:"3.9"`
	BodyBytes     *int           `json:"body_bytes" doc:"How much of the body was read, unpacked." example:"5120"`
	RemoteIP      *string        `json:"remote_ip" doc:"Which address answered." example:"93.184.215.14"`
	Worker        string         `json:"worker" doc:"Which process scanned." example:"pod-7f9c-x1k2"`
	Version       int            `json:"monitor_version" doc:"Which version of the monitor was scanned." example:"1"`
}

func newScanBody(scan db.Scan) scanBody {
	var remoteIP *string
	if scan.RemoteIP != nil {
		text := scan.RemoteIP.String()
		remoteIP = &text
	}
	return scanBody{
		Slot: scan.Slot.UTC(), Reason: scan.Reason, Outcome: scan.Outcome, Good: scan.Outcome.Good(),
		HTTPStatus: scan.HTTPStatus, RegexpMatched: scan.RegexpMatched, Error: scan.Error,
		BodyExcerpt: scan.BodyExcerpt, LateMS: scan.LateMS,
		TotalMS: float64(scan.TotalUS) / 1000, DNSMS: milliseconds(scan.DNSUS), ConnectMS: milliseconds(scan.ConnectUS),
		TLSMS: milliseconds(scan.TLSUS), WaitMS: milliseconds(scan.WaitUS), TransferMS: milliseconds(scan.TransferUS),
		BodyBytes: scan.BodyBytes, RemoteIP: remoteIP, Worker: scan.Worker, Version: scan.MonitorVersion,
	}
}

func milliseconds(microseconds *int) *float64 {
	if microseconds == nil {
		return nil
	}
	ms := float64(*microseconds) / 1000
	return &ms
}

type listScansInput struct {
	ID     int64   `path:"id" minimum:"1" doc:"The monitor's number." example:"42"`
	From   instant `query:"from" doc:"From when on, by slot: RFC 3339, Unix seconds, or relative such as now-7d. Default: 24 hours before to." example:"now-24h"`
	To     instant `query:"to" doc:"Until before when, by slot; at most 31 days after from. Default, and at most: now." example:"now"`
	Limit  int     `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many a page." example:"50"`
	Cursor string  `query:"cursor" maxLength:"2000" doc:"The next_cursor of the page before, with the same from and to." example:""`
}

type listScansOutput struct{ Body page[scanBody] }

// scanCursor is the place of a scan in a list. It keeps the range's end, so that pages fit together when it was now.
type scanCursor struct {
	Before time.Time `json:"scans_before"`
	From   time.Time `json:"from"`
}

func (a *api) listScans(ctx context.Context, in *listScansInput) (*listScansOutput, error) {
	since, until, err := a.scanRange(ctx, in)
	if err != nil {
		return nil, err
	}
	if _, err := db.New(a.Pool).GetMonitor(ctx, in.ID); err != nil {
		return nil, fmt.Errorf("get monitor %d: %w", in.ID, err)
	}
	scans, from, err := db.NewestScans(ctx, a.Pool, in.ID, since, until, in.Limit+1)
	if err != nil {
		return nil, err
	}

	body := pageOf(scans, in.Limit, newScanBody, func(last db.Scan) any {
		return scanCursor{Before: last.Slot.UTC(), From: since}
	})
	if body.NextCursor == nil && from.After(since) { // a log that is mostly gaps: the page is short, and goes on before
		next := encodeCursor(scanCursor{Before: from.UTC(), From: since})
		body.NextCursor = &next
	}
	return &listScansOutput{Body: body}, nil
}

// scanRange gives the range of slots that a page is taken from, as far as the log of it is kept.
func (a *api) scanRange(ctx context.Context, in *listScansInput) (since, until time.Time, err error) {
	since, until, err = a.rangeOf(in.From, in.To)
	if err != nil {
		return since, until, err
	}
	var cursor scanCursor
	if decodeCursor(in.Cursor, &cursor) != nil || in.Cursor != "" && cursor.Before.IsZero() {
		return since, until, inputProblem([]InputError{badCursor})
	}
	if in.Cursor != "" {
		since, until = cursor.From, cursor.Before
	}
	if !storable(since) || !storable(until) {
		return since, until, inputProblem([]InputError{badCursor})
	}
	if until.Sub(since) > maxRange {
		return since, until, inputProblem([]InputError{{
			Location: "query.from", Code: "range_too_large", Message: "must be at most 31 days before to: an export has no such bound",
		}})
	}
	progress, err := db.New(a.Pool).GetHistoryProgress(ctx)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return since, until, fmt.Errorf("ask from when on the log is kept: %w", err)
	}
	if since.Before(progress.ScansFrom) {
		since = progress.ScansFrom
	}
	return since, until, nil
}

// storable reports whether Postgres and Go agree on an instant: they differ far from today.
func storable(t time.Time) bool { return t.Year() >= 2000 && t.Year() <= 2200 }

type scanMonitorOutput struct {
	Status   int
	Location string `header:"Location" doc:"With 202: where the scan will be listed." example:"/api/v1/monitors/42/scans"`
	Body     scanNowBody
}

type scanNowBody struct {
	Slot time.Time `json:"slot" doc:"By which instant the scan is known in the list of scans." example:"2026-11-24T10:00:00.000001Z"`
	Scan *scanBody `json:"scan" doc:"The scan; null with 202: it has not ended."`
}

// waitTick is how often a scan that was asked for is looked for.
const waitTick = 50 * time.Millisecond

func (a *api) scanMonitor(ctx context.Context, in *monitorInput) (*scanMonitorOutput, error) {
	if err := a.reach(ctx); err != nil {
		return nil, err
	}
	monitor, slot, err := a.monitors.Scan(ctx, in.ID)
	if err != nil {
		return nil, err
	}

	// A second more than the timeout: for a worker to find the job, and for the result to be written.
	patience := min(time.Duration(monitor.TimeoutMS)*time.Millisecond+time.Second, longRequestTimeout-requestTimeout)
	var scan *db.Scan
	for until := time.Now().Add(patience); scan == nil && time.Now().Before(until); {
		row, err := db.New(a.Pool).GetScan(ctx, db.GetScanParams{Slot: slot, MonitorID: in.ID})
		switch {
		case err == nil:
			scan = &row
		case !errors.Is(err, pgx.ErrNoRows):
			return nil, fmt.Errorf("get scan of monitor %d: %w", in.ID, err)
		case !wait.For(ctx, waitTick):
			return nil, fmt.Errorf("wait for the scan of monitor %d: %w", in.ID, ctx.Err())
		}
	}
	out := &scanMonitorOutput{Status: http.StatusAccepted, Location: monitorPath(in.ID) + "/scans"}
	out.Body.Slot = slot
	if scan != nil {
		body := newScanBody(*scan)
		out.Status, out.Location, out.Body.Scan = http.StatusOK, "", &body
	}
	return out, nil
}
