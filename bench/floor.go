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
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// The loops beside which a fleet is measured. Both open a connection for each fetch, as a probe does, and throw the answer
// away: no guard, no phases, no verdict, no database.
const (
	bareLoop    = "bare loop"     // the fastest that we can write: on the connection itself
	netHTTPLoop = "net/http loop" // what a Go programmer would write: http.Client
)

// A loop starts its fetches as the rounds of a fleet start their scans: what is due comes together each quarter of a second,
// and starts in groups. What comes together is cheaper, and a loop that spreads its fetches would flatter the fleet.
const (
	loopEvery = 250 * time.Millisecond
	loopTick  = 10 * time.Millisecond
	loopGroup = 50          // started at one tick, of a round
	loopRound = 500         // fetches that share a round: with more, several start side by side
	fetchTime = time.Minute // of one fetch, at most
)

// floorResult is what a loop cost.
type floorResult struct {
	Loop        string  `json:"loop"` // bareLoop or netHTTPLoop
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

// A floor is a loop at work: it fetches URLs on fresh connections, and does nothing else.
type floor struct {
	fetchers []fetcher // in the order in which they are asked, again and again
	fetches  atomic.Int64
	failed   atomic.Int64
	first    sync.Once
	why      string

	mu        sync.Mutex
	latencies []time.Duration
}

// A fetcher fetches one URL.
type fetcher func(ctx context.Context) error

// runFloor is the part of the child process: it reads URLs, a line each, fetches them, and prints a floorResult.
func runFloor(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet("floor", flag.ContinueOnError)
	name := flags.String("loop", bareLoop, "which loop")
	caFile := flags.String("ca", "", "certificate to trust")
	rate := flags.Float64("rate", 0, "fetches a second; 0: as many as it can")
	open := flags.Int("open", 64, "fetches at a time, without a rate")
	duration := flags.Duration("duration", time.Second, "for how long")
	seed := flags.Uint64("seed", 1, "of the order")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("read the flags: %w", err)
	}
	config, err := loopTLS(*caFile)
	if err != nil {
		return err
	}
	newFetcher := bareFetcher(config)
	if *name == netHTTPLoop {
		newFetcher = netHTTPFetcher(config)
	}
	f := &floor{}
	for lines := bufio.NewScanner(stdin); lines.Scan(); {
		fetcher, err := newFetcher(lines.Text())
		if err != nil {
			return err
		}
		f.fetchers = append(f.fetchers, fetcher)
	}
	rand.New(rand.NewPCG(*seed, 0)).Shuffle(len(f.fetchers), func(i, j int) {
		f.fetchers[i], f.fetchers[j] = f.fetchers[j], f.fetchers[i]
	})

	before, start := ownCPU(), time.Now()
	if *rate > 0 {
		f.atRate(ctx, *rate, *duration)
	} else {
		f.flatOut(ctx, *open, *duration)
	}
	return f.tell(stdout, *name, ownCPU()-before, time.Since(start))
}

func loopTLS(caFile string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		text, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("read the CA: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(text)
	}
	return config, nil
}

// atRate starts fetches as a fleet does.
func (f *floor) atRate(ctx context.Context, rate float64, duration time.Duration) {
	var open sync.WaitGroup
	started := 0
	group := loopGroup * (1 + int(rate*loopEvery.Seconds())/loopRound)
	start := time.Now()
	for at := time.Duration(0); at < duration && ctx.Err() == nil; at += loopEvery {
		due := int(rate * min(at+loopEvery, duration).Seconds())
		for tick := at; started < due; tick += loopTick {
			time.Sleep(time.Until(start.Add(tick)))
			for range min(group, due-started) {
				fetch := f.fetchers[started%len(f.fetchers)]
				open.Go(func() { f.fetch(ctx, fetch) })
				started++
			}
		}
	}
	open.Wait()
	time.Sleep(time.Until(start.Add(duration)))
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
				f.fetch(context.WithoutCancel(ctx), f.fetchers[int(next.Add(1))%len(f.fetchers)])
			}
		})
	}
	group.Wait()
}

func (f *floor) fetch(ctx context.Context, fetch fetcher) {
	start := time.Now()
	if err := fetch(ctx); err != nil {
		f.failed.Add(1)
		f.first.Do(func() { f.why = err.Error() })
		return
	}
	f.fetches.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.latencies = append(f.latencies, time.Since(start))
}

func (f *floor) tell(stdout io.Writer, name string, cpu, took time.Duration) error {
	fetches := int(f.fetches.Load())
	err := json.NewEncoder(stdout).Encode(floorResult{
		Loop: name, Fetches: fetches, Failed: int(f.failed.Load()), Seconds: took.Seconds(), FailedFirst: f.why,
		CPUMicros: microsecondsPer(cpu, fetches), PerSecond: float64(fetches) / took.Seconds(),
		PeakMemory: memoryOf(os.Getpid()).peak, Latency: percentilesOf(f.latencies),
	})
	if err != nil {
		return fmt.Errorf("tell what it cost: %w", err)
	}
	return nil
}
