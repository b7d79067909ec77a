package record

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"riverwatch/db"
	"riverwatch/queue"
)

// What counts the waits for limits, each with a label of its own: that of the recorder here, others where they are kept.
const (
	LimitWaitsName = "riverwatch_limit_waits_total"
	LimitWaitsHelp = "Scans that had to wait, because a limit was reached: of probes in flight, of the process or to their host, or of " +
		"results that wait to be written."
)

// metrics are what the recorder tells of itself to Prometheus. No label holds what a stranger chose.
type metrics struct {
	lateness     prometheus.Histogram
	scans        *prometheus.CounterVec
	probe        *prometheus.HistogramVec
	batchSize    prometheus.Histogram
	batchSeconds prometheus.Histogram
	waiting      prometheus.Gauge
	full         prometheus.Counter

	retriesLeftOut prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) metrics {
	in := promauto.With(registry)
	return metrics{
		lateness: in.NewHistogram(prometheus.HistogramOpts{
			Name: "riverwatch_lateness_seconds", Help: "Start of a scan of a round minus its slot.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 1.5, 2, 5, 10, 30, 60},
		}),
		scans: in.NewCounterVec(prometheus.CounterOpts{
			Name: "riverwatch_scans_total", Help: "Scans that were recorded.",
		}, []string{"outcome"}),
		probe: in.NewHistogramVec(prometheus.HistogramOpts{
			Name: "riverwatch_probe_seconds", Help: "How long a phase of a probe took, where it was measured.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"phase"}),
		batchSize: in.NewHistogram(prometheus.HistogramOpts{
			Name: "riverwatch_recorder_batch_size", Help: "Scans that were written in one transaction.",
			Buckets: []float64{1, 2, 5, 10, 25, 50, 100, 250, 500},
		}),
		batchSeconds: in.NewHistogram(prometheus.HistogramOpts{
			Name: "riverwatch_recorder_seconds", Help: "How long a batch took to be committed, with all tries.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 10, 60},
		}),
		waiting: in.NewGauge(prometheus.GaugeOpts{
			Name: "riverwatch_recorder_queue", Help: "Scans that wait to be written; there is room for RIVERWATCH_RECORDER_QUEUE of them.",
		}),
		full: in.NewCounter(prometheus.CounterOpts{
			Name: LimitWaitsName, Help: LimitWaitsHelp, ConstLabels: prometheus.Labels{"limit": "recorder"},
		}),
		retriesLeftOut: in.NewCounter(prometheus.CounterOpts{
			Name: "riverwatch_retries_left_out_total",
			Help: "Quick second looks that RIVERWATCH_RETRIES_PER_SECOND did not allow: the monitor's next slot is the second look.",
		}),
	}
}

// recorded counts a scan that is in the log.
func (m *metrics) recorded(scan db.Scan) {
	m.scans.WithLabelValues(string(scan.Outcome)).Inc()
	if scan.Reason == queue.ReasonRound {
		m.lateness.Observe(float64(scan.LateMS) / 1000)
	}
	for _, phase := range scan.Phases() {
		if phase.US != nil {
			m.probe.WithLabelValues(phase.Name).Observe(float64(*phase.US) / 1e6)
		}
	}
}
