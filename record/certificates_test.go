package record_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/monitors/monitorstest"
)

// leaf is a certificate that differs from others by its number.
func leaf(n int) *x509.Certificate {
	return &x509.Certificate{
		Raw: fmt.Append(nil, n), Subject: pkix.Name{CommonName: "shop\n"}, Issuer: pkix.Name{CommonName: "ca"},
		DNSNames: []string{"shop.example"}, NotBefore: monitorstest.Noon, NotAfter: monitorstest.Noon.Add(time.Hour), SerialNumber: big.NewInt(int64(n)),
	}
}

func TestRecorderKeepsCertificates(t *testing.T) {
	t.Parallel()

	t.Run("OncePerChange", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		monitor, other := p.Create(t, monitorstest.Of(monitorstest.URL("tls"), 86400)), p.Create(t, monitorstest.Of(monitorstest.URL("tls/other"), 86400))
		slot := monitorstest.Noon
		show := func(monitor db.Monitor, certificate *x509.Certificate) {
			t.Helper()
			slot = slot.Add(time.Second)
			p.SetNow(slot)
			require.NoError(t, p.recorder.Record(t.Context(), dbtest.Scan(monitor.ID, slot), certificate))
		}
		for _, n := range []int{1, 1, 2, 1} {
			show(monitor, leaf(n))
		}
		show(monitor, nil)
		show(other, leaf(1))

		queries := db.New(p.Pool)
		got, err := queries.ListCertificates(t.Context(), monitor.ID)
		require.NoError(t, err)
		require.Len(t, got, 2)
		require.True(t, got[0].FirstSeenAt.Equal(monitorstest.Noon.Add(3*time.Second)), "the newest first")
		require.True(t, got[1].FirstSeenAt.Equal(monitorstest.Noon.Add(time.Second)))
		sum := sha256.Sum256([]byte("1"))
		require.Equal(t, hex.EncodeToString(sum[:]), got[1].Fingerprint)
		require.Equal(t, []string{"shop.example"}, got[1].Names)
		require.Equal(t, "CN=ca", got[1].Issuer)
		require.NotContains(t, got[1].Subject, "\n", "it is the target's text")
		got, err = queries.ListCertificates(t.Context(), other.ID)
		require.NoError(t, err)
		require.Len(t, got, 1)

		// Another process has not seen it, and finds it there.
		again := newProcessOn(t, p.Pool)
		require.NoError(t, again.recorder.Record(t.Context(), dbtest.Scan(monitor.ID, monitorstest.Noon.Add(time.Hour)), leaf(1)))
		require.Equal(t, 3, p.Count(t, "monitor_certificates"))

		p.Exec(t, "DELETE FROM monitor_certificates")
		show(monitor, leaf(1))
		require.Zero(t, p.Count(t, "monitor_certificates"), "what is known to be there is not written again")
	})

	t.Run("TheNewestHundred", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("tls/many"), 86400))
		for n := range 105 {
			p.SetNow(monitorstest.Noon.Add(time.Duration(n) * time.Second))
			require.NoError(t, p.recorder.Record(t.Context(), dbtest.Scan(monitor.ID, p.Now()), leaf(n)))
		}
		require.Equal(t, 100, p.Count(t, "monitor_certificates"))
		require.Equal(t, 5*time.Second, dbtest.One[time.Time](t, p.Pool, "SELECT min(first_seen_at) FROM monitor_certificates").Sub(monitorstest.Noon))
	})

	t.Run("WithTheScanOrNotAtAll", func(t *testing.T) {
		t.Parallel()
		p := newProcess(t)
		monitor := p.Create(t, monitorstest.Of(monitorstest.URL("tls/fails"), 86400))
		p.Exec(t, "ALTER TABLE monitor_certificates RENAME TO away")
		err := p.recorder.Record(t.Context(), dbtest.Scan(monitor.ID, monitorstest.Noon), leaf(1))
		require.ErrorContains(t, err, "insert certificates")
		require.Zero(t, p.Count(t, "monitor_log"))

		p.Exec(t, "ALTER TABLE away RENAME TO monitor_certificates")
		require.NoError(t, p.recorder.Record(t.Context(), dbtest.Scan(monitor.ID, monitorstest.Noon), leaf(1)))
		require.Equal(t, 1, p.Count(t, "monitor_certificates"), "what was not committed is not taken for known")
	})
}

// A result that waits for the database holds no parsed certificate, whose size is the target's to choose: nothing of a known
// one, and of a new one what will be written.
func TestWaitingResultsHoldNoCertificate(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	monitor := p.Create(t, monitorstest.Of(monitorstest.URL("tls/waits"), 86400))
	require.NoError(t, p.recorder.Record(t.Context(), dbtest.Scan(monitor.ID, monitorstest.Noon), leaf(1)))
	p.stopRecorder()
	<-p.recorderEnded
	waits := p.newRecorder()
	waits.KnowCertificatesOf(p.recorder)

	for i, n := range []int{1, 2} { // the known one, and a new one
		certificate := leaf(n)
		parsed := weak.Make(certificate)
		recorded := make(chan error, 1)
		scan := dbtest.Scan(monitor.ID, monitorstest.Noon.Add(time.Duration(1+i)*time.Second))
		go func() { recorded <- waits.Record(t.Context(), scan, certificate) }()
		require.Eventually(t, func() bool {
			runtime.GC()
			return waits.Waiting() == 1+i && parsed.Value() == nil
		}, time.Minute, time.Millisecond)
		require.Empty(t, recorded)
	}
	require.Equal(t, 1, waits.WaitingCertificates(), "the new one")

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		waits.Run(ctx)
	}()
	require.Eventually(t, func() bool { return p.Count(t, "monitor_certificates") == 2 }, time.Minute, time.Millisecond)
	stop()
	<-ended
}
