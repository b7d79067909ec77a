package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// floorTick is how often the bare loop starts fetches, as a timer for each of them costs more than the fetch.
const floorTick = 20 * time.Millisecond

// floorResult is what the bare loop cost.
type floorResult struct {
	Fetches     int     `json:"fetches"`
	Failed      int     `json:"failed"`
	Seconds     float64 `json:"seconds"`
	CPUMicros   float64 `json:"cpu_us"`        // of a fetch
	TargetCPU   float64 `json:"target_cpu_us"` // of the target, for a fetch
	PeakMemory  int64   `json:"peak_memory_bytes"`
	PerSecond   float64 `json:"per_second"`
	FailedFirst string  `json:"failed_first,omitempty"`

	Latency percentiles `json:"latency"`
}

// A floor is the bare loop: it fetches URLs on fresh connections, and does nothing else.
type floor struct {
	client  *http.Client
	urls    []string
	fetches atomic.Int64
	failed  atomic.Int64
	first   sync.Once
	why     string

	mu        sync.Mutex
	latencies []time.Duration
}

// runFloor is the part of the child process: it reads URLs, a line each, fetches them, and prints a floorResult.
func runFloor(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet("floor", flag.ContinueOnError)
	caFile := flags.String("ca", "", "certificate to trust")
	rate := flags.Float64("rate", 0, "fetches a second; 0: as many as it can")
	open := flags.Int("open", 64, "fetches at a time, without a rate")
	duration := flags.Duration("duration", time.Second, "for how long")
	seed := flags.Uint64("seed", 1, "of the order")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("read the flags: %w", err)
	}
	f := &floor{}
	var err error
	if f.client, err = newFloorClient(*caFile); err != nil {
		return err
	}
	for lines := bufio.NewScanner(stdin); lines.Scan(); {
		f.urls = append(f.urls, lines.Text())
	}
	rand.New(rand.NewPCG(*seed, 0)).Shuffle(len(f.urls), func(i, j int) { f.urls[i], f.urls[j] = f.urls[j], f.urls[i] })

	before, start := ownCPU(), time.Now()
	if *rate > 0 {
		f.atRate(ctx, *rate, *duration)
	} else {
		f.flatOut(ctx, *open, *duration)
	}
	return f.tell(stdout, ownCPU()-before, time.Since(start))
}

func newFloorClient(caFile string) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		text, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("read the CA: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(text)
	}
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: config}}, nil
}

// atRate starts fetches evenly over time.
func (f *floor) atRate(ctx context.Context, rate float64, duration time.Duration) {
	var open sync.WaitGroup
	ticker := time.NewTicker(floorTick)
	defer ticker.Stop()
	start, started, total := time.Now(), 0, int(rate*duration.Seconds())
	for started < total && ctx.Err() == nil {
		for due := min(total, int(time.Since(start).Seconds()*rate)); started < due; started++ {
			url := f.urls[started%len(f.urls)]
			open.Go(func() { f.fetch(ctx, url) })
		}
		<-ticker.C
	}
	open.Wait()
}

// flatOut keeps so many fetches open at a time.
func (f *floor) flatOut(ctx context.Context, open int, duration time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	var next atomic.Int64
	var group sync.WaitGroup
	for range open {
		group.Go(func() {
			for ctx.Err() == nil {
				f.fetch(context.WithoutCancel(ctx), f.urls[int(next.Add(1))%len(f.urls)])
			}
		})
	}
	group.Wait()
}

func (f *floor) fetch(ctx context.Context, url string) {
	start := time.Now()
	if err := f.get(ctx, url); err != nil {
		f.failed.Add(1)
		f.first.Do(func() { f.why = err.Error() })
		return
	}
	f.fetches.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.latencies = append(f.latencies, time.Since(start))
}

func (f *floor) get(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	answer, err := f.client.Do(request)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return nil
}

func (f *floor) tell(stdout io.Writer, cpu, took time.Duration) error {
	fetches := int(f.fetches.Load())
	err := json.NewEncoder(stdout).Encode(floorResult{
		Fetches: fetches, Failed: int(f.failed.Load()), Seconds: took.Seconds(), FailedFirst: f.why,
		CPUMicros: microsecondsPer(cpu, fetches), PerSecond: float64(fetches) / took.Seconds(),
		PeakMemory: memoryOf(os.Getpid()).peak, Latency: percentilesOf(f.latencies),
	})
	if err != nil {
		return fmt.Errorf("tell what it cost: %w", err)
	}
	return nil
}
