package probe_test

import (
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"

	"riverwatch/probe"
)

var (
	discard    = slog.New(slog.DiscardHandler)
	onLoopback = probe.Settings{Policy: loopback}
)

// A probe that used a proxy of the environment would fail every test of a host that has a name.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY"} {
		_ = os.Setenv(name, "http://127.0.0.1:1")
	}
	goleak.VerifyTestMain(m)
}

// patient makes a prober for tests, which share their processors.
func patient(settings probe.Settings) *probe.Prober {
	prober := probe.NewProber(settings, discard)
	prober.BePatient()
	return prober
}
