//go:build linux

package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"riverwatch/uptime"
)

// noteVersions notes each version of each monitor, and each status that is written, with what its monitor was then.
const noteVersions = `
	CREATE TABLE versions (monitor_id bigint, version integer, expects text, deleted boolean, at timestamptz);
	INSERT INTO versions SELECT id, version, accepted_statuses[1], false, clock_timestamp() FROM monitors;
	CREATE FUNCTION note_version() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO versions
		VALUES (NEW.id, NEW.version, NEW.accepted_statuses[1], NEW.deleted_at IS NOT NULL, clock_timestamp());
		RETURN NULL;
	END $$;
	CREATE TRIGGER note_version AFTER INSERT OR UPDATE ON monitors FOR EACH ROW EXECUTE FUNCTION note_version();

	CREATE TABLE verdicts (monitor_id bigint, status text, version integer, expects text, deleted boolean, at timestamptz);
	CREATE FUNCTION note_verdict() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO verdicts
		SELECT id, NEW.status, version, accepted_statuses[1], deleted_at IS NOT NULL, clock_timestamp()
		FROM monitors WHERE id = NEW.monitor_id;
		RETURN NULL;
	END $$;
	CREATE TRIGGER note_verdict AFTER INSERT OR UPDATE ON monitor_states FOR EACH ROW EXECUTE FUNCTION note_verdict()`

// editAll edits monitors at random while their scans run. The target falls sick before the first edit, and answers 503 from
// then on, so that each version of a monitor has one right outcome: it is up if it expects that, and down if it does not.
// (A hundred edits a second instead of a thousand: half of them ask for a scan, which takes half a second.)
func editAll(t *testing.T, w *world) {
	t.Helper()
	w.exec(t, noteVersions)
	w.target.answers(fallSick(500 * time.Millisecond))
	sickFrom := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), full(10*time.Second, time.Minute))
	defer cancel()
	edited := w.editMany(ctx, t)

	w.requireNothingStale(t, sickFrom, time.Now())
	for i, m := range edited {
		require.Equal(t, m.deleted, one[bool](t, w.direct, "SELECT deleted_at IS NOT NULL FROM monitors WHERE id = $1", m.id))
		m.finish(t, w, i%10 == 0)
	}
	time.Sleep(2 * time.Second) // rounds that read a monitor before its last edit expect 503 still
	w.target.answers(answerAtOnce)
}

