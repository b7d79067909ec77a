package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	stat, err := parseStat("4711 (postgres: a) b) S 17 4711 4711 0 -1 4194304 100 0 0 0 150 50 300 0 20 0 1 0 2126982 3133440")
	require.NoError(t, err)
	require.Equal(t, processStat{pid: 4711, parent: 17, cpu: 2 * time.Second, buried: 3 * time.Second}, stat)

	for _, text := range []string{"", "1 (x)", "1 x S 1", "1 (x) S one 2 3 4 5 6 7 8 9 10 11 12 13 14 15"} {
		_, err := parseStat(text)
		require.Error(t, err, text)
	}
}

func TestOwnProcess(t *testing.T) {
	t.Parallel()
	stats, err := family(os.Getppid())
	require.NoError(t, err)
	parents := map[int]int{}
	for _, stat := range stats {
		parents[stat.pid] = stat.parent
	}
	require.Equal(t, os.Getppid(), parents[os.Getpid()])

	m := memoryOf(os.Getpid())
	require.Positive(t, m.resident)
	require.GreaterOrEqual(t, m.peak, m.resident)
	require.Positive(t, ownCPU())
	require.Regexp(t, `^[1-9]\d* cores of \S.*, Linux \d+\..+, go1\.`, thisMachine().String())
}

func TestParseMemory(t *testing.T) {
	t.Parallel()
	require.Equal(t, memory{peak: 3 << 20, resident: 2 << 20}, parseMemory("Name:\tx\nVmHWM:\t    3072 kB\nVmRSS:\t    2048 kB\n"))
	require.Zero(t, parseMemory("a zombie has none"))
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i+1) * time.Millisecond
	}
	require.Equal(t, percentiles{P50: 50, P99: 99, Max: 100}, percentilesOf(hundred))
	require.Equal(t, percentiles{P50: 7, P99: 7, Max: 7}, percentilesOf([]time.Duration{7 * time.Millisecond}))
	require.Zero(t, percentilesOf(nil))
	require.Equal(t, 2*time.Second, percentile([]time.Duration{time.Second, 2 * time.Second}, 50.1))
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"0", "1.23", "12.3", "123", "1,234,568"}, []string{
		number(0), number(1.234), number(12.34), number(123.4), number(1234567.8),
	})
	require.Equal(t, []string{"100 %", "99.999 %", "0.000 %"}, []string{percent(1), percent(0.9999999), percent(0)})
	require.InDelta(t, 1500.0, microsecondsPer(3*time.Millisecond, 2), 1e-9)
	require.Zero(t, microsecondsPer(time.Second, 0))
}

func TestTable(t *testing.T) {
	t.Parallel()
	table := table{title: "what", header: []string{"a", "b"}}
	table.add("long name", "1", "22")
	table.add("nothing", "", "")
	table.add("µ", "3")
	var text bytes.Buffer
	require.NoError(t, table.write(&text))
	require.Equal(t, `
| what      |   a |   b |
| --------- | --: | --: |
| long name |   1 |  22 |
| µ         |   3 |     |
`, text.String())
}

func TestParseKey(t *testing.T) {
	t.Parallel()
	got, ok := parseKey("/4095/1000000")
	require.True(t, ok)
	require.Equal(t, keyOf(4095, 1_000_000), got)
	require.NotEqual(t, keyOf(1, 2), keyOf(2, 1))
	for _, path := range []string{"", "/", "/1", "/1/", "/1/x", "/4096/1", "/1/1048576", "/1/-1"} {
		_, ok := parseKey(path)
		require.False(t, ok, path)
	}
}

func TestViewOf(t *testing.T) {
	t.Parallel()
	from := time.Unix(1_000_000, 0)
	after := from.Add
	scan := func(slot, at time.Duration, ofRound bool) scanStart {
		return scanStart{slot: after(slot), next: after(slot + 10*time.Second), at: after(at), ofRound: ofRound}
	}
	starts := map[key][]scanStart{
		1: {
			scan(-7*time.Second, -7*time.Second, true),
			scan(3*time.Second, 3*time.Second+20*time.Millisecond, true),
			scan(5*time.Second, 5*time.Second, false), // somebody asked for it
		},
		2: {scan(0, 11*time.Second, true), scan(10*time.Second, 22*time.Second, true)}, // more than an interval late with each
		3: {scan(9*time.Second, 9*time.Second, true)},
	}
	var l ledger
	ask := func(monitor key, at time.Duration) {
		l.Keys, l.At = append(l.Keys, monitor), append(l.At, after(at).UnixMicro())
	}
	ask(1, 2*time.Second) // of the slot before the window
	ask(1, 3*time.Second+19*time.Millisecond)
	ask(1, 3*time.Second+30*time.Millisecond) // for the second time
	ask(1, 5*time.Second+time.Millisecond)
	ask(2, 11*time.Second+time.Millisecond)
	ask(2, 22*time.Second+time.Millisecond) // of the next slot
	ask(3, 8*time.Second)                   // no scan accounts for it
	ask(3, 10*time.Second)                  // after the window, but of a slot within
	ask(3, 19*time.Second)                  // of the next slot, whose scan nobody has asked the log for
	ask(7, 5*time.Second)                   // no monitor

	require.Equal(t, targetView{
		Requests: 4, Twice: 1, Busiest: 2, Lateness: percentiles{P50: 1000, P99: 11_001, Max: 11_001},
	}, viewOf(l, starts, from, from.Add(10*time.Second)))
}

