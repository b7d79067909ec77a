package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"riverwatch/db"
	"riverwatch/egress"
	"riverwatch/jobs"
	"riverwatch/probe"
	"riverwatch/queue"
	"riverwatch/sight"
	"riverwatch/wait"
)

const (
	// A process that is told to stop is gone within 25 s. Open scans have so long to finish…
	softStop = 18 * time.Second
	// …and are then cut short, which takes up to 6 s; whatever is left, such as an answer to a slow client, has so long.
	closeTimeout = 2 * time.Second
	// Last come the traces that are not sent yet.
	flushTimeout = 900 * time.Millisecond
	// How often to look whether the database is there, with our schema.
	schemaTick = 2 * time.Second
)

// roles say what a process does.
type roles struct{ migrates, answers, scans bool }

// roleCommands give the commands that run until they are stopped.
func (p *program) roleCommands() []*cobra.Command {
	return []*cobra.Command{
		{
			Use:   "serve",
			Short: "Do everything in one process: migrate, answer the API, show River UI, and scan",
			Long: `Brings the database's schema up to date, then answers the API, shows River UI and the API's
documentation, and scans monitors, until it is stopped. More processes of any role may share
the database.`,
			Args: noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return p.serve(cmd.Context(), roles{migrates: true, answers: true, scans: true})
			},
		},
		{
			Use:   "api",
			Short: "Answer the API and show River UI, without scanning",
			Long: `Answers the API and shows River UI and the API's documentation, until it is stopped. It scans
nothing: run "riverwatch worker" for that. It waits until the database has the schema that
"riverwatch migrate up" makes; meanwhile it answers 503.`,
			Args: noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return p.serve(cmd.Context(), roles{answers: true}) },
		},
		{
			Use:   "worker",
			Short: "Scan monitors, together with any number of other workers",
			Long: `Scans monitors until it is stopped. Start as many as it takes: they share the scans among them,
and when one dies the others go on. On SIGTERM it takes nothing new, lets open scans finish,
and exits within 25 s. It waits until the database has the schema that "riverwatch migrate up"
makes.`,
			Args: noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return p.serve(cmd.Context(), roles{scans: true}) },
		},
	}
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError(fmt.Errorf("%s takes no arguments, and got %q", cmd.CommandPath(), args))
	}
	return nil
}

// serve runs a process of some roles until ctx is done. It stops in the reverse order of its start.
func (p *program) serve(ctx context.Context, roles roles) error {
	config, logger, err := p.settings()
	if err != nil {
		return err
	}
	pool, err := db.Open(ctx, config.DatabaseURL, config.DBConnections)
	if err != nil {
		return err
	}
	defer pool.Close()
	if roles.migrates {
		if err := p.bringUp(ctx, config, pool, logger); err != nil {
			return err
		}
	}
	traces, flush, err := startTraces(ctx, config, logger)
	if err != nil {
		return err
	}
	defer flush()
	inserts, err := queue.New(pool, p.quiet(config), traces)
	if err != nil {
		return err
	}

	s := &server{
		program: p, config: config, name: processName(), pool: pool, queue: inserts, logger: logger, traces: traces,
	}
	s.registry = s.newRegistry()
	own := config.Listen
	if roles.answers {
		s.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", config.Listen.String())
		if err != nil {
			return fmt.Errorf("listen on RIVERWATCH_LISTEN: %w", err)
		}
		own = netip.MustParseAddrPort(s.listener.Addr().String()) // port 0 is a free one by now
	}
	floor, err := config.newFloor(own)
	if err != nil {
		return err
	}
	if err := floor.look(ctx); err != nil {
		return err
	}
	floor.answers, s.policy = roles.answers, floor.policy()
	if s.sentinels, err = config.sentinels(s.policy); err != nil {
		return usageError(fmt.Errorf("these settings are wrong:\n%w", err))
	}

	defer wait.Beside(ctx, sight.NewClock(s.registry, pool, s.name, time.Now, logger).Run)()
	defer wait.Beside(ctx, sight.NewWatch(pool, s.name, logger).Run)()
	defer wait.Beside(ctx, func(ctx context.Context) { s.renew(ctx, floor) })()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.tellMetrics(ctx) })
	if roles.answers {
		group.Go(func() error { return s.answer(ctx) })
	}
	if roles.scans {
		if p.getenv("GOMEMLIMIT") == "" {
			debug.SetMemoryLimit(config.memoryLimit())
		}
		group.Go(func() error { return s.scan(ctx) })
	}
	return group.Wait()
}

// server is what the roles of a process share.
type server struct {
	*program

	config    config
	name      string // of this process
	policy    egress.Policy
	sentinels []string
	pool      *pgxpool.Pool
	queue     queue.Queue
	logger    *slog.Logger
	listener  net.Listener // nil if it answers nothing
	registry  *prometheus.Registry
	traces    trace.TracerProvider // nil: none
}

