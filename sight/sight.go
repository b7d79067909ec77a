// Package sight tells whether this process can trust what it sees: its network, and its clock.
package sight

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/riverqueue/river"

	"riverwatch/db"
	"riverwatch/probe"
	"riverwatch/queue"
	"riverwatch/record"
	"riverwatch/wait"
)

const (
	calmTick   = 5 * time.Second // between looks at the sentinels
	uneasyTick = time.Second     // between them when something is wrong, and at the least
	sampleTick = 2 * time.Second // between looks at strangers' hosts

	takeBackIn = 30 * time.Second // how long it may take to correct what was written
	askAtOnce  = 500              // scans in one statement
)

// Config is what a sight works with.
type Config struct {
	Conn      db.Conn
	Queue     queue.Queue // inserts scans in the place of those that told nothing
	Prober    Prober
	Sentinels []string // URLs, in normal form, of hosts whose answers show that the network is there
	Worker    string   // this process
	Now       func() time.Time
	Logger    *slog.Logger
}

// A Prober makes one request to a target; [*probe.Prober] does.
type Prober interface {
	Probe(ctx context.Context, target probe.Target) probe.Result
}

// Sight judges whether this worker sees the network. While it does not, the worker takes no rounds and no scans, its
// failures of the last minute become inconclusive, others scan their monitors again if they can, and one warning is
// raised. There is one Sight in a process. Without sentinels the hosts of monitors stand in for them.
type Sight struct {
	Config

	view           *view
	follow         func(ctx context.Context, found news) // what follows from a look; tests without a database replace it
	isBlind        warning
	deadSentinels  warning
	sentinelsKnown string // which of them the log has told of
}

// New makes the sight of a worker, which sees until it finds that it does not.
func New(config Config) *Sight {
	s := &Sight{
		Config: config, view: newView(config.Now),
		isBlind: warning{conn: config.Conn, process: config.Worker, kind: "no_sight", message: "Workers cannot see the network: " +
			"neither the sentinels nor the hosts of monitors answer them. They scan nothing until they see again, and what " +
			"failed meanwhile is inconclusive."},
		deadSentinels: warning{conn: config.Conn, process: config.Worker, kind: "sentinel_silent"},
	}
	s.follow = s.react
	return s
}

// Blind reports whether this worker cannot see the network.
func (s *Sight) Blind() bool { return s.view.blind() }

// Scanned takes in the result of a scan, and gives what is to be recorded: a failure that may be ours is inconclusive
// if we are blind, or were when the scan began.
func (s *Sight) Scanned(monitor db.Monitor, result probe.Result) probe.Result {
	return s.view.scanned(monitor, result)
}

// Recorded takes in scans that are in the log, and what they did to the states of monitors.
func (s *Sight) Recorded(scans []db.Scan, transitions []record.Transition) {
	s.view.recorded(scans, transitions)
}

// Run looks until ctx is done: at the sentinels every few seconds, and sooner when a host has fallen silent.
func (s *Sight) Run(ctx context.Context) {
	least := uneasyTick
	if len(s.Sentinels) == 0 {
		least = sampleTick
	}
	for wait.For(ctx, least) {
		if !s.view.uneasy() && !wait.ForOr(ctx, calmTick-least, s.view.wake) {
			return
		}
		s.Look(ctx)
	}
}

// react does what follows from a look. What the database does not take now is tried again after the next look.
func (s *Sight) react(ctx context.Context, found news) {
	switch found {
	case wentBlind:
		s.Logger.ErrorContext(ctx, "worker cannot see the network: it scans nothing until it does",
			slog.String("worker", s.Worker), slog.Int("sentinels", len(s.Sentinels)),
			slog.Int("silent_hosts", s.view.silentHosts()))
	case sawAgain:
		s.Logger.WarnContext(ctx, "worker sees the network again", slog.String("worker", s.Worker))
	case noNews:
	}
	if err := s.tellOperators(ctx); err != nil {
		s.Logger.WarnContext(ctx, "warning is not written", slog.Any("error", err))
	}
	if err := s.takeBack(ctx); err != nil {
		s.Logger.WarnContext(ctx, "failures of a blind worker are not taken back yet", slog.Any("error", err))
	}
	if err := s.scanAgain(ctx); err != nil {
		s.Logger.WarnContext(ctx, "scans of a blind worker are not asked for again yet", slog.Any("error", err))
	}
}

// tellOperators raises the warnings, or renews them now and then, or says that they are no longer about this worker.
func (s *Sight) tellOperators(ctx context.Context) error {
	dead := strings.Join(s.view.deadSentinels(), ", ")
	if dead != "" && dead != s.sentinelsKnown {
		s.Logger.WarnContext(ctx, "sentinels do not answer, though the network is there", slog.String("sentinels", dead))
	}
	s.sentinelsKnown = dead
	s.deadSentinels.message = "These sentinels do not answer, though others do: " + dead + ". Others should take their place in " +
		"RIVERWATCH_SENTINELS: without them it takes longer to see that the network is gone."
	return errors.Join(s.isBlind.tell(ctx, s.view.blind(), s.Now()), s.deadSentinels.tell(ctx, dead != "", s.Now()))
}

// scanAgain asks for scans of the monitors whose scan told nothing because we were blind.
func (s *Sight) scanAgain(ctx context.Context) error {
	ids := s.view.takeToScanAgain()
	if len(ids) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, takeBackIn)
	defer cancel()
	for chunk := range slices.Chunk(ids, askAtOnce) {
		if _, err := s.Queue.InsertMany(ctx, scansInPlaceOfBlind(chunk, s.Now())); err != nil {
			s.view.giveBack(ids)
			return fmt.Errorf("insert scans: %w", err)
		}
		ids = ids[len(chunk):]
	}
	return nil
}

// scansInPlaceOfBlind ask for scans in the place of those that told nothing.
func scansInPlaceOfBlind(monitorIDs []int64, at time.Time) []river.InsertManyParams {
	scans := make([]river.InsertManyParams, len(monitorIDs))
	for i, id := range monitorIDs {
		scans[i], _ = queue.Scan(queue.ScanArgs{MonitorID: id, At: at, Reason: queue.ReasonRetry, InPlaceOfBlind: true})
	}
	return scans
}
