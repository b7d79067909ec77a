package probe_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/egress"
	"riverwatch/probe"
	"riverwatch/uptime"
)

// These are errors that no server on loopback can cause.
func TestConnectOutcome(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		err     error
		outcome uptime.Outcome
	}{
		{syscall.EMFILE, uptime.Inconclusive},
		{syscall.ENFILE, uptime.Inconclusive},
		{syscall.EADDRNOTAVAIL, uptime.Inconclusive},
		{syscall.ENOBUFS, uptime.Inconclusive},
		{syscall.ENOMEM, uptime.Inconclusive},
		{syscall.EPERM, uptime.Inconclusive},
		{syscall.ETIMEDOUT, uptime.TimeoutConnect},
		{os.ErrDeadlineExceeded, uptime.TimeoutConnect},
		{syscall.ECONNREFUSED, uptime.ConnectRefused},
		{syscall.EHOSTUNREACH, uptime.ConnectUnreachable},
		{syscall.ENETUNREACH, uptime.ConnectUnreachable},
		{syscall.ECONNRESET, uptime.ConnectionClosed},
		{&net.AddrError{Err: "no suitable address"}, uptime.DNSEmpty},
		{&egress.LookupError{DNSError: &net.DNSError{Err: "i/o timeout", IsTimeout: true}}, uptime.TimeoutDNS},
		{&egress.LookupError{DNSError: &net.DNSError{Err: "dial udp 192.0.2.1:53: socket: too many open files"}}, uptime.Inconclusive},
		{&egress.LookupError{DNSError: &net.DNSError{Err: "server misbehaving", IsTemporary: true}}, uptime.DNSError},
	} {
		t.Run(row.err.Error(), func(t *testing.T) {
			t.Parallel()
			err := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", row.err)}
			require.Equal(t, row.outcome, probe.ConnectOutcome(fmt.Errorf("dial: %w", err)))
		})
	}
}

func TestLaterOutcomes(t *testing.T) {
	t.Parallel()
	reset := &net.OpError{Op: "read", Err: syscall.ECONNRESET}
	require.Equal(t, uptime.Inconclusive, probe.HeaderOutcome(syscall.ENOBUFS))
	require.Equal(t, uptime.ConnectionClosed, probe.HeaderOutcome(reset))
	require.Equal(t, uptime.ConnectionClosed, probe.HeaderOutcome(&net.OpError{Op: "read", Err: syscall.ETIMEDOUT}))
	require.Equal(t, uptime.Inconclusive, probe.BodyOutcome(syscall.ENOMEM))
	require.Equal(t, uptime.BodyIncomplete, probe.BodyOutcome(reset))
	require.Equal(t, uptime.BodyIncomplete, probe.BodyOutcome(io.ErrUnexpectedEOF))
	require.Equal(t, uptime.HTTPMalformed, probe.BodyOutcome(errors.New("malformed chunked encoding")))
	require.Equal(t, uptime.Inconclusive, probe.MatchOutcome(cancelled(), probe.ErrMatchCut))
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestCleanText(t *testing.T) {
	t.Parallel()
	for text, clean := range map[string]string{
		"":                          "",
		"grüße 😀":                   "grüße 😀",
		"a\x00b\x1b[31m\r\nc\u0085": "a\ufffdb\ufffd[31m\ufffd\ufffdc\ufffd",
		"a\u202eb\u2066c\u200bd":    "a\ufffdb\ufffdc\ufffdd",
		"a\u2028b\u2029":            "a\ufffdb\ufffd",
		"a\xffb":                    "a\ufffdb",
		strings.Repeat("é", 201):    strings.Repeat("é", 200),
		strings.Repeat("a", 9000):   strings.Repeat("a", 200),
	} {
		require.Equal(t, clean, probe.CleanText(text))
	}
}