// renew looks up the addresses of this installation, again and again until ctx is done.
func (s *server) renew(ctx context.Context, floor *floor) {
	wait.Repeat(ctx, floorTick, func(ctx context.Context) error { return floor.share(ctx, s.pool) }, func(err error) {
		s.logger.WarnContext(ctx, "addresses that no monitor may have may be missing", slog.Any("error", err))
	})
}

// answer serves HTTP until ctx is done, and then lets open requests finish. It prints where to look.
func (s *server) answer(ctx context.Context) error {
	handler, err := s.handler(ctx)
	if err != nil {
		return err
	}
	httpServer := s.httpServer(handler)
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err := httpServer.Shutdown(stopCtx)
		if err != nil { // an export, say, which would hold on to the database
			err = errors.Join(err, httpServer.Close())
		}
		stopped <- err
	}()

	address := reachable(netip.MustParseAddrPort(s.listener.Addr().String()))
	s.logger.InfoContext(ctx, "listening", slog.String("on", "http://"+address.String()))
	if !s.config.Listen.Addr().IsLoopback() {
		s.logger.WarnContext(ctx, "the API has no access control, and not this machine alone reaches it: whoever does may read and "+
			"change all monitors", slog.String("listen", s.config.Listen.String()))
	}
	riverUI := ""
	if s.config.RiverUI != riverUIOff {
		riverUI = fmt.Sprintf("\n  http://%s/river/            River UI: every job, with its args and its output", address)
	}
	fmt.Fprintf(s.stdout, `
Riverwatch %s is up. Worth opening:
  http://%[2]s/docs/             the API, to read and to try%[3]s
  http://%[2]s/api/v1/monitors   your monitors

`, version, address, riverUI)
	if err := httpServer.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	if err := <-stopped; err != nil {
		s.logger.WarnContext(ctx, "requests were still open when we stopped", slog.Any("error", err))
	}
	return nil
}

// httpServer makes the server of a handler, which waits for nobody for long.
func (s *server) httpServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug), // strangers' broken connections
	}
}

// reachable gives an address at which a listener is reached from its own machine.
func reachable(listen netip.AddrPort) netip.AddrPort {
	if !listen.Addr().IsUnspecified() {
		return listen
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), listen.Port())
}

// scan waits until the database is there, with a schema that this program can work on. Then it works River's jobs until
// ctx is done, and finishes what is open.
func (s *server) scan(ctx context.Context) error {
	for tries := 0; ; tries++ {
		versions, err := db.SchemaVersions(ctx, s.pool)
		switch {
		case err == nil && versions.Current():
			return s.work(ctx)
		case errors.Is(err, db.ErrEarlierBuild): // no migration makes that good
			return err
		}
		if tries%15 == 0 { // every half minute
			s.logger.WarnContext(ctx, "waiting for the database's schema: run riverwatch migrate up",
				slog.Int("version", versions.Riverwatch), slog.Int("wanted", versions.RiverwatchWanted), slog.Any("error", err))
		}
		if !wait.For(ctx, schemaTick) {
			return nil
		}
	}
}

// heapBallast is what a worker allocates and never touches, so that it takes none of the machine's memory. Garbage is collected
// when the heap has doubled, and of an ordinary worker only some 10 MiB live: to collect so often was a seventh of its CPU.
// With GOGC the heap would grow by a multiple of what lives, and by too much when that is much.
const heapBallast = 32 << 20

// work works River's jobs until ctx is done.
func (s *server) work(ctx context.Context) error {
	ballast := make([]byte, heapBallast)
	defer runtime.KeepAlive(ballast)
	worker, err := jobs.NewWorker(jobs.Config{
		Pool: s.pool, Name: s.name, Prober: probe.NewProber(s.config.probeSettings(s.policy), s.logger),
		Limits: jobs.Limits{
			Probes: s.config.Probes, ProbesPerHost: s.config.ProbesPerHost, Results: s.config.RecorderQueue,
			Retries: s.config.Retries,
		},
		Keep: s.config.keep(), Sentinels: s.sentinels, SoftStop: softStop, Now: time.Now, Logger: s.logger, Quiet: s.quiet(s.config),
		Registry: s.registry, Traces: s.traces,
	})
	if err != nil {
		return err
	}
	return worker.Run(ctx)
}

// processName tells this process from the others, in the log and in River UI; a pod that restarts is another one. It is
// short, as each row of the log has it: the end of a pod's name, which is its own, and that of its replica set.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "process"
	}
	host = strings.ToLower(host)
	return fmt.Sprintf("%s-%s", host[max(0, len(host)-16):], strings.ToLower(rand.Text()[:4]))
}
