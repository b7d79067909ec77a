package jobs_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/jobs"
	"riverwatch/probe"
	"riverwatch/uptime"
)

// asking is a configuration that asks and expects something of each kind.
func asking(url string) jobs.MonitorConfig {
	c := config(url, 3600)
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
	c := asking(url("asks"))
	monitor := p.create(t, c)
	plain := p.create(t, config(url("plain"), 3600))
	require.Equal(t, "{}", string(plain.Request))
	require.Equal(t, "{}", string(plain.Expectations))
	require.Equal(t, []string{"basic_password", "header X-Api-Key"}, monitor.SecretNames)

	p.exec(t, "UPDATE monitors SET phase_ms = 7000")
	p.exec(t, "UPDATE monitor_schedules SET phase_ms = 7000, from_at = $1", noon)
	monitor.PhaseMS = 7000
	slot := scheduleOf(monitor).SlotAfter(noon)
	p.setNow(slot)
	p.round(t, roundOf(monitor, slot))
	got := targets()
	require.Len(t, got, 2)
	for _, target := range got {
		want := c.Target()
		if target.URL == plain.URL {
			want = config(url("plain"), 3600).Target()
		}
		require.Equal(t, want, target)
	}

	_, err := work(t, p, &jobs.ScanWorker{Scanner: p.scanner},
		jobs.ScanArgs{MonitorID: monitor.ID, At: slot.Add(time.Millisecond), Reason: jobs.ReasonAsked})
	require.NoError(t, err)
	require.Equal(t, []probe.Target{c.Target()}, targets())

	// What cannot be read is our fault, and told without what it is.
	p.exec(t, `UPDATE monitor_secrets SET secrets = '["s3cret"]'`)
	_, err = work(t, p, &jobs.ScanWorker{Scanner: p.scanner},
		jobs.ScanArgs{MonitorID: monitor.ID, At: slot.Add(2 * time.Millisecond), Reason: jobs.ReasonAsked})
	require.ErrorContains(t, err, fmt.Sprintf("read the secrets of monitor %d", monitor.ID))
	require.NotContains(t, err.Error(), "s3cret")
	require.Empty(t, targets())
}

func TestRequestOfAChangedMonitor(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	secrets := func(t *testing.T, id int64) int {
		t.Helper()
		return p.count(t, "monitor_secrets WHERE monitor_id = $1", id)
	}

	t.Run("AnyOfItIsAnotherVersionThatStartsAnew", func(t *testing.T) {
		t.Parallel()
		monitor := p.create(t, asking(url("versions")))
		same := p.edit(t, monitor.ID, func(c *jobs.MonitorConfig) { c.Request.Headers = map[string]string{"Accept": "*/*"} })
		require.Equal(t, 1, same.Version)
		for i, change := range []func(*jobs.MonitorConfig){
			func(c *jobs.MonitorConfig) { c.Request.Headers["Accept"] = "text/html" },
			func(c *jobs.MonitorConfig) { c.Request.Headers = nil },
			func(c *jobs.MonitorConfig) { c.Secrets.Headers["X-Api-Key"] = "l" },
			func(c *jobs.MonitorConfig) { c.Secrets.BasicPassword = "" },
			func(c *jobs.MonitorConfig) { c.Expectations.JSON[1].Value = 2.5 },
			func(c *jobs.MonitorConfig) { c.Expectations = probe.Expectations{} },
		} {
			p.exec(t, "UPDATE monitor_states SET status = 'up' WHERE monitor_id = $1", monitor.ID)
			require.Equal(t, i+2, p.edit(t, monitor.ID, change).Version)
			require.Equal(t, uptime.Pending, p.state(t, monitor.ID).Status)
		}
	})

	t.Run("SecretsGoWithTheLastOfThem", func(t *testing.T) {
		t.Parallel()
		monitor := p.create(t, asking(url("secrets")))
		require.Equal(t, 1, secrets(t, monitor.ID))
		none := p.edit(t, monitor.ID, func(c *jobs.MonitorConfig) { c.Secrets = probe.Secrets{Headers: map[string]string{}} })
		require.Empty(t, none.SecretNames)
		require.Zero(t, secrets(t, monitor.ID))
		some := p.edit(t, monitor.ID, func(c *jobs.MonitorConfig) { c.Secrets.BearerToken = "t" })
		require.Equal(t, []string{jobs.SecretBearerToken}, some.SecretNames)
		require.Equal(t, 1, secrets(t, monitor.ID))
	})

	t.Run("ARevivedMonitorHasTheSecretsThatItIsGiven", func(t *testing.T) {
		t.Parallel()
		monitor := p.create(t, asking(url("revived")))
		require.NoError(t, jobs.DeleteMonitor(t.Context(), p.pool, monitor.ID, noon))
		revived := p.create(t, config(url("revived"), 3600))
		require.Equal(t, monitor.ID, revived.ID)
		require.Empty(t, revived.SecretNames)
		require.Zero(t, secrets(t, monitor.ID))
	})

	t.Run("SecretsThatAreDeletedStayDeletedThoughTheMonitorComesBack", func(t *testing.T) {
		t.Parallel()
		monitor := p.create(t, asking(url("deleted")))
		require.NoError(t, jobs.DeleteMonitor(t.Context(), p.pool, monitor.ID, noon))
		require.Zero(t, secrets(t, monitor.ID), "nobody needs them any more")
	})
}

