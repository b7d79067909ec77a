package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/riverqueue/river"

	"riverwatch/db"
	"riverwatch/probe"
)

const (
	lookTimeout = 2 * time.Second
	calmTick    = 5 * time.Second // between looks at the sentinels
	uneasyTick  = time.Second     // between them when something is wrong, and at the least
	sampleTick  = 2 * time.Second // between looks at strangers' hosts

	renewTick    = 5 * time.Second  // of an open warning
	warningSight = "no_sight"       // its kind
	warningWrite = 3 * time.Second  // how long the database may take
	takeBackIn   = 30 * time.Second // how long it may take to correct what was written
)

// warningMessage is what the people who run this installation read.
const warningMessage = "Workers cannot see the network: neither the sentinels nor the hosts of monitors answer them. " +
	"They scan nothing until they see again, and what failed meanwhile is inconclusive."

// Sight judges whether this worker sees the network. While it does not, the worker takes no rounds and no scans, its
// failures of the last minute become inconclusive, others scan their monitors again if they can, and one warning is
// raised. There is one Sight in a process.
type Sight struct {
	scanner   *Scanner
	sentinels []string
	blindness *blindness
	logger    *slog.Logger
	react     func(ctx context.Context, turned turn) // what follows from a look; tests without a database replace it
	renewedAt time.Time
}

// NewSight makes the sight of a worker's scanner. Sentinels are URLs of hosts whose answers show that the network is
// there, in normal form; without any, the hosts of monitors stand in for them.
func NewSight(scanner *Scanner, sentinels []string, logger *slog.Logger) *Sight {
	s := &Sight{
		scanner: scanner, sentinels: sentinels, blindness: scanner.Recorder.blindness, logger: logger,
	}
	s.react = s.follow
	return s
}

// Run looks until ctx is done: at the sentinels every few seconds, and sooner when a host has fallen silent.
func (s *Sight) Run(ctx context.Context) {
	for s.await(ctx) {
		s.blindness.forget()
		parties := s.blindness.parties(s.sentinels)
		turned := noTurn
		if len(parties) > 0 {
			turned = s.look(ctx, parties)
		}
		if ctx.Err() != nil {
			return
		}
		s.react(ctx, turned)
	}
}

// Watch runs the sight until the function that it gives is called, which waits for its end.
func (s *Sight) Watch(ctx context.Context) (stop func()) { return untilStopped(ctx, s.Run) }

// untilStopped runs something beside, though ctx may end, until the function that it gives is called, which waits for its
// end.
func untilStopped(ctx context.Context, run func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// repeatUntilStopped calls do at once and after each tick, and failed with its errors, until stop is called.
func repeatUntilStopped(
	ctx context.Context, tick time.Duration, do func(context.Context) error, failed func(error),
) (stop func()) {
	return untilStopped(ctx, func(ctx context.Context) {
		for first := true; first || sleepFor(ctx, tick, nil); first = false {
			if err := do(ctx); err != nil && ctx.Err() == nil {
				failed(err)
			}
		}
	})
}

// await waits until the next look is due, and reports whether ctx lasted.
func (s *Sight) await(ctx context.Context) bool {
	least := uneasyTick
	if len(s.sentinels) == 0 {
		least = sampleTick
	}
	if !sleepFor(ctx, least, nil) {
		return false
	}
	return s.blindness.uneasy() || sleepFor(ctx, calmTick-least, s.blindness.wake)
}

// sleepFor waits for d, or until it is woken, and reports whether ctx lasted.
func sleepFor(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// look asks all parties at once. One that sees is enough.
func (s *Sight) look(ctx context.Context, parties []party) turn {
	at := s.scanner.Now()
	var open sync.WaitGroup
	answers := make([][]silence, len(parties))
	for i, party := range parties {
		answers[i] = make([]silence, len(party.targets))
		for j, target := range party.targets {
			open.Go(func() { answers[i][j] = s.ask(ctx, target) })
		}
	}
	open.Wait()

	told, saw := false, false
	for i, party := range parties {
		sees, tells := party.sees(answers[i])
		told, saw = told || tells, saw || tells && sees
	}
	if !told || ctx.Err() != nil {
		return noTurn
	}
	return s.blindness.looked(at, saw)
}

// ask probes one target, and says whether it heard of it.
func (s *Sight) ask(ctx context.Context, target string) silence {
	return silenceOf(target, s.scanner.Prober.Probe(ctx, probe.Target{
		URL: target, Method: http.MethodGet, Timeout: lookTimeout,
	}))
}

// follow does what follows from a look. What the database does not take now is tried again after the next look.
func (s *Sight) follow(ctx context.Context, turned turn) {
	switch turned {
	case wentBlind:
		s.logger.ErrorContext(ctx, "worker cannot see the network: it scans nothing until it does",
			slog.String("worker", s.scanner.Worker), slog.Int("sentinels", len(s.sentinels)),
			slog.Int("silent_hosts", s.blindness.silentHosts()))
	case sawAgain:
		s.logger.WarnContext(ctx, "worker sees the network again", slog.String("worker", s.scanner.Worker))
	case noTurn:
	}
	if err := s.tellOperators(ctx, turned); err != nil {
		s.logger.WarnContext(ctx, "warning is not written", slog.Any("error", err))
	}
	if err := s.takeBack(ctx); err != nil {
		s.logger.WarnContext(ctx, "failures of a blind worker are not taken back yet", slog.Any("error", err))
	}
	if err := s.scanAgain(ctx); err != nil {
		s.logger.WarnContext(ctx, "scans of a blind worker are not asked for again yet", slog.Any("error", err))
	}
}

// tellOperators raises the warning, or renews it, or says that it is no longer about this worker.
func (s *Sight) tellOperators(ctx context.Context, turned turn) error {
	ctx, cancel := context.WithTimeout(ctx, warningWrite)
	defer cancel()
	now, queries := s.scanner.Now(), db.New(s.scanner.Conn)
	switch blind := s.blindness.blind(); {
	case blind && now.Sub(s.renewedAt) >= renewTick:
		err := queries.RaiseWarning(ctx, db.RaiseWarningParams{
			Kind: warningSight, Message: warningMessage, Process: s.scanner.Worker, At: now,
		})
		if err != nil {
			return fmt.Errorf("raise the warning: %w", err)
		}
		s.renewedAt = now
	case turned == sawAgain:
		s.renewedAt = time.Time{}
		err := queries.WithdrawWarning(ctx, db.WithdrawWarningParams{Kind: warningSight, Process: s.scanner.Worker, At: now})
		if err != nil {
			return fmt.Errorf("withdraw the warning: %w", err)
		}
	}
	return nil
}

// scanAgain asks for scans of the monitors whose scan told nothing because we were blind.
func (s *Sight) scanAgain(ctx context.Context) error {
	missed := s.blindness.takeMissed()
	if len(missed) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	for ids := range slices.Chunk(missed, batchSize) {
		if _, err := s.scanner.Queue.InsertMany(ctx, scansInPlaceOfBlind(ids, s.scanner.Now())); err != nil {
			s.blindness.giveBackMissed(ids)
			return fmt.Errorf("insert scans: %w", err)
		}
	}
	return nil
}

// scansInPlaceOfBlind ask for scans in the place of those that told nothing.
func scansInPlaceOfBlind(monitorIDs []int64, at time.Time) []river.InsertManyParams {
	scans := make([]river.InsertManyParams, len(monitorIDs))
	for i, id := range monitorIDs {
		scans[i] = scanJob(ScanArgs{MonitorID: id, At: at, Reason: ReasonRetry, InPlaceOfBlind: true})
	}
	return scans
}