func TestTogether(t *testing.T) {
	t.Parallel()
	sum := together(bareLoop, []floorResult{
		{Loop: bareLoop, Fetches: 100, Seconds: 1, CPUMicros: 200, TargetCPU: 100, PeakMemory: 5},
		{Loop: netHTTPLoop, Fetches: 7, Seconds: 7, CPUMicros: 7, TargetCPU: 7, PeakMemory: 7},
		{Loop: bareLoop, Fetches: 300, Seconds: 3, CPUMicros: 400, TargetCPU: 300, PeakMemory: 4},
	})
	require.Equal(t, floorResult{
		Loop: bareLoop, Fetches: 400, Seconds: 4, CPUMicros: 350, TargetCPU: 250, PeakMemory: 5, PerSecond: 100,
	}, sum)
	require.Equal(t, floorResult{Loop: bareLoop}, together(bareLoop, nil))
}

func TestParseOptions(t *testing.T) {
	t.Parallel()
	o, err := parseOptions([]string{"saturate", "--tls", "--first", "0.5"}, &bytes.Buffer{})
	require.NoError(t, err)
	require.Equal(t, "saturate", o.mode)
	require.True(t, o.tls)

	o, err = parseOptions(nil, &bytes.Buffer{})
	require.NoError(t, err)
	require.Equal(t, "run", o.mode)

	for _, args := range []string{
		"nothing", "run more", "--monitors=0", "--interval=9s", "--interval=10500ms", "--duration=0s", "--workers=0",
		"--few=1", "--step=0", "--saturation=-1", "--what",
	} {
		var usage bytes.Buffer
		_, err := parseOptions(strings.Fields(args), &usage)
		require.Error(t, err, args)
	}
}

// The target answers with and without TLS, and its ledger holds what it was asked.
func TestTarget(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"Plain": nil, "TLS": {"--ca", filepath.Join(t.TempDir(), "ca.pem")}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			read, write := net.Pipe()
			ended := make(chan error, 1)
			go func() { ended <- serveTarget(t.Context(), args, write) }()
			var info targetInfo
			require.NoError(t, json.NewDecoder(read).Decode(&info))

			b := &bench{info: info, target: &child{ended: make(chan struct{})}}
			if args != nil {
				b.caFile = args[1]
			}
			config, err := loopTLS(b.caFile)
			require.NoError(t, err)
			for _, newFetcher := range []func(string) (fetcher, error){bareFetcher(config), netHTTPFetcher(config)} {
				for _, url := range b.someURLs(2 * targetHosts) {
					fetch, err := newFetcher(url)
					require.NoError(t, err)
					require.NoError(t, fetch(t.Context()))
				}
				requests, err := b.requests(t.Context())
				require.NoError(t, err)
				require.Equal(t, 2*targetHosts, requests)
				l, err := b.takeLedger(t.Context())
				require.NoError(t, err)
				require.Equal(t, []key{keyOf(0, 1), keyOf(1, 1)}, l.Keys[:2])
				require.WithinDuration(t, time.Now(), time.UnixMicro(l.At[0]), time.Minute)
			}
			requests, err := b.requests(t.Context())
			require.NoError(t, err)
			require.Zero(t, requests, "taken")
		})
	}
}

func TestFloor(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var status atomic.Int32
	status.Store(http.StatusOK)
	server := &http.Server{ErrorLog: silent, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(status.Load()))
	})}
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }()

	fetch := func(args ...string) (result floorResult) {
		var printed bytes.Buffer
		urls := strings.NewReader("http://" + listener.Addr().String() + "/\n")
		require.NoError(t, runFloor(t.Context(), args, urls, &printed))
		require.NoError(t, json.Unmarshal(printed.Bytes(), &result))
		return result
	}
	for _, loop := range []string{bareLoop, netHTTPLoop} {
		paced := fetch("--loop", loop, "--rate", "100", "--duration", "300ms")
		require.Equal(t, loop, paced.Loop)
		require.Equal(t, 30, paced.Fetches)
		require.Zero(t, paced.Failed)
		require.Positive(t, fetch("--loop", loop, "--open", "2", "--duration", "100ms").Fetches)
	}
	status.Store(http.StatusBadGateway)
	for _, loop := range []string{bareLoop, netHTTPLoop} {
		failing := fetch("--loop", loop, "--rate", "100", "--duration", "100ms")
		require.Equal(t, 10, failing.Failed)
		require.Contains(t, failing.FailedFirst, "502")
	}
	require.Error(t, runFloor(t.Context(), nil, strings.NewReader("http://a name/\n"), io.Discard))
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	ca, caKey, err := issue(certificateOf("ca"), nil, nil)
	require.NoError(t, err)
	leaf, key, err := issue(certificateOf("leaf"), ca, caKey)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots})
	require.NoError(t, err)
	require.True(t, key.PublicKey.Equal(leaf.PublicKey), "the key is that of the certificate")
	_, err = ca.Verify(x509.VerifyOptions{Roots: x509.NewCertPool()})
	require.Error(t, err, "nobody else's")
}

