package httpapi

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"golang.org/x/sync/semaphore"

	"riverwatch/db"
	"riverwatch/uptime"
)

const (
	targetsDoc = "Where the monitors stand and what their last scans came to, for Prometheus, by the names that blackbox_exporter " +
		"has. It is read from the database, so that each replica answers the same: scrape one. A monitor whose last two slots " +
		"have no conclusive scan has no probe_ metrics. At most 10,000 monitors are shown: riverwatch_targets_cut is 1 if there are more, " +
		"and ?tag= shows those with a tag. Answers are kept for 15 seconds."

	mostTargets     = 10_000
	targetsTimeout  = 9 * time.Second // Prometheus gives up after 10
	targetsKept     = 15 * time.Second
	mostTagsKept    = 32
	targetsLongSlot = time.Hour // monitors of longer intervals are asked for apart: in more of the log
)

// targets gives what is scraped of targets. It asks the database for one tag at a time; who comes meanwhile waits, and finds the answer.
type targets struct {
	conn db.DBTX
	now  func() time.Time
	turn *semaphore.Weighted // whoever has it may use kept
	kept map[string]keptTargets
}

type keptTargets struct {
	at   time.Time
	text []byte // compressed: there are up to 20 MB
}

func newTargets(conn db.DBTX, now func() time.Time) *targets {
	return &targets{conn: db.PlanEach(conn), now: now, turn: semaphore.NewWeighted(1), kept: map[string]keptTargets{}}
}

type targetsInput struct {
	Tag            string `query:"tag" maxLength:"50" doc:"Only those with this tag." example:"prod"`
	AcceptEncoding string `header:"Accept-Encoding" doc:"gzip is understood." example:"gzip"`
}

type targetsOutput struct {
	ContentType     string `header:"Content-Type"`
	ContentEncoding string `header:"Content-Encoding"`
	Vary            string `header:"Vary"`
	Body            []byte
}

// targetsAnswer describes what is no JSON.
func targetsAnswer() map[string]*huma.Response {
	return map[string]*huma.Response{strconv.Itoa(http.StatusOK): {
		Description: "Metrics, as Prometheus reads them.",
		Content:     map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}},
	}}
}

func (a *api) targetMetrics(ctx context.Context, in *targetsInput) (*targetsOutput, error) {
	text, err := a.targets.text(ctx, in.Tag)
	if err != nil {
		return nil, err
	}
	out := &targetsOutput{ContentType: string(textFormat()), Vary: "Accept-Encoding", Body: text}
	if strings.Contains(in.AcceptEncoding, "gzip") {
		out.ContentEncoding = "gzip"
		return out, nil
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(text))
	if err == nil {
		out.Body, err = io.ReadAll(unpacked)
	}
	if err != nil {
		return nil, fmt.Errorf("unpack what is kept: %w", err)
	}
	return out, nil
}

func textFormat() expfmt.Format { return expfmt.NewFormat(expfmt.TypeTextPlain) }

// text gives the metrics of the monitors with a tag, compressed. An empty tag: all.
func (t *targets) text(ctx context.Context, tag string) ([]byte, error) {
	if err := t.turn.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("wait for another scrape: %w", err)
	}
	defer t.turn.Release(1)
	now := t.now()
	for other, kept := range t.kept {
		if now.Sub(kept.at) >= targetsKept {
			delete(t.kept, other)
		}
	}
	if kept, ok := t.kept[tag]; ok {
		return kept.text, nil
	}
	registry := prometheus.NewRegistry()
	page, err := t.read(ctx, tag, now)
	if err != nil {
		return nil, err
	}
	registry.MustRegister(page)
	families, err := registry.Gather()
	if err != nil {
		return nil, fmt.Errorf("gather the targets' metrics: %w", err)
	}
	var text bytes.Buffer
	packed, _ := gzip.NewWriterLevel(&text, gzip.BestSpeed) // fails on an unknown level only
	encoder := expfmt.NewEncoder(packed, textFormat())
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			return nil, fmt.Errorf("write the targets' metrics: %w", err)
		}
	}
	if err := packed.Close(); err != nil {
		return nil, fmt.Errorf("compress the targets' metrics: %w", err)
	}
	if len(t.kept) < mostTagsKept {
		t.kept[tag] = keptTargets{at: now, text: text.Bytes()}
	}
	return text.Bytes(), nil
}

// targetsPage is what one answer shows.
type targetsPage struct {
	monitors []db.ListTargetsRow
	scans    map[int64]db.LastScansRow
	cut      bool
}

func (t *targets) read(ctx context.Context, tag string, now time.Time) (page targetsPage, err error) {
	params := db.ListTargetsParams{Tag: &tag, PageSize: mostTargets + 1}
	if tag == "" {
		params.Tag = nil
	}
	queries := db.New(t.conn)
	if page.monitors, err = queries.ListTargets(ctx, params); err != nil {
		return page, fmt.Errorf("list targets: %w", err)
	}
	if page.cut = len(page.monitors) > mostTargets; page.cut {
		page.monitors = page.monitors[:mostTargets]
	}
	// Each monitor's present slot and the one before it. until is behind the present, also by a clock that is a little ahead.
	var short, long db.LastScansParams
	for _, m := range page.monitors {
		schedule := uptime.Schedule{Interval: m.IntervalSeconds, PhaseMS: m.PhaseMS}
		of := &short
		if time.Duration(m.IntervalSeconds)*time.Second > targetsLongSlot {
			of = &long
		}
		slot := schedule.SlotAt(now)
		before := schedule.Previous(slot)
		of.MonitorIDs, of.Slots, of.SlotsBefore = append(of.MonitorIDs, m.ID), append(of.Slots, slot), append(of.SlotsBefore, before)
		if of.Since.IsZero() || before.Before(of.Since) {
			of.Since = before
		}
		of.Until = now.Add(time.Minute)
	}
	page.scans = make(map[int64]db.LastScansRow, len(page.monitors))
	for _, of := range []db.LastScansParams{short, long} {
		if len(of.MonitorIDs) == 0 {
			continue
		}
		scans, err := queries.LastScans(ctx, of)
		if err != nil {
			return page, fmt.Errorf("get the last scans: %w", err)
		}
		for _, scan := range scans {
			page.scans[scan.MonitorID] = scan
		}
	}
	return page, nil
}

