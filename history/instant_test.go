package history_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/history"
)

func TestInstant(t *testing.T) {
	t.Parallel()
	now, other := noon, noon.Add(-time.Second)
	for text, want := range map[string]time.Time{
		"2026-06-01T14:00:00+02:00": noon,
		"1780315200":                noon,
		"1780315200.5":              noon.Add(time.Second / 2),
		"now":                       noon,
		"now-24h":                   noon.Add(-24 * time.Hour),
		"now-7d":                    noon.Add(-7 * 24 * time.Hour),
		"now+1m30s":                 noon.Add(90 * time.Second),
	} {
		var instant history.Instant
		require.NoError(t, instant.UnmarshalText([]byte(text)), text)
		require.True(t, instant.Or(now, other).Equal(want), "%s: %s", text, instant.Or(now, other))
	}
	for _, text := range []string{"", "yesterday", "now5m", "now-1x", "now-1.5d", "-5", "NaN", "1e12", "2026-13-01T00:00:00Z", "now-999999d"} {
		var instant history.Instant
		require.Error(t, instant.UnmarshalText([]byte(text)), text)
	}
	require.Equal(t, other, history.Instant{}.Or(now, other))
}
