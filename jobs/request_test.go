package jobs_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/jobs"
	"riverwatch/monitors"
	"riverwatch/monitors/monitorstest"
	"riverwatch/probe"
	"riverwatch/queue"
	"riverwatch/uptime"
)

// asking is a configuration that asks and expects something of each kind.
func asking(url string) monitors.Monitor {
	c := monitorstest.Of(url, 3600)
	c.Request = probe.Request{Headers: map[string]string{"Accept": "*/*"}, BasicUsername: "me", IPVersion: 4, HTTP2: true}
	c.Secrets = probe.Secrets{Headers: map[string]string{"X-Api-Key": "k"}, BasicPassword: "p"}
	c.Expectations = probe.Expectations{
		Regexps: []string{"a"}, MaxTotalMS: 900,
		JSON: []probe.JSONExpectation{{Path: "$.a", Op: "equals", Value: "x"}, {Path: "$.b", Op: "less", Value: 1.5}},
	}
	return c
}

// newWatching makes a process that keeps the targets it was to probe.
func newWatching(t *testing.T) (p *process, targets func() []probe.Target) {
	t.Helper()
	seen := make(chan probe.Target, 100)
	p = newProcessOn(t, dbtest.New(t), proberFunc(func(_ context.Context, target probe.Target) probe.Result {
		seen <- target
		return well()
	}), jobs.Limits{Probes: 10, ProbesPerHost: 10})
	return p, func() (targets []probe.Target) {
		for len(seen) > 0 {
			targets = append(targets, <-seen)
		}
		return targets
	}
}

func TestRequestReachesTheProbe(t *testing.T) {
	t.Parallel()
	p, targets := newWatching(t)
	c := asking(monitorstest.URL("asks"))
	monitor := p.Create(t, c)
	plain := p.Create(t, monitorstest.Of(monitorstest.URL("plain"), 3600))
	require.Equal(t, "{}", string(plain.Request))
	require.Equal(t, "{}", string(plain.Expectations))
	require.Equal(t, []string{"basic_password", "header X-Api-Key"}, monitor.SecretNames)

	p.Exec(t, "UPDATE monitors SET phase_ms = 7000")
	p.Exec(t, "UPDATE monitor_schedules SET phase_ms = 7000, from_at = $1", monitorstest.Noon)
	monitor.PhaseMS = 7000
	slot := monitor.Schedule().SlotAfter(monitorstest.Noon)
	p.SetNow(slot)
	p.round(t, roundOf(monitor, slot))
	got := targets()
	require.Len(t, got, 2)
	for _, target := range got {
		want := c.Target()
		if target.URL == plain.URL {
			want = monitorstest.Of(monitorstest.URL("plain"), 3600).Target()
		}
		require.Equal(t, want, target)
	}

	_, err := work(t, p, p.worker.ScanWorker(),
		queue.ScanArgs{MonitorID: monitor.ID, At: slot.Add(time.Millisecond), Reason: queue.ReasonAsked})
	require.NoError(t, err)
	require.Equal(t, []probe.Target{c.Target()}, targets())

	// What cannot be read is our fault, and told without what it is.
	p.Exec(t, `UPDATE monitor_secrets SET secrets = '["s3cret"]'`)
	_, err = work(t, p, p.worker.ScanWorker(),
		queue.ScanArgs{MonitorID: monitor.ID, At: slot.Add(2 * time.Millisecond), Reason: queue.ReasonAsked})
	require.ErrorContains(t, err, fmt.Sprintf("read the secrets of monitor %d", monitor.ID))
	require.NotContains(t, err.Error(), "s3cret")
	require.Empty(t, targets())
}

