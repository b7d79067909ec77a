//go:build linux

package chaos_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"riverwatch/db/dbtest"
)

const (
	interval = 10 // seconds: the shortest there is
	// Some monitors in each second, so that there is always one whose scan a fault meets.
	defaultMonitors = 40
)

// setup says what a fault's world is made of, and what the fault may do to it.
type setup struct {
	monitors   int  // 0: defaultMonitors
	workers    int  // 0: 2
	ownCluster bool // a server of its own, which the fault may hurt
	alone      bool // in the long run it asks how fast, or is a load that would starve others: nothing runs beside it
	noClient   bool // nobody creates monitors meanwhile
	workerEnv  []string
	prepare    func(t *testing.T, w *world) // what must be there first
	chunks     time.Duration                // of the log; 0: as long as the program has them
	config     func(n int) map[string]any   // of a monitor, besides what all have

	check func(t *testing.T, w *world) // in place of all checks; nil: these

	gaps     []string      // the reasons that gaps may have; none: there may be no gap
	late     time.Duration // how late a scan may be; 0: 6 s, and in the short run, which asserts no times, what none can be
	sick     bool          // the target may be found failing
	healed   time.Duration // when all must be scanned again, in the long run; 0: some time
	p99      time.Duration // how late one scan in a hundred may be, in the long run; 0: as late as all
	clockMay bool          // database and workers have different clocks
	tendMay  bool          // tend may find something
}

// world is the program with all that it works with.
type world struct {
	setup
	random   *rand.Rand
	program  string
	cluster  *cluster // nil unless it is the fault's own
	direct   *pgxpool.Pool
	proxy    *proxy
	target   *target
	api      *process
	workers  []*process
	inside   []func() // stop the workers that are in this process
	address  string   // of the API
	host     string   // where target and proxy listen
	link     string   // the network device of host, where it is the fault's own
	clock    string   // the file that says by how much the database's clock is wrong
	began    time.Time
	monitors []int64 // acknowledged before the fault
	// When the fault hurt what all scans need, so that they may be late. Zero: it did not.
	hurtFrom, hurtUntil time.Time
	calm                time.Time // from when on all is to be well; zero: when the fault has returned
	stopped             time.Time // when the workers were told to stop

	watching sync.WaitGroup
	unwatch  context.CancelFunc
	mu       sync.Mutex
	created  []int64         // every monitor that was acknowledged
	seen     map[seenRow]int // rows of the log that were read, ever
}

// seenRow is a row of the log that somebody has read: it is never to go or change.
type seenRow struct {
	slot      time.Time
	monitorID int64
	outcome   string
}

func newWorld(t *testing.T, s setup, random *rand.Rand) *world {
	t.Helper()
	w := &world{setup: s, random: random, seen: map[seenRow]int{}, began: time.Now(), host: "127.0.0.1"}
	if w.setup.monitors == 0 {
		w.setup.monitors = defaultMonitors
	}
	if w.setup.workers == 0 {
		w.setup.workers = 2
	}
	var err error
	w.program, err = riverwatch()
	require.NoError(t, err)
	if s.prepare != nil {
		s.prepare(t, w)
	}
	w.target = newTarget(t, w.host)
	w.openDatabase(t)
	if s.chunks > 0 { // before there is a row: a chunk keeps its length
		w.exec(t, "SELECT set_chunk_time_interval('monitor_log', make_interval(secs => $1))", s.chunks.Seconds())
	}
	w.api = w.startAPI(t)
	for range w.setup.workers {
		w.workers = append(w.workers, w.startWorker(t))
	}
	w.createMonitors(t)
	w.watch(t)
	t.Logf("the world is there after %s", time.Since(w.began).Round(time.Millisecond))
	w.awaitScans(t, w.began, len(w.monitors)/4, 30*time.Second)
	return w
}

// openDatabase makes the database: on the tests' common server, or on one that the fault may hurt.
func (w *world) openDatabase(t *testing.T) {
	t.Helper()
	if !w.ownCluster {
		databaseURL := dbtest.URL(t)
		w.proxy = newProxy(t, w.host, databaseURL)
		w.direct = dbtest.Open(t, databaseURL)
		return
	}
	if w.cluster == nil {
		w.cluster = newCluster(t)
	}
	w.proxy = newProxy(t, w.host, w.cluster.url)
	w.direct = dbtest.Open(t, w.cluster.url)
	w.run(t, "migrate", "up")
}

// env is that of every process, with settings of one's own.
func (w *world) env(settings ...string) []string {
	return append([]string{
		"DATABASE_URL=" + w.proxy.url,
		"RIVERWATCH_LISTEN=127.0.0.1:0",
		"RIVERWATCH_METRICS_LISTEN=127.0.0.1:0",
		"RIVERWATCH_ALLOW_CIDRS=127.0.0.0/8,10.213.0.0/16",
		"RIVERWATCH_DB_CONNECTIONS=5",
	}, settings...)
}

// run runs a command to its end.
func (w *world) run(t *testing.T, args ...string) {
	t.Helper()
	p := start(t, w.program, w.env(), nil, args...)
	<-p.ended
	require.NoError(t, p.err, p.stderr)
}

func (w *world) startAPI(t *testing.T) *process {
	t.Helper()
	p := start(t, w.program, w.env(), nil, "api")
	w.address = p.stdout.await(t, regexp.MustCompile(`(http://\S+)/docs/`))
	return p
}