// What sends something over TCP may have done something there.
func TestTCPIsSafeToRepeatUnlessItSends(t *testing.T) {
	t.Parallel()
	p, targets := newWatching(t)
	silent := p.create(t, config("tcp://example.com:9000", 3600))
	c := config("tcp://example.com:9001", 3600)
	c.Request.Body = "PING\r\n"
	talking := p.create(t, c)
	for _, monitor := range []db.Monitor{silent, talking} {
		_, err := work(t, p, &jobs.ScanWorker{Scanner: p.scanner},
			jobs.ScanArgs{MonitorID: monitor.ID, At: noon.Add(time.Microsecond), Reason: jobs.ReasonAsked}, rescued)
		require.NoError(t, err)
	}
	require.Empty(t, p.scans(t, talking.ID))
	require.Equal(t, []string{"asked ok"}, p.scans(t, silent.ID))
	got := targets()
	require.Len(t, got, 1)
	require.Equal(t, silent.URL, got[0].URL)
}

// leaf is a certificate that differs from others by its number.
func leaf(n int) *x509.Certificate {
	return &x509.Certificate{
		Raw: fmt.Append(nil, n), Subject: pkix.Name{CommonName: "shop\n"}, Issuer: pkix.Name{CommonName: "ca"},
		DNSNames: []string{"shop.example"}, NotBefore: noon, NotAfter: noon.Add(time.Hour), SerialNumber: big.NewInt(int64(n)),
	}
}

func TestRecorderKeepsCertificates(t *testing.T) {
	t.Parallel()

	t.Run("OncePerChange", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		monitor, other := p.create(t, config(url("tls"), 86400)), p.create(t, config(url("tls/other"), 86400))
		slot := noon
		show := func(monitor db.Monitor, certificate *x509.Certificate) {
			t.Helper()
			slot = slot.Add(time.Second)
			p.setNow(slot)
			require.NoError(t, p.recorder.Record(t.Context(), dbtest.Scan(monitor.ID, slot), certificate))
		}
		for _, n := range []int{1, 1, 2, 1} {
			show(monitor, leaf(n))
		}
		show(monitor, nil)
		show(other, leaf(1))

		queries := db.New(p.pool)
		got, err := queries.ListCertificates(t.Context(), monitor.ID)
		require.NoError(t, err)
		require.Len(t, got, 2)
		require.True(t, got[0].FirstSeenAt.Equal(noon.Add(3*time.Second)), "the newest first")
		require.True(t, got[1].FirstSeenAt.Equal(noon.Add(time.Second)))
		sum := sha256.Sum256([]byte("1"))
		require.Equal(t, hex.EncodeToString(sum[:]), got[1].Fingerprint)
		require.Equal(t, []string{"shop.example"}, got[1].Names)
		require.Equal(t, "CN=ca", got[1].Issuer)
		require.NotContains(t, got[1].Subject, "\n", "it is the target's text")
		got, err = queries.ListCertificates(t.Context(), other.ID)
		require.NoError(t, err)
		require.Len(t, got, 1)

		// Another process has not seen it, and finds it there.
		again := newProcessOn(t, p.pool, nil, jobs.Limits{})
		require.NoError(t, again.recorder.Record(t.Context(), dbtest.Scan(monitor.ID, noon.Add(time.Hour)), leaf(1)))
		require.Equal(t, 3, p.count(t, "monitor_certificates"))
	})

	t.Run("TheNewestHundred", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		monitor := p.create(t, config(url("tls/many"), 86400))
		for n := range 105 {
			p.setNow(noon.Add(time.Duration(n) * time.Second))
			require.NoError(t, p.recorder.Record(t.Context(), dbtest.Scan(monitor.ID, p.now()), leaf(n)))
		}
		require.Equal(t, 100, p.count(t, "monitor_certificates"))
		require.Equal(t, 5*time.Second, one[time.Time](t, p, "SELECT min(first_seen_at) FROM monitor_certificates").Sub(noon))
	})

	t.Run("WithTheScanOrNotAtAll", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		monitor := p.create(t, config(url("tls/fails"), 86400))
		p.exec(t, "ALTER TABLE monitor_certificates RENAME TO away")
		err := p.recorder.Record(t.Context(), dbtest.Scan(monitor.ID, noon), leaf(1))
		require.ErrorContains(t, err, "insert certificates")
		require.Zero(t, p.count(t, "monitor_log"))

		p.exec(t, "ALTER TABLE away RENAME TO monitor_certificates")
		require.NoError(t, p.recorder.Record(t.Context(), dbtest.Scan(monitor.ID, noon), leaf(1)))
		require.Equal(t, 1, p.count(t, "monitor_certificates"), "what was not committed is not taken for known")
	})
}

func TestRecorderKeepsTheExcerptOfABadAnswer(t *testing.T) {
	t.Parallel()
	p := newProcessOn(t, dbtest.New(t), proberFunc(func(context.Context, probe.Target) probe.Result {
		bad := well()
		bad.Outcome, bad.BodyExcerpt = uptime.StatusMismatch, "Service\nUnavailable"
		return bad
	}), jobs.Limits{Probes: 10, ProbesPerHost: 10})
	monitor := p.create(t, config(url("excerpt"), 3600))
	_, err := work(t, p, &jobs.ScanWorker{Scanner: p.scanner},
		jobs.ScanArgs{MonitorID: monitor.ID, At: noon.Add(time.Microsecond), Reason: jobs.ReasonAsked})
	require.NoError(t, err)
	scans, err := db.NewestScans(t.Context(), p.pool, monitor.ID, noon.Add(-time.Hour), noon.Add(time.Hour), 10)
	require.NoError(t, err)
	require.Equal(t, "Service\nUnavailable", *scans[0].BodyExcerpt)
	require.Equal(t, 1, p.count(t, "monitor_scans($1, $2, $3) WHERE body_excerpt IS NOT NULL",
		monitor.ID, noon.Add(-time.Hour), noon.Add(time.Hour)))
}
