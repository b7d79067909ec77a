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

func FuzzCheckStatuses(f *testing.F) {
	for _, seed := range []string{"200", "200-299", "299-200", "", "-", "20", "200-", "٢٠٠"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if probe.CheckStatuses([]string{text}) == nil {
			require.Regexp(t, "^[2-5][0-9][0-9](-[2-5][0-9][0-9])?$", text)
		}
	})
}
