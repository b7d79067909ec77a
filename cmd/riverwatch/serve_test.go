package main

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/db"
	"riverwatch/db/dbtest"
	"riverwatch/egress"
)

// The README promises it. jobs.Worker.Run takes its soft stop and 6 s at most, and requests are over by then.
func TestStopsWithin25Seconds(t *testing.T) {
	t.Parallel()
	require.Less(t, max(softStop, closeTimeout)+6*time.Second, 25*time.Second)
}

// A database of an earlier build is made good by no migration: to wait for one is in vain.
func TestAWorkerOnADatabaseOfAnEarlierBuildEnds(t *testing.T) {
	t.Parallel()
	databaseURL := dbtest.URL(t)
	dbtest.Exec(t, dbtest.Open(t, databaseURL), "UPDATE schema_version SET baseline = 'another'")
	_, _, err := command(t.Context(), map[string]string{
		"DATABASE_URL": databaseURL, "RIVERWATCH_METRICS_LISTEN": "off",
	}, "worker")
	require.ErrorIs(t, err, db.ErrEarlierBuild)
}

func TestReachable(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{
		"10.1.2.3:80": "10.1.2.3:80", "0.0.0.0:8080": "127.0.0.1:8080", "[::]:8080": "127.0.0.1:8080", "[::1]:8080": "[::1]:8080",
	} {
		require.Equal(t, want, reachable(netip.MustParseAddrPort(listen)).String())
	}
}

// What is ours is refused, whatever the operator allows.
func TestPolicy(t *testing.T) {
	t.Parallel()
	everything := allowList{everywhere: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}
	policyOf := func(t *testing.T, listen string, c config) egress.Policy {
		t.Helper()
		c.AllowCIDRs = everything
		policy, err := c.policy(t.Context(), netip.MustParseAddrPort(listen))
		require.NoError(t, err)
		return policy
	}
	check := func(policy egress.Policy, address string) error {
		return policy.Check(netip.MustParseAddrPort(address))
	}
	database := config{DatabaseURL: "postgres://u@127.0.0.1:5433,127.0.0.2:5434/d"}

	policy := policyOf(t, "0.0.0.0:8081", database)
	require.Error(t, check(policy, "127.0.0.1:8081"), "the API, at every address of this machine")
	require.NoError(t, check(policy, "127.0.0.1:8082"))
	require.Error(t, check(policy, "127.0.0.1:5433"), "the database")
	require.Error(t, check(policy, "127.0.0.2:5434"), "and the one it fails over to")
	require.NoError(t, check(policy, "127.0.0.2:5433"))

	policy = policyOf(t, "127.0.0.1:8081", database)
	require.Error(t, check(policy, "127.0.0.1:8081"))
	require.NoError(t, check(policy, "127.0.0.3:8081"))

	database.KubernetesHost = "10.96.0.1"
	require.Error(t, check(policyOf(t, "127.0.0.1:8081", database), "10.96.0.1:443"), "Kubernetes, at every port")

	unresolvable := config{DatabaseURL: "postgres://u@/d?host=/var/run/postgresql"}
	require.NoError(t, check(policyOf(t, "127.0.0.1:0", unresolvable), "127.0.0.1:5432"))
}

// A command that cannot do what it is asked fails with what it was doing.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	environment := map[string]string{
		"DATABASE_URL": "postgres://u:secret@" + listener.Addr().String() + "/d?sslmode=disable", "RIVERWATCH_LISTEN": "127.0.0.1:0",
	}
	for _, args := range [][]string{
		{"serve"},
		{"migrate", "up"},
		{"migrate", "down"},
		{"migrate", "status"},
		{"rollup", "--from", "now-1h"},
		{"report", "--month", "2026-01"},
		{"generate-monitors", "--count", "1", "--url", "http://example.com"},
	} {
		_, _, err := command(t.Context(), environment, args...)
		require.Error(t, err, args)
		require.Equal(t, exitFailed, exitCode(err), args)
		require.ErrorContains(t, err, "connect", args)
		require.NotContains(t, err.Error(), "secret", args)
	}
}
