package httpapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/go-json-experiment/json"

	"riverwatch/db"
	"riverwatch/history"
	"riverwatch/sheet"
)

const (
	exportMonitorDoc = "The log of a monitor, oldest first, as a stream. "
	exportAllDoc     = "The log of all monitors, or of those with a tag, oldest first, as a stream: each scan with its monitor's name, " +
		"key, url and tags, as these are when it is read. Deleted monitors are not in it. "
	exportDoc = "The range may be as long as you like; what is no longer kept is not there (GET /api/v1/storage says from when on it is). " +
		"Without from and to: the last 24 hours. An export that breaks off half way is never taken for a whole one: its last line says " +
		"so, and the connection is cut before the body's end, so that clients report an incomplete answer. "

	// So long a client may take for a piece of a stream, and the database for a page.
	pieceTimeout, pageTimeout = 30 * time.Second, 20 * time.Second
	pieceBytes                = 32 << 10
)

// format is how rows are written.
type format struct {
	name, contentType, doc string

	schema bool // a line is JSON, of which the document has the schema
	begin  func(exportRow) []byte
	append func([]byte, exportRow) ([]byte, error)
	// broken gives the last line of what breaks off.
	broken func(row exportRow, code, detail string) []byte
}

// exportRow is what a line is made of.
type exportRow interface {
	columns() []any
	cells() []any
}

func formats() []format {
	return []format{
		{
			name: "csv", contentType: "text/csv",
			doc: "CSV (RFC 4180, UTF-8, CRLF) with a line of names; a cell without a value is empty, tags are a JSON array. A text that " +
				"begins with = + - @ tab or CR begins with an apostrophe besides, lest a spreadsheet run it. The last line of what breaks " +
				"off has \"error: \" in its first cell, with a code and what went wrong, and else empty cells.",
			begin:  func(row exportRow) []byte { return sheet.AppendRow(nil, row.columns()...) },
			append: func(b []byte, row exportRow) ([]byte, error) { return sheet.AppendRow(b, row.cells()...), nil },
			broken: func(row exportRow, code, detail string) []byte {
				cells := make([]any, len(row.columns()))
				cells[0] = fmt.Sprintf("error: %s: %s", code, detail)
				return sheet.AppendRow(nil, cells...)
			},
		},
		{
			name: "jsonl", contentType: "application/jsonl", schema: true,
			doc:    "A JSON object in each line. The last line of what breaks off is {\"error\": a code, \"detail\": what went wrong}.",
			begin:  func(exportRow) []byte { return nil },
			append: func(b []byte, row exportRow) ([]byte, error) { return appendLine(b, row) },
			broken: func(_ exportRow, code, detail string) []byte {
				line, _ := appendLine(nil, brokenLine{code, detail}) // texts of ours
				return line
			},
		},
	}
}

// brokenLine is the last line of what breaks off.
type brokenLine struct {
	Error  string `json:"error"`
	Detail string `json:"detail"`
}

func appendLine(b []byte, row any) ([]byte, error) {
	line, err := json.Marshal(row)
	if err != nil {
		return b, fmt.Errorf("encode a line: %w", err)
	}
	return append(append(b, line...), '\n'), nil
}

// exportedScan is a scan in the export of a monitor.
type exportedScan struct {
	MonitorID int64 `json:"monitor_id" doc:"The monitor's number." example:"42"`

	scanBody
}

func newExportedScan(row db.ExportScansRow) exportRow {
	return exportedScan{MonitorID: row.Scan.MonitorID, scanBody: newScanBody(row.Scan)}
}

func (exportedScan) columns() []any { return append([]any{"monitor_id"}, scanColumns()...) }

func (e exportedScan) cells() []any { return append([]any{e.MonitorID}, e.scanBody.cells()...) }