// targetLabels are those that every metric of a target has. More would be as much text as all else: riverwatch_monitor_info has them.
func targetLabels(more ...string) []string {
	return append([]string{"monitor", "name", "url"}, more...)
}

var (
	targetInfoDesc = prometheus.NewDesc("riverwatch_monitor_info",
		"1, with what else a monitor is known by. Its tags are as they were given, with a comma around each: tags=~\".*,prod,.*\".",
		targetLabels("key", "tags", "method", "interval_seconds"), nil)
	targetStatusDesc = prometheus.NewDesc("riverwatch_monitor_status",
		"1, with the status in which a monitor is: pending, up, degraded, down, unknown or paused.", targetLabels("status"), nil)
	targetSinceDesc = prometheus.NewDesc("riverwatch_monitor_status_since_timestamp_seconds",
		"Since when a monitor has had its status.", targetLabels(), nil)
	targetScanDesc = prometheus.NewDesc("riverwatch_monitor_last_scan_timestamp_seconds",
		"The slot of the last conclusive scan, of which the probe_ metrics are.", targetLabels(), nil)
	probeSuccessDesc = prometheus.NewDesc("probe_success", "1 if the last scan was good, else 0.", targetLabels(), nil)
	probeTookDesc    = prometheus.NewDesc("probe_duration_seconds", "How long the last scan took.", targetLabels(), nil)
	probePhaseDesc   = prometheus.NewDesc("probe_http_duration_seconds",
		"How long the last scan took by phase: resolve, connect, tls, processing (until the first byte), transfer.",
		targetLabels("phase"), nil)
	probeStatusDesc = prometheus.NewDesc("probe_http_status_code", "The status of the last scan's answer.", targetLabels(), nil)
	probeCertDesc   = prometheus.NewDesc("probe_ssl_earliest_cert_expiry",
		"When the certificate expires that the target showed last, in Unix time.", targetLabels(), nil)
	targetsDesc    = prometheus.NewDesc("riverwatch_targets", "How many monitors this answer shows.", nil, nil)
	targetsCutDesc = prometheus.NewDesc("riverwatch_targets_cut",
		"1 if there are more than the 10000 monitors that an answer shows at most: scrape by tag then, /targets/metrics?tag=…", nil, nil)
)

// Describe implements prometheus.Collector.
func (p targetsPage) Describe(descs chan<- *prometheus.Desc) { descs <- targetsDesc }

// Collect implements prometheus.Collector.
func (p targetsPage) Collect(metrics chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	gauge(targetsDesc, float64(len(p.monitors)))
	gauge(targetsCutDesc, oneIf(p.cut))
	for i := range p.monitors {
		m := &p.monitors[i]
		of := func(desc *prometheus.Desc, value float64, more ...string) {
			gauge(desc, value, append([]string{strconv.FormatInt(m.ID, 10), m.Name, m.URL}, more...)...)
		}
		key, tags := "", ""
		if m.Key != nil {
			key = *m.Key
		}
		if len(m.Tags) > 0 {
			tags = "," + strings.Join(m.Tags, ",") + ","
		}
		of(targetInfoDesc, 1, key, tags, m.Method, strconv.Itoa(m.IntervalSeconds))
		of(targetStatusDesc, 1, string(m.Status))
		of(targetSinceDesc, unixSeconds(m.Since))
		scan, scanned := p.scans[m.ID]
		if m.NotAfter != nil && (overTLS(m.URL) || scan.TLSUS != nil) { // what another URL of the monitor showed once is past
			of(probeCertDesc, unixSeconds(*m.NotAfter))
		}
		if !scanned || !scan.Outcome.Conclusive() || m.Status == uptime.Paused {
			continue
		}
		of(targetScanDesc, unixSeconds(scan.Slot))
		of(probeSuccessDesc, oneIf(scan.Outcome.Good()))
		of(probeTookDesc, float64(scan.TotalUS)/1e6)
		for _, phase := range []struct {
			name string
			us   *int
		}{
			{"resolve", scan.DNSUS},
			{"connect", scan.ConnectUS},
			{"tls", scan.TLSUS},
			{"processing", scan.WaitUS},
			{"transfer", scan.TransferUS},
		} {
			if phase.us != nil {
				of(probePhaseDesc, float64(*phase.us)/1e6, phase.name)
			}
		}
		if scan.HTTPStatus != nil {
			of(probeStatusDesc, float64(*scan.HTTPStatus))
		}
	}
}

func overTLS(url string) bool {
	scheme, _, _ := strings.Cut(url, ":")
	switch scheme {
	case "https", "tls", "wss", "grpcs":
		return true
	}
	return false
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func unixSeconds(at time.Time) float64 { return float64(at.UnixMilli()) / 1000 }
