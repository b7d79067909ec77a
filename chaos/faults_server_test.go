//go:build linux

package chaos_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// Faults of what the database server itself needs: room on its disk, connections, a clock.
func serverFaults() []fault {
	own := setup{ownCluster: true, gaps: lostWithTheDatabase, late: lateAgain}
	full, clock := own, own
	full.prepare, clock.prepare = onSmallDisk, onOwnClock
	clock.clockMay, clock.tendMay = true, true // it is tend that finds the chains that are an hour ahead
	return []fault{
		{"F21", "the disk is full", false, full, fillDisk},
		{"F26", "connections are used up", false, own, useUpConnections},
		{"F30", "the database's clock jumps by an hour", false, clock, jumpClock},
	}
}

// onSmallDisk gives the cluster a disk of its own, of 300 MB, in a mount namespace that ends with it.
func onSmallDisk(t *testing.T, w *world) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount a small disk")
	}
	dir := reachableDir(t)
	bin, err := exec.Command(postgresScript(t), "fetch").Output()
	require.NoError(t, err)
	w.cluster = newCluster(t, "unshare", "-m", "sh", "-c", `
		mount -t tmpfs -o size=300m,mode=755 tmpfs "$0" || exit
		bundle=${1%/usr/lib/postgresql/*} # the programs stay where they are, if the script brought them
		[ "$bundle" = "$1" ] || ln -s "$bundle" "$0/"
		shift
		RIVERWATCH_CACHE="$0" exec "$@"`, dir, string(bin))
	w.cluster.set(t, "max_wal_size", "48MB")
	w.cluster.set(t, "min_wal_size", "32MB")
}

// fillDisk leaves no room for as much as a page. What may be read can be read, but for moments: Postgres has its WAL on the
// same disk here, and starts again when that finds no room. (There is no warning of a full disk, and workers go on to take
// rounds, as they do whenever the database refuses: their results wait, and what does not fit becomes a gap.)
func fillDisk(t *testing.T, w *world) {
	t.Helper()
	filler := w.cluster.path("filler")
	var refused, taken int
	w.hurt(func() {
		file, err := os.Create(filler)
		require.NoError(t, err)
		t.Cleanup(func() { _ = os.Remove(filler) })
		block := make([]byte, 64<<10)
		for err == nil {
			_, err = file.Write(block)
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.NoError(t, file.Close())
		for until := time.Now().Add(30 * time.Second); time.Now().Before(until); time.Sleep(300 * time.Millisecond) {
			status, err := w.post(t.Context(), "/api/v1/monitors", w.monitorConfig("/full/"+time.Now().String()[11:23]), nil)
			require.NoError(t, err)
			switch status {
			case http.StatusCreated:
				taken++
			case http.StatusServiceUnavailable:
				refused++
			default:
				t.Errorf("the API answers %d when the disk is full", status)
			}
			status, err = w.request(t.Context(), http.MethodGet, "/api/v1/monitors?limit=5", nil, nil)
			require.NoError(t, err)
			if len(processesIn(w.cluster.dir)) > 0 && status != http.StatusOK && status != http.StatusServiceUnavailable {
				t.Errorf("the API answers %d to a read when the disk is full", status)
			}
		}
		require.NoError(t, os.Remove(filler))
	})
	t.Logf("%d monitors were taken, %d refused", taken, refused)
	require.NotZero(t, refused, "the fault is not felt")
	require.NotEmpty(t, processesIn(w.cluster.dir), "Postgres does not survive that, and must be started again")
}

// useUpConnections lets others take whatever connection is free on a server that has few. Who has one goes on, and who has none
// waits; an API without one says so, and that it is not ready.
func useUpConnections(t *testing.T, w *world) {
	t.Helper()
	w.cluster.set(t, "max_connections", "20")
	w.hurt(func() {
		w.cluster.stop(t, syscall.SIGINT)
		w.cluster.start(t)
		ctx, cancel := context.WithTimeout(t.Context(), full(8*time.Second, time.Minute))
		defer cancel()
		var taking sync.WaitGroup
		for range 18 {
			taking.Go(func() { take(ctx, w.cluster.url) })
		}
		said := map[string]int{}
		for n := 0; ctx.Err() == nil; n++ {
			from := time.Now()
			status, err := w.post(t.Context(), "/api/v1/monitors", w.monitorConfig("/few/"+itoa(n)), nil)
			require.NoError(t, err)
			require.Contains(t, []int{http.StatusCreated, http.StatusServiceUnavailable}, status)
			require.Less(t, time.Since(from), apiAnswers)
			ready, err := w.request(t.Context(), http.MethodGet, "/readyz", nil, nil)
			require.NoError(t, err)
			said[fmt.Sprint(status, " ", ready)]++
			time.Sleep(500 * time.Millisecond)
		}
		taking.Wait()
		t.Logf("the API and its /readyz answered %v", said)
		require.LessOrEqual(t, said["503 200"], said["201 200"], "an API that cannot work says that it is ready")
		require.True(t, slices.ContainsFunc(w.processes(), func(p *process) bool {
			return strings.Contains(p.stderr.String(), "53300") // too many connections
		}), "the fault is not felt")
	})
	w.cluster.set(t, "max_connections", "100")
	w.hurt(func() {
		w.cluster.stop(t, syscall.SIGINT)
		w.cluster.start(t)
	})
}

// take takes a connection as soon as there is one, and holds it until ctx is done.
func take(ctx context.Context, url string) {
	for sleep(ctx, 20*time.Millisecond) {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			continue
		}
		<-ctx.Done()
		closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		_ = conn.Close(closeCtx)
		cancel()
	}
}

