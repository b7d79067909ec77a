package probe_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
)

func TestCheckStatuses(t *testing.T) {
	t.Parallel()
	for text, code := range map[string]string{
		"200":      "ok",
		"599":      "ok",
		"200-299":  "ok",
		"404-404":  "ok",
		"":         "status_invalid",
		"199":      "status_invalid",
		"600":      "status_invalid",
		"299-200":  "status_invalid",
		"200-":     "status_invalid",
		"-200":     "status_invalid",
		"200-300-": "status_invalid",
		"2xx":      "status_invalid",
		" 200":     "status_invalid",
		"+200":     "status_invalid",
		"0200":     "status_invalid",
		"200–299":  "status_invalid",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, code, codeOf(probe.CheckStatuses([]string{"204", text})))
		})
	}

	require.NoError(t, probe.CheckStatuses(nil))
	require.NoError(t, probe.CheckStatuses(slices.Repeat([]string{"200"}, 20)))
	require.Equal(t, "status_invalid", codeOf(probe.CheckStatuses(slices.Repeat([]string{"200"}, 21))))
}
