package probe_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
)

var (
	loopback = probe.Policy{Allow: prefixes("127.0.0.0/8", "::1/128")}
	lan      = probe.Policy{Allow: prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")}
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
	verdict := func(policy probe.Policy, address string) string {
		if policy.Check(netip.AddrPortFrom(netip.MustParseAddr(address), 443)) != nil {
			return "deny"
		}
		return "allow"
	}

	for _, row := range hostile.Rows(t, "testdata/ip.csv") {
		t.Run(row["id"], func(t *testing.T) {
			t.Parallel()
			require.Equal(t, row["public"], verdict(probe.Policy{}, row["address"]), row["address"])
			require.Equal(t, row["lan"], verdict(lan, row["address"]), row["address"])
		})
	}
}

func TestPolicyCheckOfPortsAndLists(t *testing.T) {
	t.Parallel()
	open := probe.Policy{
		Allow:  prefixes("0.0.0.0/0", "::/0"),
		Refuse: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.5:5432"), netip.MustParseAddrPort("[::ffff:10.0.0.6]:0")},
	}
	for _, row := range []struct {
		policy  probe.Policy
		address string
		refused bool
	}{
		{probe.Policy{}, "8.8.8.8:443", false},
		{probe.Policy{}, "8.8.8.8:22", true},
		{probe.Policy{}, "8.8.8.8:0", true},
		{probe.Policy{}, "[64:ff9b::808:808]:443", false},
		{probe.Policy{}, "[64:ff9b::808:808]:22", true},
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
		{probe.Policy{}, "[2606:4700::200:5efe:7f00:1]:80", true},
	} {
		t.Run(row.address, func(t *testing.T) {
			t.Parallel()
			err := row.policy.Check(netip.MustParseAddrPort(row.address))
			require.Equal(t, row.refused, err != nil, err)
		})
	}

	require.ErrorContains(t, probe.Policy{}.Check(netip.MustParseAddrPort("10.0.0.1:80")), "10.0.0.1:80")
	require.Error(t, probe.Policy{}.Check(netip.AddrPort{}))
}

func TestParseCIDRs(t *testing.T) {
	t.Parallel()
	for list, want := range map[string][]netip.Prefix{
		"":                         nil,
		"  ":                       nil,
		"10.0.0.0/8":               prefixes("10.0.0.0/8"),
		" 10.1.2.3/8 , fc00::/7\t": prefixes("10.0.0.0/8", "fc00::/7"),
	} {
		got, err := probe.ParseCIDRs(list)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, item := range []string{"10.0.0.0", "10.0.0.0/33", "lan", "::ffff:10.0.0.0/104", "fe80::%eth0/64", ""} {
		_, err := probe.ParseCIDRs("127.0.0.0/8," + item)
		require.ErrorContains(t, err, `"`+item+`"`)
	}
}
