package jobs_test

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/egress"
	"riverwatch/jobs"
	"riverwatch/monitors"
	"riverwatch/monitors/monitorstest"
	"riverwatch/probe"
	"riverwatch/wait"
)

// nameserver is a DNS server that knows every name, until it is told to fail.
type nameserver struct {
	conn *net.UDPConn
	mode atomic.Int32
}

const (
	answers = iota
	isSilent
	servfails
)

func newNameserver(t *testing.T) *nameserver {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	n := &nameserver{conn: conn}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.serve()
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-ended
	})
	return n
}

func (n *nameserver) serve() {
	buffer := make([]byte, 512)
	for {
		size, from, err := n.conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		var message dnsmessage.Message
		if message.Unpack(buffer[:size]) != nil || n.mode.Load() == isSilent {
			continue
		}
		message.Response, message.Additionals = true, nil
		if n.mode.Load() == servfails {
			message.RCode = dnsmessage.RCodeServerFailure
		} else if question := message.Questions[0]; question.Type == dnsmessage.TypeA {
			message.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class},
				Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
			}}
		}
		if packed, err := message.Pack(); err == nil {
			_, _ = n.conn.WriteToUDPAddrPort(packed, from)
		}
	}
}

// TestDNSLost takes DNS from a worker (F39). What has an address for a name is seen as ever, and no proof of sight.
func TestDNSLost(t *testing.T) {
	t.Parallel()
	dns, server := newNameserver(t), newTarget(t)
	prober := probe.NewProber(probe.Settings{
		Policy:   egress.Policy{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		Resolver: netip.MustParseAddrPort(dns.conn.LocalAddr().String()),
	}, discard)
	p := newProcessOf(t, jobs.Config{
		Pool: dbtest.New(t), Name: "test", Prober: prober, Sentinels: []string{server.URL}, // sees no outage of DNS without a name
		Limits: jobs.Limits{Probes: 1000, ProbesPerHost: 1000, Results: 10_000, Retries: 100},
	})
	p.start(t, time.Second)
	t.Cleanup(wait.Beside(t.Context(), p.worker.Sight().Run))
	const byName, byAddress = 8, 3
	var watched []db.Monitor
	for i := range byName + byAddress {
		c := monitorstest.Of(strings.Replace(server.URL, "127.0.0.1", "m"+itoa(int64(i))+".example", 1)+"/", 86400)
		if i >= byName {
			c = monitorstest.Of(server.URL+"/"+itoa(int64(i)), 86400)
		}
		c.TimeoutMS = 1000
		watched = append(watched, p.Create(t, c))
	}
	await := func(want int, from string) {
		t.Helper()
		require.Eventually(t, func() bool { return p.Count(t, from) == want }, 30*time.Second, 10*time.Millisecond, from)
	}
	await(byName+byAddress, "monitor_states WHERE status = 'up'")

	dns.mode.Store(isSilent)
	require.Eventually(t, func() bool { // on a busy machine a scan may tell nothing of DNS, as it had no processor
		for _, monitor := range watched {
			if _, _, err := p.Store().Scan(t.Context(), monitor.ID); !errors.Is(err, monitors.ErrTooManyScans) {
				require.NoError(t, err)
			}
		}
		return p.Count(t, "warnings WHERE closed_at IS NULL") == 1
	}, time.Minute, 2*time.Second)
	await(0, "monitor_log WHERE outcome NOT IN ('ok', 'inconclusive')")
	await(byName+byAddress, "monitor_states WHERE status = 'up' AND failures = 0")
	const blind = "(SELECT DISTINCT monitor_id FROM monitor_log WHERE error = 'this worker cannot see the network') AS blind"
	require.GreaterOrEqual(t, p.Count(t, blind), 5, "fewer would not be suspicious")
	p.requireAgreement(t, watched...)

	dns.mode.Store(servfails)
	require.Never(t, func() bool { return p.Count(t, "warnings WHERE closed_at IS NOT NULL") > 0 },
		3*time.Second, 100*time.Millisecond, "it is out still")

	dns.mode.Store(answers)
	await(1, "warnings WHERE closed_at IS NOT NULL")
	await(0, blind+` WHERE NOT EXISTS (
		SELECT FROM monitor_log AS l WHERE l.monitor_id = blind.monitor_id AND l.reason = 'retry' AND l.outcome = 'ok')`)
	require.Equal(t, 1, p.Count(t, "warnings"))
	p.requireAgreement(t, watched...)
}