// exportedMonitorScan is a scan in an export of many monitors.
type exportedMonitorScan struct {
	MonitorID   int64    `json:"monitor_id" doc:"The monitor's number." example:"42"`
	MonitorName string   `json:"monitor_name" doc:"Its name, as it is now; so are the others." example:"Shop"`
	MonitorKey  *string  `json:"monitor_key" doc:"Its key." example:"shop/checkout"`
	MonitorURL  string   `json:"monitor_url" doc:"Its url." example:"https://example.com"`
	MonitorTags []string `json:"monitor_tags" doc:"Its tags." example:"[\"prod\"]"`

	scanBody
}

func newExportedMonitorScan(row db.ExportScansRow) exportRow {
	return exportedMonitorScan{
		MonitorID: row.Scan.MonitorID, MonitorName: row.Name, MonitorKey: row.Key, MonitorURL: row.URL, MonitorTags: row.Tags,
		scanBody: newScanBody(row.Scan),
	}
}

func (exportedMonitorScan) columns() []any {
	return append([]any{"monitor_id", "monitor_name", "monitor_key", "monitor_url", "monitor_tags"}, scanColumns()...)
}

func (e exportedMonitorScan) cells() []any {
	tags, _ := json.Marshal(e.MonitorTags) // texts
	return append([]any{e.MonitorID, e.MonitorName, e.MonitorKey, e.MonitorURL, string(tags)}, e.scanBody.cells()...)
}

// scanColumns are the names of what cells gives, which are those that a scan has in JSON.
func scanColumns() []any {
	return []any{
		"slot", "reason", "outcome", "good", "http_status", "regexp_matched", "error", "body_excerpt", "late_ms", "total_ms", "dns_ms",
		"connect_ms", "tls_ms", "wait_ms", "transfer_ms", "body_bytes", "remote_ip", "worker", "monitor_version",
	}
}

func (s scanBody) cells() []any {
	return []any{
		s.Slot, s.Reason, string(s.Outcome), s.Good, s.HTTPStatus, s.RegexpMatched, s.Error, s.BodyExcerpt, s.LateMS, s.TotalMS, s.DNSMS,
		s.ConnectMS, s.TLSMS, s.WaitMS, s.TransferMS, s.BodyBytes, s.RemoteIP, s.Worker, s.Version,
	}
}

type exportMonitorInput struct {
	ID   int64   `path:"id" minimum:"1" doc:"The monitor's number." example:"42"`
	From instant `query:"from" doc:"From when on, by slot: RFC 3339, Unix seconds, or relative such as now-30d. Default: 24 hours before to." example:"now-30d"`
	To   instant `query:"to" doc:"Until before when. Default, and at most: now." example:"now"`
}

type exportAllInput struct {
	Tag  string  `query:"tag" maxLength:"50" doc:"Only monitors with this tag. Who has it is asked for each page anew." example:"prod"`
	From instant `query:"from" doc:"From when on, by slot: RFC 3339, Unix seconds, or relative such as now-30d. Default: 24 hours before to." example:"now-30d"`
	To   instant `query:"to" doc:"Until before when. Default, and at most: now." example:"now"`
}

func (a *api) exportMonitor(as format) func(context.Context, *exportMonitorInput) (*huma.StreamResponse, error) {
	return func(ctx context.Context, in *exportMonitorInput) (*huma.StreamResponse, error) {
		from, to, err := a.rangeOf(in.From, in.To)
		if err != nil {
			return nil, err
		}
		if _, err := db.New(a.Pool).GetMonitor(ctx, in.ID); err != nil {
			return nil, fmt.Errorf("get monitor %d: %w", in.ID, err)
		}
		log, err := history.ExportOf(ctx, a.Pool, in.ID, from, to)
		if err != nil {
			return nil, err
		}
		return a.export(ctx, as, log, exportedScan{}, newExportedScan, fmt.Sprintf("scans-%d.%s", in.ID, as.name))
	}
}

func (a *api) exportAll(as format) func(context.Context, *exportAllInput) (*huma.StreamResponse, error) {
	return func(ctx context.Context, in *exportAllInput) (*huma.StreamResponse, error) {
		from, to, err := a.rangeOf(in.From, in.To)
		if err != nil {
			return nil, err
		}
		log, err := history.ExportAll(ctx, a.Pool, in.Tag, from, to, a.Now())
		if err != nil {
			return nil, err
		}
		return a.export(ctx, as, log, exportedMonitorScan{}, newExportedMonitorScan, "scans."+as.name)
	}
}

