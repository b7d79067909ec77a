package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// blackboxResult is Prometheus with blackbox_exporter beside a fleet and the bare loop, at one rate and one target.
type blackboxResult struct {
	floors

	Fleet    measurement `json:"fleet"`
	Blackbox probes      `json:"prometheus_with_blackbox_exporter"`
}

// probes are what others made of the same work.
type probes struct {
	Requests      int     `json:"requests"` // that the target saw in the window
	PerSecond     float64 `json:"per_second"`
	PrometheusCPU float64 `json:"prometheus_cpu_us"` // of a request, as all below
	ExporterCPU   float64 `json:"blackbox_exporter_cpu_us"`
	TargetCPU     float64 `json:"target_cpu_us"`
	Memory        []int64 `json:"peak_memory_bytes"` // of both
}

func (p probes) cpu() float64 { return p.PrometheusCPU + p.ExporterCPU }

func runBlackbox(ctx context.Context, b *bench) (result, error) {
	var r blackboxResult
	var err error
	rate := float64(b.monitors) / b.interval.Seconds()
	if err := r.runLoops(ctx, b, rate, b.duration/4, bareLoop); err != nil {
		return nil, err
	}
	if r.Fleet, err = b.measureFleet(ctx); err != nil {
		return nil, err
	}
	if r.Blackbox, err = b.measureBlackbox(ctx); err != nil {
		return nil, err
	}
	err = r.runLoops(ctx, b, rate, b.duration/4, bareLoop)
	return r, err
}

// measureBlackbox lets Prometheus scrape blackbox_exporter for each monitor, as the documentation of the exporter says, and
// measures both when each monitor has had an interval.
func (b *bench) measureBlackbox(ctx context.Context) (p probes, err error) {
	exporterAt, err := freeAddress(ctx)
	if err != nil {
		return p, err
	}
	if err := b.configureBlackbox(exporterAt); err != nil {
		return p, err
	}
	prometheusAt, err := freeAddress(ctx)
	if err != nil {
		return p, err
	}
	exporter, err := startChild(ctx, "blackbox_exporter", func(ctx context.Context) *exec.Cmd {
		return exec.CommandContext(ctx, b.exporter, "--config.file="+filepath.Join(b.dir, "blackbox.yml"),
			"--web.listen-address="+exporterAt, "--log.level=error")
	})
	if err != nil {
		return p, err
	}
	defer exporter.stop()
	prometheus, err := startChild(ctx, "prometheus", func(ctx context.Context) *exec.Cmd {
		return exec.CommandContext(ctx, b.prometheus, "--config.file="+filepath.Join(b.dir, "prometheus.yml"),
			"--web.listen-address="+prometheusAt, "--storage.tsdb.path="+filepath.Join(b.dir, "tsdb"), "--log.level=error")
	})
	if err != nil {
		return p, err
	}
	defer prometheus.stop()

	f := &fleet{bench: b, workers: []*child{exporter, prometheus}}
	if err := f.wait(ctx, time.Now().Add(b.interval+10*time.Second), "Prometheus warms up"); err != nil {
		return p, err
	}
	if _, err := b.takeLedger(ctx); err != nil {
		return p, err
	}
	var before, after [3]time.Duration
	children := []*child{prometheus, exporter, b.target}
	read := func(cpu *[3]time.Duration) error {
		for i, child := range children {
			if cpu[i], err = cpuOf(child.pid()); err != nil {
				return err
			}
		}
		return nil
	}
	if err := read(&before); err != nil {
		return p, err
	}
	if err := f.wait(ctx, time.Now().Add(b.duration), "Prometheus"); err != nil {
		return p, err
	}
	if err := read(&after); err != nil {
		return p, err
	}
	p.Requests, err = b.requests(ctx)
	p.PerSecond = float64(p.Requests) / b.duration.Seconds()
	p.PrometheusCPU = microsecondsPer(after[0]-before[0], p.Requests)
	p.ExporterCPU = microsecondsPer(after[1]-before[1], p.Requests)
	p.TargetCPU = microsecondsPer(after[2]-before[2], p.Requests)
	p.Memory = []int64{memoryOf(prometheus.pid()).peak, memoryOf(exporter.pid()).peak}
	return p, err
}

// configureBlackbox writes the configuration of both, which is JSON, and so YAML.
func (b *bench) configureBlackbox(exporterAt string) error {
	type object = map[string]any
	http := object{"preferred_ip_protocol": "ip4"}
	if b.caFile != "" {
		http["tls_config"] = object{"ca_file": b.caFile}
	}
	files := object{
		"blackbox.yml": object{"modules": object{
			"http_2xx": object{"prober": "http", "timeout": "10s", "http": http},
		}},
		"prometheus.yml": object{
			"global": object{"scrape_interval": b.interval.String(), "scrape_timeout": "10s"},
			"scrape_configs": []object{{
				"job_name": "blackbox", "metrics_path": "/probe", "params": object{"module": []string{"http_2xx"}},
				"file_sd_configs": []object{{"files": []string{filepath.Join(b.dir, "targets.json")}}},
				"relabel_configs": []object{
					{"source_labels": []string{"__address__"}, "target_label": "__param_target"},
					{"source_labels": []string{"__param_target"}, "target_label": "instance"},
					{"target_label": "__address__", "replacement": exporterAt},
				},
			}},
		},
		"targets.json": []object{{"targets": b.someURLs(b.monitors)}},
	}
	for name, content := range files {
		text, err := json.Marshal(content)
		if err == nil {
			err = os.WriteFile(filepath.Join(b.dir, name), text, 0o600)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

// freeAddress gives an address on which nobody listens.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().String(), errors.Join(listener.Close())
}

func (r blackboxResult) tables() []table {
	t := table{header: []string{"Riverwatch", "Prometheus with blackbox_exporter", bareLoop}}
	t.add("probes/s demanded", number(r.Fleet.Demanded), number(r.Fleet.Demanded), number(r.Fleet.Demanded))
	t.add("probes/s made", number(r.Fleet.Achieved), number(r.Blackbox.PerSecond), number(r.Bare.PerSecond))
	t.add("CPU us a probe, of all processes", number(r.Fleet.SystemCPU), number(r.Blackbox.cpu()), number(r.Bare.CPUMicros))
	t.add("… of them the database, or Prometheus", number(r.Fleet.PostgresCPU), number(r.Blackbox.PrometheusCPU), "")
	t.add("ratio to the bare loop", number(r.Fleet.SystemCPU/r.Bare.CPUMicros), number(r.Blackbox.cpu()/r.Bare.CPUMicros), "1")
	t.add("target: CPU us a probe", number(r.Fleet.TargetCPU), number(r.Blackbox.TargetCPU), number(r.Bare.TargetCPU))
	return []table{t}
}
