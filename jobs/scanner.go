package jobs

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"time"

	"riverwatch/db"
	"riverwatch/probe"
	"riverwatch/uptime"
)

// Why a scan ran.
const (
	ReasonRound = "round" // due at its slot
	ReasonRetry = "retry" // a quick second look at a monitor that has begun to fail
	ReasonAsked = "asked" // somebody asked, or the monitor is new
)

// startWithin is how long a probe may wait for its turn. With it and the longest timeout of a probe, a round ends
// within its jobTimeout.
const startWithin = 12 * time.Second

// A Prober makes one request to a target; [*probe.Prober] does.
type Prober interface {
	Probe(ctx context.Context, target probe.Target) probe.Result
}

// A Scanner is what the jobs of one process share: how to probe, within which limits, and where results go.
type Scanner struct {
	Conn     db.Conn
	Queue    Queue
	Prober   Prober
	Recorder *Recorder
	Worker   string // this process, in the log and in River's attempted_by; short
	Now      func() time.Time

	limiter     *limiter
	startWithin time.Duration
}

// NewScanner makes a scanner with nothing in flight.
func NewScanner(
	conn db.Conn, queue Queue, prober Prober, recorder *Recorder, limits Limits, worker string, now func() time.Time,
) *Scanner {
	return &Scanner{
		Conn: conn, Queue: queue, Prober: prober, Recorder: recorder, Worker: worker, Now: now,
		limiter: newLimiter(limits, recorder.metrics.limitWaits), startWithin: startWithin,
	}
}

// mayTake reports whether this worker takes rounds and scans: if it sees the network, and keeps up with what it has.
func (s *Scanner) mayTake() bool { return !s.Recorder.blindness.blind() && !s.limiter.full(s.Now()) }

// await waits for a place to probe the monitor's host until ctx is done.
func (s *Scanner) await(ctx context.Context, monitor db.Monitor) (release func(), err error) {
	target, err := url.Parse(monitor.URL)
	if err != nil {
		return nil, fmt.Errorf("parse the URL of monitor %d: %w", monitor.ID, err)
	}
	return s.limiter.acquire(ctx, target.Host)
}

// scan probes a monitor and returns once the result is recorded. A cancelled probe is recorded too, as inconclusive.
func (s *Scanner) scan(ctx context.Context, monitor watched, slot time.Time, reason string) (uptime.Outcome, error) {
	ctx, span := s.Recorder.Traces.startProbe(ctx)
	result := s.probe(ctx, ConfigOf(monitor.Monitor, monitor.secrets).Target())
	result = s.Recorder.blindness.scanned(monitor.Monitor, result)
	scan := s.scanOf(monitor.Monitor, slot, reason, result)
	endProbe(span, scan)

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	if err := s.Recorder.Record(ctx, scan, result.Certificate); err != nil {
		return "", err
	}
	return result.Outcome, nil
}

func (s *Scanner) probe(ctx context.Context, target probe.Target) probe.Result {
	s.Recorder.metrics.inFlight.Inc()
	defer s.Recorder.metrics.inFlight.Dec()
	return s.Prober.Probe(ctx, target)
}

// watched is a monitor with what its scan needs besides its row.
type watched struct {
	db.Monitor

	secrets probe.Secrets
}

// withSecrets gives monitors with their secrets.
func (s *Scanner) withSecrets(ctx context.Context, monitors ...db.Monitor) ([]watched, error) {
	secrets, err := loadSecrets(ctx, db.New(s.Conn), monitors...)
	if err != nil {
		return nil, err
	}
	all := make([]watched, len(monitors))
	for i, monitor := range monitors {
		all[i] = watched{monitor, secrets[monitor.ID]}
	}
	return all, nil
}

func (s *Scanner) scanOf(monitor db.Monitor, slot time.Time, reason string, result probe.Result) db.Scan {
	scan := db.Scan{
		Slot:           slot,
		MonitorID:      monitor.ID,
		LateMS:         lateMS(result.Start, slot),
		DNSUS:          microseconds(result.DNS),
		ConnectUS:      microseconds(result.Connect),
		TLSUS:          microseconds(result.TLS),
		WaitUS:         microseconds(result.Wait),
		TransferUS:     microseconds(result.Transfer),
		TotalUS:        int(result.Total.Microseconds()),
		MonitorVersion: monitor.Version,
		HTTPStatus:     result.HTTPStatus,
		RegexpMatched:  result.RegexpMatched,
		Outcome:        result.Outcome,
		Reason:         reason,
		Worker:         s.Worker,
	}
	if result.BodyBytes != nil {
		bytes := int(*result.BodyBytes)
		scan.BodyBytes = &bytes
	}
	if result.RemoteIP.IsValid() {
		scan.RemoteIP = &result.RemoteIP
	}
	if result.Error != "" {
		scan.Error = &result.Error
	}
	if result.BodyExcerpt != "" {
		scan.BodyExcerpt = &result.BodyExcerpt
	}
	return scan
}

// lateMS gives start minus slot as far as the log holds it, some 24 days: a clock may jump.
func lateMS(start, slot time.Time) int {
	return int(min(max(start.Sub(slot).Milliseconds(), math.MinInt32), math.MaxInt32))
}

func microseconds(d *time.Duration) *int {
	if d == nil {
		return nil
	}
	us := int(d.Microseconds())
	return &us
}

func scheduleOf(monitor db.Monitor) uptime.Schedule {
	return uptime.Schedule{Interval: monitor.IntervalSeconds, PhaseMS: monitor.PhaseMS}
}