// export answers an export. Its first page is read before the answer begins, so that what cannot work at all is a problem.
func (a *api) export(
	ctx context.Context, as format, log *history.Export, none exportRow, row func(db.ExportScansRow) exportRow, name string,
) (*huma.StreamResponse, error) {
	page, more, err := a.nextPage(ctx, log)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		c.SetHeader("Content-Type", as.contentType+"; charset=utf-8")
		c.SetHeader("Content-Disposition", `attachment; filename="`+name+`"`)
		c.SetStatus(http.StatusOK)
		if c.Context().Value(isHead{}) != nil {
			return
		}
		out := newPieces(humagin.Unwrap(c).Writer)
		_, err := out.Write(as.begin(none))
		for err == nil {
			if err = out.page(page, as, row); err != nil || !more {
				break
			}
			page, more, err = a.nextPage(c.Context(), log)
		}
		if err == nil {
			return
		}
		if !out.failed {
			problem := a.problem(c.Context(), route{Operation: *c.Operation()}, err)
			_, _ = out.Write(as.broken(none, problem.Code, "The export broke off here. "+problem.Detail))
			_ = out.Flush()
		}
		panic(http.ErrAbortHandler) // cuts the connection: if the body ended as it should, what came would be taken for all
	}}, nil
}

// nextPage reads a page, when it is its turn.
func (a *api) nextPage(ctx context.Context, log *history.Export) (rows []db.ExportScansRow, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	if err := a.pages.Acquire(ctx, 1); err != nil {
		return nil, false, err
	}
	defer a.pages.Release(1)
	rows, more, err = log.Next(ctx)
	if errors.Is(err, history.ErrDropped) {
		return nil, false, problemOf(http.StatusServiceUnavailable, "log_dropped",
			"The oldest of the range was dropped meanwhile, as it is kept no longer.")
	}
	return rows, more, err
}

// pieces writes a stream in pieces, for each of which the client may take its time, whatever the server grants an answer in all.
type pieces struct {
	*bufio.Writer

	to     http.ResponseWriter
	failed bool // the client is gone
}

func newPieces(to http.ResponseWriter) *pieces {
	p := &pieces{to: to}
	p.Writer = bufio.NewWriterSize(pieceWriter{p}, pieceBytes)
	return p
}

// page writes a page, and sends it.
func (p *pieces) page(page []db.ExportScansRow, as format, row func(db.ExportScansRow) exportRow) error {
	var line []byte
	for _, scan := range page {
		var err error
		if line, err = as.append(line[:0], row(scan)); err != nil {
			return err
		}
		if _, err = p.Write(line); err != nil {
			return err //nolint:wrapcheck // of pieceWriter
		}
	}
	return p.Flush()
}

// Flush sends what there is, and the headers before anything.
func (p *pieces) Flush() error {
	if err := p.Writer.Flush(); err != nil {
		return err //nolint:wrapcheck // of pieceWriter
	}
	if err := p.renew(); err != nil {
		return err
	}
	if err := http.NewResponseController(p.to).Flush(); err != nil {
		p.failed = true
		return fmt.Errorf("send to the client: %w", err)
	}
	return nil
}

// renew gives the client its time anew.
func (p *pieces) renew() error {
	err := http.NewResponseController(p.to).SetWriteDeadline(time.Now().Add(pieceTimeout))
	if err != nil && !errors.Is(err, http.ErrNotSupported) { // which a test's recorder does not
		p.failed = true
		return fmt.Errorf("set the client's time: %w", err)
	}
	return nil
}

type pieceWriter struct{ p *pieces }

// Write implements io.Writer.
func (w pieceWriter) Write(piece []byte) (int, error) {
	if err := w.p.renew(); err != nil {
		return 0, err
	}
	n, err := w.p.to.Write(piece)
	if err != nil {
		w.p.failed = true
		return n, fmt.Errorf("write to the client: %w", err)
	}
	return n, nil
}
