package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"riverwatch/history"
	"riverwatch/queue"
)

// newRegistry makes the registry of a process, with what every process tells of itself.
func (s *server) newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "riverwatch_build_info", Help: "1, with what this process was built from.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	registry.MustRegister(
		build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	queue.RegisterGauges(registry, s.pool, s.logger)
	history.RegisterGauges(registry, s.pool, time.Now, s.logger)
	return registry
}

// tellMetrics answers /metrics, on a listener of its own: the API's may be public. At the default address several
// processes of one machine meet, of whom the first has it and the others do without.
func (s *server) tellMetrics(ctx context.Context) error {
	if s.config.MetricsListen == "off" {
		return nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.config.MetricsListen)
	if err != nil && s.config.MetricsListen == defaultMetricsListen {
		s.logger.WarnContext(ctx, "no metrics: set RIVERWATCH_METRICS_LISTEN to another address, or to off",
			slog.Any("error", err))
		return nil
	}
	if err != nil {
		return fmt.Errorf("listen on RIVERWATCH_METRICS_LISTEN: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{Registry: s.registry}))
	server := &http.Server{
		Handler: s.config.Hosts.only(mux), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second,
		WriteTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}
