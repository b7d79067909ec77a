package jobs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"riverwatch/db"
)

// Metrics are what a worker tells of itself to Prometheus. No label holds what a stranger chose.
type Metrics struct {
	lateness      prometheus.Histogram
	scans         *prometheus.CounterVec
	inFlight      prometheus.Gauge
	probe         *prometheus.HistogramVec
	batchSize     prometheus.Histogram
	batchSeconds  prometheus.Histogram
	recorderQueue prometheus.Gauge
	missed        *prometheus.CounterVec
	repairs       prometheus.Counter
	limitWaits    *prometheus.CounterVec
	workers       prometheus.Gauge
}

// The limits that an operator sets, as a label of riverwatch_limit_waits_total.
const (
	limitHost     = "host"     // RIVERWATCH_PROBES_PER_HOST
	limitProcess  = "process"  // RIVERWATCH_PROBES
	limitRecorder = "recorder" // RIVERWATCH_RECORDER_QUEUE
)

// NewMetrics makes the metrics, and registers them.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		lateness: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "riverwatch_lateness_seconds", Help: "Start of a scan of a round minus its slot.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 1.5, 2, 5, 10, 30, 60},
		}),
		scans: counters("riverwatch_scans_total", "Scans that were recorded.", "outcome"),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "riverwatch_scans_in_flight", Help: "Probes that are under way.",
		}),
		probe: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "riverwatch_probe_seconds", Help: "How long a phase of a probe took, where it was measured.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"phase"}),
		batchSize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "riverwatch_recorder_batch_size", Help: "Scans that were written in one transaction.",
			Buckets: []float64{1, 2, 5, 10, 25, 50, 100, 250, 500},
		}),
		batchSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "riverwatch_recorder_seconds", Help: "How long a batch took to be committed, with all tries.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 10, 60},
		}),
		recorderQueue: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "riverwatch_recorder_queue", Help: "Scans that wait to be written; there is room for RIVERWATCH_RECORDER_QUEUE of them.",
		}),
		missed: counters("riverwatch_slots_missed_total",
			"Slots that this process declared as gaps: of single monitors, or of a whole round, which counts as one.", "reason"),
		repairs: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "riverwatch_tend_repairs_total", Help: "What tend found forgotten. It must stay 0.",
		}),
		limitWaits: counters("riverwatch_limit_waits_total",
			"Scans that had to wait, because a limit was reached: of probes in flight, of the process or to their host, or of "+
				"results that wait to be written.", "limit"),
		workers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "riverwatch_workers", Help: "Workers that share the limit of probes in flight to a host, with this one.",
		}),
	}
	// From the start, lest the first of a kind be no increase.
	for _, reason := range gapReasons {
		m.missed.WithLabelValues(reason)
	}
	for _, limit := range []string{limitHost, limitProcess, limitRecorder} {
		m.limitWaits.WithLabelValues(limit)
	}
	registry.MustRegister(m.lateness, m.scans, m.inFlight, m.probe, m.batchSize, m.batchSeconds, m.recorderQueue,
		m.missed, m.repairs, m.limitWaits, m.workers)
	return m
}

func counters(name, help, label string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
}

// recorded counts a scan that is in the log.
func (m *Metrics) recorded(scan db.Scan) {
	m.scans.WithLabelValues(string(scan.Outcome)).Inc()
	if scan.Reason == ReasonRound {
		m.lateness.Observe(float64(scan.LateMS) / 1000)
	}
	for _, phase := range phasesOf(&scan) {
		if phase.us != nil {
			m.probe.WithLabelValues(phase.name).Observe(float64(*phase.us) / 1e6)
		}
	}
}

// phase is how long a part of a probe took; nil: it was not measured.
type phase struct {
	name string
	us   *int
}

func phasesOf(scan *db.Scan) [6]phase {
	return [...]phase{
		{"dns", scan.DNSUS},
		{"connect", scan.ConnectUS},
		{"tls", scan.TLSUS},
		{"wait", scan.WaitUS},
		{"transfer", scan.TransferUS},
		{"total", &scan.TotalUS},
	}
}

// wrote counts a batch that is committed.
func (m *Metrics) wrote(scans int, took time.Duration) {
	m.batchSize.Observe(float64(scans))
	m.batchSeconds.Observe(took.Seconds())
}