func TestHolds(t *testing.T) {
	t.Parallel()
	well := measurement{
		Coverage: 0.999, account: account{Due: 1000, Recorded: 999, Blamed: 1}, Lateness: percentiles{P99: 999},
		LatenessHalves: [2]percentiles{{P50: 100, P99: 600}, {P50: 200, P99: 850}},
	}
	require.True(t, well.holds())
	for name, spoil := range map[string]func(*measurement){
		"coverage":         func(m *measurement) { m.Coverage = 0.9989 },
		"failures":         func(m *measurement) { m.Inconclusive = 1 },
		"lateness":         func(m *measurement) { m.Lateness.P99 = 1000 },
		"growing lateness": func(m *measurement) { m.LatenessHalves[1].P50 = 201 },
		"growing tail":     func(m *measurement) { m.LatenessHalves[1].P99 = 851 },
	} {
		m := well
		spoil(&m)
		require.False(t, m.holds(), name)
	}

	falling := well
	falling.Achieved, falling.Coverage = 3000, 0.5
	first, second := well, well
	first.Achieved, second.Achieved = 1000, 2000
	require.InDelta(t, 2000.0, mostOf([]measurement{first, second, falling}), 0)
	require.Zero(t, mostOf([]measurement{falling}))
}

func TestProgress(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	p := newProgress(&text)
	p.stage("first %d", 1)
	p.tell("not so soon")
	p.stage("second")
	p.end()
	require.Equal(t, "bench: first 1\nbench: second\n", text.String())

	text.Reset()
	p = &progress{w: &text, terminal: true}
	p.tell("a")
	p.end()
	require.Equal(t, "\r\033[Kbench: a\r\033[K", text.String())
}

func TestChild(t *testing.T) {
	t.Parallel()
	shell := func(script string) func(context.Context) *exec.Cmd {
		return func(ctx context.Context) *exec.Cmd { return exec.CommandContext(ctx, "sh", "-c", script) }
	}
	printed, err := runChild(t.Context(), "cat", strings.NewReader("in"), shell("cat; echo trouble >&2"))
	require.NoError(t, err)
	require.Equal(t, "in", printed)

	_, err = runChild(t.Context(), "failing", nil, shell("echo why >&2; exit 3"))
	require.ErrorContains(t, err, "why")

	c, err := startChild(t.Context(), "sleeping", shell("exec sleep 60"))
	require.NoError(t, err)
	require.NoError(t, c.alive())
	c.stop()
	require.ErrorContains(t, c.alive(), "has ended")
}

// The worst target sends what it is named for, and then nothing; a certificate for each connection.
func TestWorstTarget(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	read, write := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serveWorst(ctx, write) }()
	var info worstInfo
	require.NoError(t, json.NewDecoder(read).Decode(&info))

	ask := func(kind string) int {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", net.JoinHostPort(targetHost(0), strconv.Itoa(info.Port)))
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		_, err = io.WriteString(conn, "GET /"+kind+"/1 HTTP/1.1\r\n\r\n")
		require.NoError(t, err)
		size := len(worstAnswers()[kind])
		got, err := io.ReadFull(conn, make([]byte, size))
		require.NoError(t, err)
		return got
	}
	for kind, least := range map[string]int{"body": 1 << 20, "tiny": 64 << 10, "long": 63 << 10, "well": 100 << 10} {
		require.GreaterOrEqual(t, ask(kind), least, kind)
	}
	require.Less(t, len(worstAnswers()["long"]), 64<<10, "larger ones are refused")

	serials := map[string]bool{}
	for range 2 {
		dialer := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}}
		conn, err := dialer.DialContext(t.Context(), "tcp", net.JoinHostPort(targetHost(0), strconv.Itoa(info.TLSPort)))
		require.NoError(t, err)
		leaf := conn.(*tls.Conn).ConnectionState().PeerCertificates[0] //nolint:forcetypeassert // it is one
		require.Len(t, leaf.DNSNames, 10_000)
		serials[leaf.SerialNumber.String()] = true
		_ = conn.Close()
	}
	require.Len(t, serials, 2)
	stop()
	require.NoError(t, <-ended)
}