// fallSick answers 503, after a while.
func fallSick(after time.Duration) answer {
	return func(w http.ResponseWriter, r *http.Request) bool {
		select {
		case <-time.After(after):
		case <-r.Context().Done():
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return false
	}
}

// edited is a monitor that one goroutine alone edits, so that it knows what is there.
type edited struct {
	id      int64
	url     string
	deleted bool
}

// editMany edits half of the monitors at random and the others before their slots, until ctx is done, and gives what they
// are then.
func (w *world) editMany(ctx context.Context, t *testing.T) (all []*edited) {
	t.Helper()
	for n, id := range w.monitors {
		all = append(all, &edited{id: id, url: fmt.Sprintf("%s/first/%d", w.target.URL, n)})
	}
	var group errgroup.Group
	var mu sync.Mutex
	counts := map[string]int{}
	const editors = 4
	any, aimed := all[:len(all)/2], all[len(all)/2:]
	for _, m := range aimed {
		group.Go(func() error { return w.editBeforeSlots(context.WithoutCancel(ctx), m, ctx.Done()) })
	}
	for n := range editors {
		random := rand.New(rand.NewPCG(w.random.Uint64(), 0))
		group.Go(func() error {
			for sleep(ctx, 20*time.Millisecond) {
				m, e := any[n+editors*random.IntN(len(any)/editors)], edits[random.IntN(len(edits))]
				done, err := w.edit(context.WithoutCancel(ctx), m, e)
				if err != nil {
					return err
				}
				mu.Lock()
				counts[done]++
				mu.Unlock()
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	t.Logf("%v", counts)
	return all
}

// editBeforeSlots changes what a monitor expects when its round has just read it: the slot is then after the edit, and the
// scan before it. Nothing but its version tells that it is stale.
func (w *world) editBeforeSlots(ctx context.Context, m *edited, done <-chan struct{}) error {
	for n := 0; ; n++ {
		slot := uptime.ScheduleOf(m.id, interval).SlotAfter(time.Now().Add(100 * time.Millisecond))
		select {
		case <-done:
			return nil
		case <-time.After(time.Until(slot.Add(-50 * time.Millisecond))):
		}
		if _, err := w.edit(ctx, m, edits[2+2*(n%2)]); err != nil {
			return err
		}
	}
}

// An edit of a monitor. Whoever creates one that is deleted revives it, with its history.
type edit struct {
	method, path string
	body         map[string]any
	status       int
}

func expect(status string) edit {
	return edit{http.MethodPatch, "", map[string]any{"accepted_statuses": []string{status}}, http.StatusOK}
}

var edits = []edit{
	{http.MethodPatch, "", map[string]any{"interval_seconds": 11}, http.StatusOK},
	{http.MethodPatch, "", map[string]any{"interval_seconds": 10}, http.StatusOK},
	expect("503"),
	expect("503"),
	expect("200"),
	expect("200"),
	{http.MethodPost, "/pause", nil, http.StatusOK},
	{http.MethodPost, "/resume", nil, http.StatusOK},
	{http.MethodPost, "/resume", nil, http.StatusOK},
	{http.MethodDelete, "", nil, http.StatusNoContent},
}

// edit makes one edit of a monitor, or, if it is deleted, sees that there is none, and revives it. It says what came of it.
// A busy machine may take longer than the API waits for its database; then the monitor is looked at.
func (w *world) edit(ctx context.Context, m *edited, e edit) (done string, err error) {
	path := fmt.Sprintf("/api/v1/monitors/%d", m.id)
	want := e.status
	if m.deleted {
		want = http.StatusNotFound
	}
	status, err := w.request(ctx, e.method, path+e.path, e.body, nil)
	switch {
	case err != nil:
		return "", err
	case status == http.StatusServiceUnavailable:
		return "503", w.look(ctx, m)
	case status != want:
		return "", fmt.Errorf("%s %s%s: status %d instead of %d", e.method, path, e.path, status, want)
	case !m.deleted:
		m.deleted = e.method == http.MethodDelete
		return fmt.Sprint(e.method, e.path, e.body), nil
	}
	var revived struct{ ID int64 }
	config := w.monitorConfig("")
	config["url"] = m.url
	status, err = w.post(ctx, "/api/v1/monitors", config, &revived)
	switch {
	case err != nil:
		return "", err
	case status == http.StatusServiceUnavailable:
		return "503", w.look(ctx, m)
	case status != http.StatusCreated || revived.ID != m.id:
		return "", fmt.Errorf("monitor %d is revived as %d, with status %d", m.id, revived.ID, status)
	}
	m.deleted = false
	return "revived", nil
}

// look asks the API whether a monitor is there.
func (w *world) look(ctx context.Context, m *edited) error {
	for {
		status, err := w.request(ctx, http.MethodGet, fmt.Sprintf("/api/v1/monitors/%d", m.id), nil, nil)
		switch {
		case err != nil:
			return err
		case status == http.StatusOK || status == http.StatusNotFound:
			m.deleted = status == http.StatusNotFound
			return nil
		}
		sleep(ctx, 100*time.Millisecond)
	}
}

// finish leaves a monitor deleted, or active and expecting what the target answers when it is well.
func (m *edited) finish(t *testing.T, w *world, deleted bool) {
	t.Helper()
	var last []edit
	switch {
	case deleted && !m.deleted:
		last = edits[len(edits)-1:]
	case deleted:
		return
	case m.deleted:
		last = []edit{edits[0]} // is not there, and so it is revived
	default:
		last = []edit{expect("200"), edits[7]}
	}
	for _, e := range last {
		require.Eventually(t, func() bool {
			done, err := w.edit(t.Context(), m, e)
			require.NoError(t, err)
			return done != "503"
		}, 30*time.Second, 100*time.Millisecond)
	}
}

// requireNothingStale holds each status and each row against the version that it was of.
func (w *world) requireNothingStale(t *testing.T, from, until time.Time) {
	t.Helper()
	require.Empty(t, w.ask(t, `SELECT 'monitor ' || monitor_id || ' is ' || status || ' at version ' || version FROM verdicts
		WHERE deleted AND status <> 'paused' AND at < @until`, pgx.NamedArgs{"until": until}), "a deleted monitor is resurrected")
	require.Empty(t, w.ask(t, `SELECT 'monitor ' || monitor_id || ' is ' || status || ' at version ' || version || ' that expects ' || expects
		FROM verdicts
		WHERE version > 1 AND at < @until AND (status = 'up' AND expects = '200' OR status = 'down' AND expects = '503')`,
		pgx.NamedArgs{"until": until}), "a scan of an older version changes where its monitor stands")
	require.Empty(t, w.ask(t, `SELECT 'monitor ' || l.monitor_id || ' at ' || l.slot || ': ' || l.outcome || ' by a version that expects ' || expects
		FROM monitor_log AS l
		JOIN versions AS v ON v.monitor_id = l.monitor_id AND v.version = l.monitor_version
		WHERE
			l.slot + make_interval(secs => l.late_ms / 1e3) > @from
			AND l.slot + make_interval(secs => l.late_ms / 1e3 + l.total_us / 1e6) < @until
			AND l.outcome <> CASE v.expects WHEN '503' THEN 'ok' ELSE 'status_mismatch' END AND l.outcome <> 'inconclusive'`,
		pgx.NamedArgs{"from": from, "until": until}), "a scan is of another version than its row says")

	stale := one[int](t, w.direct, `SELECT count(*)::integer FROM monitor_log AS l
		JOIN versions AS v ON v.monitor_id = l.monitor_id AND v.version = l.monitor_version + 1
		WHERE v.at < l.slot + make_interval(secs => l.late_ms / 1e3 + l.total_us / 1e6)`)
	late := one[int](t, w.direct, `SELECT count(*)::integer FROM monitor_log AS l
		JOIN versions AS v ON v.monitor_id = l.monitor_id AND v.version = l.monitor_version + 1 AND v.deleted
		WHERE v.at < l.slot + make_interval(secs => l.late_ms / 1e3 + l.total_us / 1e6)`)
	t.Logf("%d scans ended after an edit of their monitor, %d of them after its deletion", stale, late)
	require.NotZero(t, late, "the fault is not felt")
}
