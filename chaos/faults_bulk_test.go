//go:build linux

package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// changeInBulk lets two clients change the same monitors, each in an order of its own, while their rounds run: what they are
// asked, how often, and whether at all.
func changeInBulk(t *testing.T, w *world) {
	t.Helper()
	size := full(300, 1000)
	var created struct{ Data []struct{ ID int64 } }
	status, err := w.bulk(t.Context(), w.bulkOf(size, nil), &created)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	for _, one := range created.Data {
		w.mu.Lock() // the client creates others meanwhile
		w.created = append(w.created, one.ID)
		w.mu.Unlock()
	}
	deadlocks := func() string {
		return w.ask(t, "SELECT deadlocks::text FROM pg_stat_database WHERE datname = current_database()", nil)[0]
	}
	before := deadlocks()

	ctx, cancel := context.WithTimeout(t.Context(), full(10*time.Second, time.Minute))
	defer cancel()
	sampling, stopSampling := context.WithCancel(t.Context())
	defer stopSampling()
	waited := make(chan time.Duration, 1)
	go func() {
		// Statements of the recorder. Bulks lock states as well, and are not to wait for long either.
		waited <- w.sampleLocks(sampling, "a.query ~ 'CopyScans|InsertScans|copy .*monitor_log|MonitorStates|InsertCertificates'")
	}()
	var group errgroup.Group
	statuses := [2]map[int]int{{}, {}}
	for client := range statuses {
		random := rand.New(rand.NewPCG(w.random.Uint64(), 0))
		group.Go(func() error {
			for ctx.Err() == nil {
				status, err := w.bulk(t.Context(), w.bulkOf(size, random), nil)
				if err != nil || status != http.StatusOK && status != http.StatusServiceUnavailable { // a busy machine
					return fmt.Errorf("bulk: status %d: %w", status, err)
				}
				statuses[client][status]++
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	stopSampling()
	longest := <-waited
	t.Logf("bulks of %d monitors by their status: %v; the longest wait of a recorder: %s", size, statuses, longest)
	require.Positive(t, statuses[0][http.StatusOK])
	require.Positive(t, statuses[1][http.StatusOK])
	if *longRun { // a busy machine may stand still for longer
		require.Less(t, longest, time.Second)
	}
	status, err = w.bulk(t.Context(), w.bulkOf(size, nil), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	time.Sleep(1100 * time.Millisecond) // sessions tell of their statistics once a second
	require.Equal(t, before, deadlocks())
}

// bulkOf gives monitors by their keys; with random in any order, and each in one of a few ways.
func (w *world) bulkOf(size int, random *rand.Rand) (configs []map[string]any) {
	for n := range size {
		config := w.monitorConfig(fmt.Sprintf("/bulk/%d", n))
		config["key"], config["interval_seconds"] = fmt.Sprintf("bulk/%d", n), 60
		if random != nil {
			config["max_redirects"], config["interval_seconds"] = random.IntN(5), 30+30*random.IntN(2)
			config["enabled"] = random.IntN(10) > 0
		}
		configs = append(configs, config)
	}
	if random != nil {
		random.Shuffle(size, func(i, j int) { configs[i], configs[j] = configs[j], configs[i] })
	}
	return configs
}

func (w *world) bulk(ctx context.Context, configs []map[string]any, answer any) (status int, err error) {
	return w.post(ctx, "/api/v1/monitors/bulk?if_exists=update", map[string]any{"monitors": configs}, answer)
}