func TestRequestOfAChangedMonitor(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	secrets := func(t *testing.T, id int64) int {
		t.Helper()
		return p.Count(t, "monitor_secrets WHERE monitor_id = $1", id)
	}

	t.Run("AnyOfItIsAnotherVersionThatStartsAnew", func(t *testing.T) {
		t.Parallel()
		monitor := p.Create(t, asking(monitorstest.URL("versions")))
		same := p.Edit(t, monitor.ID, func(c *monitors.Monitor) { c.Request.Headers = map[string]string{"Accept": "*/*"} })
		require.Equal(t, 1, same.Version)
		for i, change := range []func(*monitors.Monitor){
			func(c *monitors.Monitor) { c.Request.Headers["Accept"] = "text/html" },
			func(c *monitors.Monitor) { c.Request.Headers = nil },
			func(c *monitors.Monitor) { c.Secrets.Headers["X-Api-Key"] = "l" },
			func(c *monitors.Monitor) { c.Secrets.BasicPassword = "" },
			func(c *monitors.Monitor) { c.Expectations.JSON[1].Value = 2.5 },
			func(c *monitors.Monitor) { c.Expectations = probe.Expectations{} },
		} {
			p.Exec(t, "UPDATE monitor_states SET status = 'up' WHERE monitor_id = $1", monitor.ID)
			require.Equal(t, i+2, p.Edit(t, monitor.ID, change).Version)
			require.Equal(t, uptime.Pending, p.State(t, monitor.ID).Status)
		}
	})

	t.Run("SecretsGoWithTheLastOfThem", func(t *testing.T) {
		t.Parallel()
		monitor := p.Create(t, asking(monitorstest.URL("secrets")))
		require.Equal(t, 1, secrets(t, monitor.ID))
		none := p.Edit(t, monitor.ID, func(c *monitors.Monitor) { c.Secrets = probe.Secrets{Headers: map[string]string{}} })
		require.Empty(t, none.SecretNames)
		require.Zero(t, secrets(t, monitor.ID))
		some := p.Edit(t, monitor.ID, func(c *monitors.Monitor) { c.Secrets.BearerToken = "t" })
		require.Equal(t, []string{monitors.SecretBearerToken}, some.SecretNames)
		require.Equal(t, 1, secrets(t, monitor.ID))
	})

	t.Run("ARevivedMonitorHasTheSecretsThatItIsGiven", func(t *testing.T) {
		t.Parallel()
		monitor := p.Create(t, asking(monitorstest.URL("revived")))
		require.NoError(t, p.StoreAt(monitorstest.Noon).Delete(t.Context(), monitor.ID))
		revived := p.Create(t, monitorstest.Of(monitorstest.URL("revived"), 3600))
		require.Equal(t, monitor.ID, revived.ID)
		require.Empty(t, revived.SecretNames)
		require.Zero(t, secrets(t, monitor.ID))
	})

	t.Run("SecretsThatAreDeletedStayDeletedThoughTheMonitorComesBack", func(t *testing.T) {
		t.Parallel()
		monitor := p.Create(t, asking(monitorstest.URL("deleted")))
		require.NoError(t, p.StoreAt(monitorstest.Noon).Delete(t.Context(), monitor.ID))
		require.Zero(t, secrets(t, monitor.ID), "nobody needs them any more")
	})
}

// What sends something over TCP may have done something there.
func TestTCPIsSafeToRepeatUnlessItSends(t *testing.T) {
	t.Parallel()
	p, targets := newWatching(t)
	silent := p.Create(t, monitorstest.Of("tcp://example.com:9000", 3600))
	c := monitorstest.Of("tcp://example.com:9001", 3600)
	c.Request.Body = "PING\r\n"
	talking := p.Create(t, c)
	for _, monitor := range []db.Monitor{silent, talking} {
		_, err := work(t, p, p.worker.ScanWorker(),
			queue.ScanArgs{MonitorID: monitor.ID, At: monitorstest.Noon.Add(time.Microsecond), Reason: queue.ReasonAsked}, rescued)
		require.NoError(t, err)
	}
	require.Empty(t, p.Scans(t, talking.ID))
	require.Equal(t, []string{"asked ok"}, p.Scans(t, silent.ID))
	got := targets()
	require.Len(t, got, 1)
	require.Equal(t, silent.URL, got[0].URL)
}

func TestRecorderKeepsTheExcerptOfABadAnswer(t *testing.T) {
	t.Parallel()
	p := newProcessOn(t, dbtest.New(t), proberFunc(func(context.Context, probe.Target) probe.Result {
		bad := well()
		bad.Outcome, bad.BodyExcerpt = uptime.StatusMismatch, "Service\nUnavailable"
		return bad
	}), jobs.Limits{Probes: 10, ProbesPerHost: 10})
	monitor := p.Create(t, monitorstest.Of(monitorstest.URL("excerpt"), 3600))
	_, err := work(t, p, p.worker.ScanWorker(),
		queue.ScanArgs{MonitorID: monitor.ID, At: monitorstest.Noon.Add(time.Microsecond), Reason: queue.ReasonAsked})
	require.NoError(t, err)
	scans, _, err := db.NewestScans(t.Context(), p.Pool, monitor.ID, monitorstest.Noon.Add(-time.Hour), monitorstest.Noon.Add(time.Hour), 10)
	require.NoError(t, err)
	require.Equal(t, "Service\nUnavailable", *scans[0].BodyExcerpt)
	require.Equal(t, 1, p.Count(t, "monitor_scans($1, $2, $3) WHERE body_excerpt IS NOT NULL",
		monitor.ID, monitorstest.Noon.Add(-time.Hour), monitorstest.Noon.Add(time.Hour)))
}