// onOwnClock gives the cluster a clock that can be set.
func onOwnClock(t *testing.T, w *world) {
	t.Helper()
	dir := reachableDir(t)
	library, offset := filepath.Join(dir, "clock.so"), filepath.Join(dir, "offset")
	out, err := exec.Command("cc", "-shared", "-fPIC", "-O2", `-DOFFSET_FILE="`+offset+`"`, "-o", library,
		"testdata/clock.c").CombinedOutput()
	if err != nil {
		t.Skipf("needs a C compiler, to make a clock that is wrong: %s", out)
	}
	w.clock = offset
	w.setClock(t, 0)
	w.cluster = newCluster(t, "env", "LD_PRELOAD="+library)
}

// setClock sets by how much the database's clock is wrong.
func (w *world) setClock(t *testing.T, by time.Duration) {
	t.Helper()
	file, err := os.OpenFile(w.clock, os.O_CREATE|os.O_RDWR, 0o644)
	require.NoError(t, err)
	_, err = file.Write(binary.NativeEndian.AppendUint64(nil, uint64(by/time.Second)))
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

// jumpClock lets the database's clock jump an hour ahead, and back. Nothing is scanned twice, before its time, or in a
// burst.
func jumpClock(t *testing.T, w *world) {
	t.Helper()
	before := one[time.Time](t, w.direct, "SELECT clock_timestamp()")
	from := time.Now()
	w.setClock(t, time.Hour)
	after := one[time.Time](t, w.direct, "SELECT clock_timestamp()")
	require.Greater(t, after.Sub(before), 59*time.Minute, "the clock cannot be set")
	time.Sleep(25 * time.Second)
	warned := "SELECT unnest(open_processes) FROM warnings WHERE kind = 'clock_skew' AND closed_at IS NULL"
	require.Len(t, w.ask(t, warned, nil), len(w.processes()), "every process tells that its clock and the database's differ")
	w.setClock(t, 0)
	perPath := map[string][]string{}
	for _, h := range w.target.hitsSince(from) {
		perPath[h.path] = append(perPath[h.path], h.at.Sub(from).Round(time.Millisecond).String())
	}
	for path, at := range perPath {
		// 25 s have three slots of ten seconds. The chain of rounds goes on by the database's clock, tend finds none by ours and
		// starts one, and each wakes with a look of its own: what no storm is.
		if len(at) > 7 {
			t.Errorf("%s is requested %d times in 25 s: after %v", path, len(at), at)
			break
		}
	}
	w.calm = time.Now().Add(time.Minute) // tend comes each minute
}
