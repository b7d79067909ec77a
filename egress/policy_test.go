package egress_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/egress"
	"riverwatch/probe/hostile"
)

var (
	loopback = egress.Policy{Allow: prefixes("127.0.0.0/8", "::1/128")}
	lan      = egress.Policy{Allow: prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")}

	lanAt8080 = egress.Policy{AllowAt: []egress.PrefixPort{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Port: 8080}}}
)

func prefixes(texts ...string) []netip.Prefix {
	var parsed []netip.Prefix
	for _, text := range texts {
		parsed = append(parsed, netip.MustParsePrefix(text))
	}
	return parsed
}

// TestPolicyCheck runs the list "ip".
func TestPolicyCheck(t *testing.T) {
	t.Parallel()
	verdict := func(policy egress.Policy, address string) string {
		if policy.Check(netip.AddrPortFrom(netip.MustParseAddr(address), 443)) != nil {
			return "deny"
		}
		return "allow"
	}

	for _, row := range hostile.Rows(t, "testdata/ip.csv") {
		t.Run(row["id"], func(t *testing.T) {
			t.Parallel()
			require.Equal(t, row["public"], verdict(egress.Policy{}, row["address"]), row["address"])
			require.Equal(t, row["lan"], verdict(lan, row["address"]), row["address"])
		})
	}
}

func TestPolicyCheckOfPortsAndLists(t *testing.T) {
	t.Parallel()
	open := egress.Policy{
		Allow:  prefixes("0.0.0.0/0", "::/0"),
		Refuse: egress.NewAddresses(netip.MustParseAddrPort("10.0.0.5:5432"), netip.MustParseAddrPort("[::ffff:10.0.0.6]:0")),
	}
	strict := egress.Policy{
		Allow: prefixes("8.0.0.0/8"), RefusePrefixes: prefixes("8.0.0.0/8"), NAT64: prefixes("64:ff9b:1:2::/96"),
	}
	for _, row := range []struct {
		policy  egress.Policy
		address string
		refused bool
	}{
		{egress.Policy{}, "8.8.8.8:443", false},
		{egress.Policy{}, "8.8.8.8:22", true},
		{egress.Policy{}, "8.8.8.8:0", true},
		{egress.Policy{}, "[64:ff9b::808:808]:443", false},
		{egress.Policy{}, "[64:ff9b::808:808]:22", true},
		{open, "127.0.0.1:80", false},
		{open, "127.0.0.1:22", true},
		{open, "[fe80::1]:80", false},
		{open, "[fe80::1%lo]:80", true},
		{open, "169.254.169.254:80", true},
		{open, "[::ffff:169.254.169.254]:80", true},
		{open, "[64:ff9b::a9fe:a9fe]:80", true},
		{open, "10.0.0.5:5433", false},
		{open, "10.0.0.5:5432", true},
		{open, "[::ffff:10.0.0.5]:5432", true},
		{open, "[64:ff9b::a00:5]:5432", true},
		{open, "10.0.0.6:80", true},
		{lan, "[64:ff9b::a00:1]:80", false},
		{egress.Policy{}, "[2606:4700::200:5efe:7f00:1]:80", true},
		{lanAt8080, "10.0.0.1:8080", false},
		{lanAt8080, "[64:ff9b::a00:1]:8080", false},
		{lanAt8080, "10.0.0.1:80", true},
		{lanAt8080, "8.8.8.8:80", false},
		{egress.Policy{AllowPorts: []uint16{0, 22}}, "8.8.4.4:22", false},
		{egress.Policy{AllowPorts: []uint16{0, 22}}, "8.8.4.4:0", true},
		{egress.Policy{AllowPorts: []uint16{0, 22}}, "10.0.0.1:22", true},
		{egress.Policy{AllowPorts: []uint16{0, 22}}, "8.8.4.4:25", true},
		{strict, "8.1.2.3:80", true},
		{strict, "[64:ff9b::801:203]:80", true},
		{egress.Policy{}, "[64:ff9b:1::808:808]:80", true},
		{strict, "[64:ff9b:1:2::909:909]:80", false},
		{strict, "[64:ff9b:1:2::801:203]:80", true},
		{strict, "[64:ff9b:1:2::a00:1]:80", true},
		{strict, "[64:ff9b:1:2::a9fe:a9fe]:80", true},
		{strict, "[64:ff9b:1:3::909:909]:80", true},
	} {
		t.Run(row.address, func(t *testing.T) {
			t.Parallel()
			err := row.policy.Check(netip.MustParseAddrPort(row.address))
			require.Equal(t, row.refused, err != nil, err)
		})
	}

	require.ErrorContains(t, egress.Policy{}.Check(netip.MustParseAddrPort("10.0.0.1:80")), "10.0.0.1:80")
	require.Error(t, egress.Policy{}.Check(netip.AddrPort{}))
}