func (w *world) startWorker(t *testing.T, settings ...string) *process {
	t.Helper()
	return w.startWorkerUnder(t, nil, settings...)
}

// startWorkerUnder starts a worker under another program, that limits it or gives it another network.
func (w *world) startWorkerUnder(t *testing.T, prefix []string, settings ...string) *process {
	t.Helper()
	p := start(t, w.program, w.env(append(w.workerEnv, settings...)...), prefix, "worker")
	p.name(t)
	return p
}

// createMonitors creates the monitors that are there before the fault.
func (w *world) createMonitors(t *testing.T) {
	t.Helper()
	var configs []map[string]any
	for n := range w.setup.monitors {
		config := w.monitorConfig(fmt.Sprintf("/first/%d", n))
		if w.config != nil {
			maps.Copy(config, w.config(n))
		}
		configs = append(configs, config)
	}
	var answer struct{ Data []struct{ ID int64 } }
	require.Eventually(t, func() bool { // a busy machine may take longer than the API waits for its database
		status, err := w.post(t.Context(), "/api/v1/monitors/bulk", map[string]any{"monitors": configs}, &answer)
		return err == nil && status == http.StatusOK
	}, 30*time.Second, time.Second, "the monitors cannot be created")
	for _, created := range answer.Data {
		w.monitors = append(w.monitors, created.ID)
	}
	w.created = append(w.created, w.monitors...)
}

// monitorConfig is that of a monitor of the target, which a single failure takes down.
func (w *world) monitorConfig(path string) map[string]any {
	return map[string]any{
		"url": w.target.URL + path, "interval_seconds": interval, "failure_threshold": 1, "success_threshold": 1,
	}
}

// post asks the API for something, and decodes what it answers. An error means that there was no answer.
func (w *world) post(ctx context.Context, path string, body, answer any) (status int, err error) {
	return w.request(ctx, http.MethodPost, path, body, answer)
}

func (w *world) request(ctx context.Context, method, path string, body, answer any) (status int, err error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, w.address+path, bytes.NewReader(encoded))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := new(http.Client).Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(response.Body)
	if err == nil && answer != nil && response.StatusCode < 300 {
		err = json.Unmarshal(text, answer)
	}
	return response.StatusCode, err
}

// watch creates monitors, as a client does, and reads the log, as a reader does, until the world stops.
func (w *world) watch(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w.unwatch = cancel
	if !w.noClient && w.api != nil {
		w.watching.Go(func() { w.createNow(ctx) })
	}
	w.watching.Go(func() { w.readNow(ctx) })
	t.Cleanup(func() {
		cancel()
		w.watching.Wait()
	})
}

// createNow creates a monitor each second, and notes those that the API acknowledged.
func (w *world) createNow(ctx context.Context) {
	for n := 0; sleep(ctx, time.Second); n++ {
		var monitor struct{ ID int64 }
		status, err := w.post(ctx, "/api/v1/monitors", w.monitorConfig(fmt.Sprintf("/later/%d", n)), &monitor)
		if err == nil && status == http.StatusCreated {
			w.mu.Lock()
			w.created = append(w.created, monitor.ID)
			w.mu.Unlock()
		}
	}
}

// readNow reads what is new in the log, again and again.
func (w *world) readNow(ctx context.Context) {
	for sleep(ctx, 200*time.Millisecond) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		rows, err := w.direct.Query(ctx,
			"SELECT slot, monitor_id, outcome FROM monitor_log WHERE slot > $1", time.Now().Add(-time.Minute))
		if err == nil {
			for rows.Next() {
				var row seenRow
				if rows.Scan(&row.slot, &row.monitorID, &row.outcome) == nil {
					w.mu.Lock()
					w.seen[row]++
					w.mu.Unlock()
				}
			}
		}
		cancel()
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// hurt breaks something that all scans need, for as long as f takes.
func (w *world) hurt(f func()) {
	if w.hurtFrom.IsZero() {
		w.hurtFrom = time.Now()
	}
	f()
	w.hurtUntil, w.calm = time.Now(), time.Now()
}

// awaitScans waits until so many of the first monitors have a good scan of a slot since an instant.
func (w *world) awaitScans(t *testing.T, since time.Time, count int, limit time.Duration) {
	t.Helper()
	var found int
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := w.direct.QueryRow(ctx, `SELECT count(DISTINCT monitor_id) FROM monitor_log
			WHERE slot >= $1 AND outcome IN ('ok', 'ok_truncated') AND monitor_id = ANY($2)`, since, w.monitors).Scan(&found)
		return err == nil && found >= count
	}, limit, 100*time.Millisecond, "of %d monitors too few have a good scan since %s", count, since)
}

func (w *world) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	_, err := w.direct.Exec(t.Context(), sql, args...)
	require.NoError(t, err, sql)
}

// anyWorker gives one that runs.
func (w *world) anyWorker(t *testing.T) *process {
	t.Helper()
	for _, i := range w.random.Perm(len(w.workers)) {
		if w.workers[i].alive() {
			return w.workers[i]
		}
	}
	t.Fatal("no worker runs")
	return nil
}

// between gives a duration of at least low and less than high.
func (w *world) between(low, high time.Duration) time.Duration {
	return low + time.Duration(w.random.Int64N(int64(high-low)))
}

func itoa(n int) string { return strconv.Itoa(n) }

func atoi(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}
