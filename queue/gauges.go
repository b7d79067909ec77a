package queue

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"riverwatch/db"
)

const (
	gaugesTimeout = 2 * time.Second  // a scrape is not kept waiting by a database that is away
	gaugesKept    = 10 * time.Second // many processes are scraped, and all would ask the same
	gaugesCount   = 10_000           // a million would take a second to count
)

// gauges tell what is in the database, asked at a scrape, and of the process' connections to it.
type gauges struct {
	pool   *pgxpool.Pool
	logger *slog.Logger

	mu     sync.Mutex
	asked  time.Time
	rounds []db.CountRoundsRow
	oldest *float64
}

var (
	roundsDesc = prometheus.NewDesc("riverwatch_rounds", "Rounds in the queue, by River's state of the job; 10000: that or more.",
		[]string{"state"}, nil)
	oldestDesc = prometheus.NewDesc("riverwatch_oldest_unscanned_seconds",
		"For how long the oldest round that should have started has been waiting.", nil, nil)
	connectionsDesc = prometheus.NewDesc("riverwatch_db_connections",
		"Connections of this process to the database.", []string{"state"}, nil)
	maxConnectionsDesc = prometheus.NewDesc("riverwatch_db_connections_max",
		"How many connections to the database this process may have.", nil, nil)
	acquireWaitsDesc = prometheus.NewDesc("riverwatch_db_acquire_waits_total",
		"How often a connection had to be waited for.", nil, nil)
	acquireSecondsDesc = prometheus.NewDesc("riverwatch_db_acquire_seconds_total",
		"For how long connections were waited for.", nil, nil)
)

// RegisterGauges registers what is asked of the database and its pool at each scrape.
func RegisterGauges(registry prometheus.Registerer, pool *pgxpool.Pool, logger *slog.Logger) {
	registry.MustRegister(&gauges{pool: pool, logger: logger})
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(descs chan<- *prometheus.Desc) { prometheus.DescribeByCollect(g, descs) }

// Collect implements prometheus.Collector. What cannot be asked is left out.
func (g *gauges) Collect(metrics chan<- prometheus.Metric) {
	stat := g.pool.Stat()
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	gauge(connectionsDesc, float64(stat.AcquiredConns()), "acquired")
	gauge(connectionsDesc, float64(stat.IdleConns()), "idle")
	gauge(maxConnectionsDesc, float64(stat.MaxConns()))
	metrics <- prometheus.MustNewConstMetric(acquireWaitsDesc, prometheus.CounterValue, float64(stat.EmptyAcquireCount()))
	metrics <- prometheus.MustNewConstMetric(
		acquireSecondsDesc, prometheus.CounterValue, stat.EmptyAcquireWaitTime().Seconds())

	rounds, oldest := g.ask()
	for _, row := range rounds {
		gauge(roundsDesc, float64(row.Rounds), row.State)
	}
	if oldest != nil {
		gauge(oldestDesc, *oldest)
	}
}

// ask asks the database, unless it was asked a moment ago.
func (g *gauges) ask() ([]db.CountRoundsRow, *float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.asked) < gaugesKept {
		return g.rounds, g.oldest
	}
	ctx, cancel := context.WithTimeout(context.Background(), gaugesTimeout)
	defer cancel()
	g.asked, g.rounds, g.oldest = time.Now(), nil, nil
	rounds, err := db.New(g.pool).CountRounds(ctx, db.CountRoundsParams{Queue: Rounds, AtMost: gaugesCount})
	var oldest float64
	if err == nil {
		oldest, err = db.New(g.pool).OldestUnscannedSeconds(ctx, Rounds)
	}
	if err != nil {
		g.logger.WarnContext(ctx, "the database's metrics are missing", slog.Any("error", err))
		return nil, nil
	}
	g.rounds, g.oldest = rounds, &oldest
	return g.rounds, g.oldest
}
