package jobs

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"riverwatch/record"
	"riverwatch/uptime"
)

// metrics are what a worker tells of itself to Prometheus. No label holds what a stranger chose.
type metrics struct {
	inFlight     prometheus.Gauge
	missed       *prometheus.CounterVec
	repairs      prometheus.Counter
	waitsHost    prometheus.Counter
	waitsProcess prometheus.Counter
	givenUp      prometheus.Counter
	mayBegin     prometheus.Gauge
	workers      prometheus.Gauge
}

func newMetrics(registry prometheus.Registerer) *metrics {
	in := promauto.With(registry)
	waits := func(limit string) prometheus.Counter {
		return in.NewCounter(prometheus.CounterOpts{
			Name: record.LimitWaitsName, Help: record.LimitWaitsHelp, ConstLabels: prometheus.Labels{"limit": limit},
		})
	}
	m := &metrics{
		inFlight: in.NewGauge(prometheus.GaugeOpts{
			Name: "riverwatch_scans_in_flight", Help: "Probes that are under way.",
		}),
		missed: in.NewCounterVec(prometheus.CounterOpts{
			Name: "riverwatch_slots_missed_total",
			Help: "Slots that this process declared as gaps: of single monitors, or of a whole round, which counts as one.",
		}, []string{"reason"}),
		repairs: in.NewCounter(prometheus.CounterOpts{
			Name: "riverwatch_tend_repairs_total", Help: "What tend found forgotten. It must stay 0.",
		}),
		waitsHost:    waits("host"),    // RIVERWATCH_PROBES_PER_HOST
		waitsProcess: waits("process"), // RIVERWATCH_PROBES
		givenUp: in.NewCounter(prometheus.CounterOpts{
			Name: "riverwatch_probes_given_up_total",
			Help: "Probes of targets that took long, which were ended because others waited for their places.",
		}),
		mayBegin: in.NewGauge(prometheus.GaugeOpts{
			Name: "riverwatch_concurrency_limit",
			Help: "Probes that may need a processor at once: RIVERWATCH_PROBES, and fewer while this process is short of processors.",
		}),
		workers: in.NewGauge(prometheus.GaugeOpts{
			Name: "riverwatch_workers", Help: "Workers that share the limit of probes in flight to a host, with this one.",
		}),
	}
	for _, reason := range uptime.GapReasons() { // from the start, lest the first of a kind be no increase
		m.missed.WithLabelValues(string(reason))
	}
	return m
}
