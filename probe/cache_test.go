package probe_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
)

func TestCache(t *testing.T) {
	t.Parallel()
	cache := probe.NewCache(100)
	made := 0
	length := func(text string) (value, weight int, err error) {
		made++
		if text == "bad" {
			return 0, 0, errors.New("bad")
		}
		return len(text), len(text), nil
	}
	for size := range 60 {
		value, err := cache.Get(strings.Repeat("a", size), length)
		require.NoError(t, err)
		require.Equal(t, size, value)
		entries, weight := cache.Weight()
		require.LessOrEqual(t, weight, 100)
		require.Positive(t, entries)
	}
	require.Equal(t, 60, made)
	_, err := cache.Get("bad", length)
	require.Error(t, err)
	_, err = cache.Get("bad", length)
	require.Error(t, err)
	require.Equal(t, 62, made, "what failed is not kept")
	value, err := cache.Get(strings.Repeat("b", 101), length)
	require.NoError(t, err)
	require.Equal(t, 101, value, "what is too heavy to be kept is made nevertheless")
	_, weight := cache.Weight()
	require.LessOrEqual(t, weight, 100)

	for range 10 {
		value, err = cache.Get("x", func(string) (int, int, error) { return 7, 1, nil })
		require.NoError(t, err)
		require.Equal(t, 7, value)
	}
}

// What many scans need is made once: patterns, authorities.
func TestCachesAreUsed(t *testing.T) {
	t.Parallel()
	prober := patient(onLoopback)
	_, caPEM := hostile.WantsClientTLS(t)
	target := get("https://127.0.0.1:1/")
	target.Request.CAPEM = caPEM
	roots := prober.PrepareHop(target).RootCAs
	require.Same(t, roots, prober.PrepareHop(target).RootCAs)
	_, another := hostile.WantsClientTLS(t)
	target.Request.CAPEM = another
	require.NotSame(t, roots, prober.PrepareHop(target).RootCAs)
}
