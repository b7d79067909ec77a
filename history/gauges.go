package history

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	gaugesTimeout = 2 * time.Second // a scrape is not kept waiting by a database that is away
	gaugesKept    = time.Minute     // many processes are scraped, and all would look at the files of all chunks
)

// gauges tell what is kept, asked of the database at a scrape.
type gauges struct {
	pool   *pgxpool.Pool
	now    func() time.Time
	logger *slog.Logger

	mu     sync.Mutex
	asked  time.Time
	stored *Storage // nil: the database did not answer
}

var (
	bytesDesc  = prometheus.NewDesc("riverwatch_storage_bytes", "What is kept on disk, with indexes.", []string{"table"}, nil)
	fromDesc   = prometheus.NewDesc("riverwatch_storage_oldest_timestamp_seconds", "From when on rows are kept.", []string{"table"}, nil)
	perDayDesc = prometheus.NewDesc("riverwatch_storage_growth_bytes_per_day",
		"How much was added in a day, by the last seven that are whole.", []string{"table"}, nil)
	rolledDesc = prometheus.NewDesc("riverwatch_rolled_up_until_timestamp_seconds", "All hours before this are rolled up.", nil, nil)
)

// RegisterGauges registers what is asked of the database at a scrape.
func RegisterGauges(registry prometheus.Registerer, pool *pgxpool.Pool, now func() time.Time, logger *slog.Logger) {
	registry.MustRegister(&gauges{pool: pool, now: now, logger: logger})
}

// Describe implements prometheus.Collector: not by what is there, as that may be nothing now.
func (g *gauges) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{bytesDesc, fromDesc, perDayDesc, rolledDesc} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector. What cannot be asked is left out.
func (g *gauges) Collect(metrics chan<- prometheus.Metric) {
	stored := g.ask()
	if stored == nil {
		return
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	for _, t := range stored.Tables {
		gauge(bytesDesc, float64(t.Bytes), t.Name)
		if !t.From.IsZero() {
			gauge(fromDesc, float64(t.From.Unix()), t.Name)
		}
		if t.BytesPerDay != nil {
			gauge(perDayDesc, float64(*t.BytesPerDay), t.Name)
		}
	}
	if !stored.RolledUntil.IsZero() {
		gauge(rolledDesc, float64(stored.RolledUntil.Unix()))
	}
}

// ask asks the database, unless it was asked a moment ago.
func (g *gauges) ask() *Storage {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if !g.asked.IsZero() && now.Sub(g.asked) < gaugesKept {
		return g.stored
	}
	ctx, cancel := context.WithTimeout(context.Background(), gaugesTimeout)
	defer cancel()
	g.asked, g.stored = now, nil
	stored, err := Stored(ctx, g.pool, now)
	if err != nil {
		g.logger.WarnContext(ctx, "the metrics of storage are missing", slog.Any("error", err))
		return nil
	}
	g.stored = &stored
	return g.stored
}
