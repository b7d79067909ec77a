package egress_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/egress"
)

// The floor holds, whatever the operator allows, and what he does not name stays refused. What is read of a list reads
// the same again.
func FuzzPolicy(f *testing.F) {
	for _, list := range []string{"10.0.0.0/8", "fc00::/7,127.0.0.1/32", "10.0.0.0/8@8080", "64:ff9b:1::/96", "22,25", "@", ","} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		policy := egress.Policy{}
		policy.Allow, policy.AllowAt, _ = egress.ParseAllow(list)
		policy.AllowPorts, _ = egress.ParsePorts(list)
		policy.NAT64, _ = egress.ParseNAT64(list)
		requireFloor(t, policy)

		private := netip.MustParseAddr("10.0.0.1")
		named := strings.Contains(list, "/")
		require.True(t, named || policy.CheckAddr(private) != nil)
		require.True(t, named || policy.CheckDNS(netip.AddrPortFrom(private, 53)) != nil)

		if ranges, err := egress.ParseCIDRs(list); err == nil {
			var texts []string
			for _, prefix := range ranges {
				texts = append(texts, prefix.String())
			}
			again, err := egress.ParseCIDRs(strings.Join(texts, ","))
			require.NoError(t, err)
			require.Equal(t, ranges, again)
			require.Equal(t, ranges, policy.Allow)
			policy.RefusePrefixes = ranges
			for _, prefix := range ranges {
				require.Error(t, policy.CheckAddr(prefix.Addr()), "what the operator refuses beats what he allows")
			}
		}
	})
}

func requireFloor(tb testing.TB, policy egress.Policy) {
	tb.Helper()
	for _, text := range []string{
		"169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "fd00:ec2::254",
		"fd00:c1::a9fe:a9fe", "fd00:a9fe:a9fe::1",
		"::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
	} {
		addr := netip.MustParseAddr(text)
		require.Error(tb, policy.CheckAddr(addr))
		for _, port := range []uint16{0, 22, 53, 80, 8080} {
			require.Error(tb, policy.Check(netip.AddrPortFrom(addr, port)))
			require.Error(tb, policy.CheckDNS(netip.AddrPortFrom(addr, port)))
		}
	}
}
