package main

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/db/dbtest"
	"riverwatch/egress"
)

func newTestFloor(t *testing.T, api string, c config) *floor {
	t.Helper()
	c.AllowCIDRs = allowList{everywhere: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}
	f, err := c.newFloor(netip.MustParseAddrPort(api))
	require.NoError(t, err)
	return f
}

func refuses(policy egress.Policy, address string) bool {
	return policy.Check(netip.MustParseAddrPort(address)) != nil
}

// A database that fails over to another address is refused there, by policies that were handed out before.
func TestFloorMoves(t *testing.T) {
	t.Parallel()
	f := newTestFloor(t, "127.0.0.1:8081", config{DatabaseURL: "postgres://u@db.example:5433/d", KubernetesHost: "k8s.example"})
	answers := map[string][]string{"db.example": {"10.0.0.1"}, "k8s.example": {"10.9.0.1", "fd00::9"}}
	f.lookup = func(_ context.Context, host string) ([]string, error) {
		if answer, ok := answers[host]; ok {
			return answer, nil
		}
		return nil, errors.New("no DNS")
	}
	policy := f.policy()
	require.NoError(t, f.look(t.Context()))
	require.True(t, refuses(policy, "10.0.0.1:5433"))
	require.False(t, refuses(policy, "10.0.0.2:5433"))
	require.True(t, refuses(policy, "10.9.0.1:443"), "Kubernetes, at every port")
	require.True(t, refuses(policy, "127.0.0.1:8081"))

	answers["db.example"] = []string{"10.0.0.2"}
	require.NoError(t, f.look(t.Context()))
	require.True(t, refuses(policy, "10.0.0.2:5433"), "it has failed over")
	require.False(t, refuses(policy, "10.0.0.1:5433"))

	delete(answers, "db.example")
	require.NoError(t, f.look(t.Context()))
	require.True(t, refuses(policy, "10.0.0.2:5433"), "what is not found now is where it was")
}

// A worker learns where the API of another process listens, and every process of the metrics of all.
func TestProcessesShareTheirFloor(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	c := config{DatabaseURL: "postgres://u@127.0.0.1:5433/d", MetricsListen: "10.1.0.1:9090"}
	api := newTestFloor(t, "10.1.0.1:8080", c)
	api.answers = true
	c.MetricsListen = "off"
	worker := newTestFloor(t, "10.1.0.2:8080", c)
	policy := worker.policy()

	require.NoError(t, worker.share(t.Context(), pool))
	require.False(t, refuses(policy, "10.1.0.1:8080"))
	require.True(t, refuses(policy, "10.1.0.2:8080"), "its own")
	require.NoError(t, api.share(t.Context(), pool))
	require.False(t, refuses(api.policy(), "10.1.0.2:8080"), "there is no API")
	require.NoError(t, worker.share(t.Context(), pool))
	require.True(t, refuses(policy, "10.1.0.1:8080"))
	require.True(t, refuses(policy, "10.1.0.1:9090"))

	_, err := pool.Exec(t.Context(), "UPDATE listeners SET seen_at = now() - INTERVAL '61 minutes'")
	require.NoError(t, err)
	require.NoError(t, worker.share(t.Context(), pool))
	require.False(t, refuses(policy, "10.1.0.1:8080"), "it has ended")
	require.Zero(t, dbtest.One[int](t, pool, "SELECT count(*)::integer FROM listeners"))

	require.NoError(t, api.share(t.Context(), pool))
	require.NoError(t, worker.share(t.Context(), pool))
	pool.Close()
	require.Error(t, worker.share(t.Context(), pool))
	require.True(t, refuses(policy, "10.1.0.1:8080"), "what was learned is kept while the database is away")
}