func TestParseCIDRs(t *testing.T) {
	t.Parallel()
	for list, want := range map[string][]netip.Prefix{
		"":                         nil,
		"  ":                       nil,
		"10.0.0.0/8":               prefixes("10.0.0.0/8"),
		" 10.1.2.3/8 , fc00::/7\t": prefixes("10.0.0.0/8", "fc00::/7"),
	} {
		got, err := egress.ParseCIDRs(list)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, item := range []string{"10.0.0.0", "10.0.0.0/33", "lan", "::ffff:10.0.0.0/104", "fe80::%eth0/64", ""} {
		_, err := egress.ParseCIDRs("127.0.0.0/8," + item)
		require.ErrorContains(t, err, `"`+item+`"`)
	}
}

// A DNS server is asked at port 53, which nothing else is.
func TestPolicyCheckWrite(t *testing.T) {
	t.Parallel()
	at := netip.MustParseAddrPort
	allowed := egress.Policy{Allow: prefixes("10.0.0.0/8", "fd00::/8")}
	require.NoError(t, allowed.CheckWrite(at("8.8.8.8:6379")))
	require.NoError(t, allowed.CheckWrite(at("[64:ff9b::808:808]:6379")), "behind a gateway")
	for _, private := range []string{"10.0.0.5:6379", "[fd00::5]:6379", "[::ffff:10.0.0.5]:6379", "[64:ff9b::a00:5]:6379"} {
		require.NoError(t, allowed.Check(at(private)), private)
		require.ErrorIs(t, allowed.CheckWrite(at(private)), egress.ErrPrivateWrite, private)
		require.ErrorIs(t, allowed.CheckWrite(at(private)), egress.ErrRefused, private)
	}
	require.NotErrorIs(t, allowed.CheckWrite(at("192.168.0.1:6379")), egress.ErrPrivateWrite, "it is not allowed at all")
	allowed.PrivateWrites = true
	require.NoError(t, allowed.CheckWrite(at("10.0.0.5:6379")))
	require.Error(t, allowed.CheckWrite(at("169.254.169.254:80")))
}

func TestPolicyCheckDNS(t *testing.T) {
	t.Parallel()
	at := netip.MustParseAddrPort
	refused := egress.Policy{Allow: lan.Allow, Refuse: egress.NewAddresses(at("10.0.0.5:53"))}

	require.NoError(t, egress.Policy{}.CheckDNS(at("8.8.8.8:53")))
	require.NoError(t, egress.Policy{}.CheckDNS(at("8.8.8.8:5353")))
	require.Error(t, egress.Policy{}.Check(at("8.8.8.8:53")))
	require.Error(t, egress.Policy{}.CheckDNS(at("8.8.8.8:25")))
	require.Error(t, egress.Policy{}.CheckDNS(at("8.8.8.8:0")))
	require.Error(t, egress.Policy{}.CheckDNS(at("10.0.0.1:53")))
	require.NoError(t, refused.CheckDNS(at("10.0.0.1:53")))
	require.Error(t, refused.CheckDNS(at("10.0.0.5:53")))
	require.Error(t, refused.CheckDNS(at("[64:ff9b::a00:5]:53")))
}

// What is allowed at one port is allowed neither to be asked at another, nor to be pinged.
func TestPolicyOfOnePort(t *testing.T) {
	t.Parallel()
	for port, asks := range map[uint16]bool{53: true, 80: false} {
		policy := egress.Policy{AllowAt: []egress.PrefixPort{{Prefix: lan.Allow[0], Port: port}}}
		require.Equal(t, asks, policy.CheckDNS(netip.MustParseAddrPort("10.0.0.1:53")) == nil)
		require.Error(t, policy.CheckAddr(netip.MustParseAddr("10.0.0.1")))
	}
}

func TestPolicyCheckAddr(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddr
	open := egress.Policy{
		Allow:  lan.Allow,
		Refuse: egress.NewAddresses(netip.MustParseAddrPort("10.0.0.5:80"), netip.MustParseAddrPort("10.0.0.6:0")),
	}

	require.NoError(t, egress.Policy{}.CheckAddr(addr("8.8.8.8")))
	require.Error(t, egress.Policy{}.CheckAddr(addr("10.0.0.1")))
	require.NoError(t, open.CheckAddr(addr("10.0.0.5")), "it is refused at a port, and a ping has none")
	require.Error(t, open.CheckAddr(addr("10.0.0.6")))
	require.Error(t, open.CheckAddr(addr("169.254.169.254")))
	require.Error(t, open.CheckAddr(netip.Addr{}))
}

func TestParseAllow(t *testing.T) {
	t.Parallel()
	allow, allowAt, err := egress.ParseAllow(" 10.1.2.3/8 , fc00::/7@8080,10.0.0.5/32 @ 22")
	require.NoError(t, err)
	require.Equal(t, prefixes("10.0.0.0/8"), allow)
	require.Equal(t, []egress.PrefixPort{
		{Prefix: netip.MustParsePrefix("fc00::/7"), Port: 8080}, {Prefix: netip.MustParsePrefix("10.0.0.5/32"), Port: 22},
	}, allowAt)

	allow, allowAt, err = egress.ParseAllow(" ")
	require.NoError(t, err)
	require.Empty(t, allow)
	require.Empty(t, allowAt)

	for _, item := range []string{
		"", "@", "@80", "10.0.0.0/8@", "10.0.0.0/8@0", "10.0.0.0/8@65536", "10.0.0.0/8@+80", "10.0.0.0/8@80@81",
		"10.0.0.0/8:80", "::ffff:10.0.0.0/104@80",
	} {
		_, _, err := egress.ParseAllow("127.0.0.0/8," + item)
		require.ErrorContains(t, err, `"`+item+`"`)
	}
}

func TestParsePorts(t *testing.T) {
	t.Parallel()
	ports, err := egress.ParsePorts(" 22,25 ")
	require.NoError(t, err)
	require.Equal(t, []uint16{22, 25}, ports)
	ports, err = egress.ParsePorts(" ")
	require.NoError(t, err)
	require.Empty(t, ports)
	for _, item := range []string{"", "0", "65536", "-1", "22-25", "ssh"} {
		_, err := egress.ParsePorts("22," + item)
		require.ErrorContains(t, err, `"`+item+`"`)
	}
}

func TestParseNAT64(t *testing.T) {
	t.Parallel()
	ranges, err := egress.ParseNAT64("64:ff9b:1::/96, 2001:db8:64::/96")
	require.NoError(t, err)
	require.Equal(t, prefixes("64:ff9b:1::/96", "2001:db8:64::/96"), ranges)
	for _, item := range []string{"64:ff9b:1::/48", "10.0.0.0/8", "64:ff9b:1::", ""} {
		_, err := egress.ParseNAT64("64:ff9b:1::/96," + item)
		require.Error(t, err, item)
	}
}
