package probe_test

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
)

// TestCheckRegexp runs the list "regexp".
func TestCheckRegexp(t *testing.T) {
	t.Parallel()
	for _, row := range hostile.Rows(t, "testdata/regexp.csv") {
		t.Run(row["id"], func(t *testing.T) {
			t.Parallel()
			require.Equal(t, row["expect"], codeOf(probe.CheckRegexp(hostile.Text(t, row["pattern"]))))
		})
	}
}

func TestCheckRegexpSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	require.EqualError(t, probe.CheckRegexp("a("), "the regexp does not compile: missing closing ): `a(`; "+
		"the syntax is that of RE2, without look-around and back-references")
}

func FuzzCheckRegexp(f *testing.F) {
	for _, row := range hostile.Rows(f, "testdata/regexp.csv") {
		f.Add(hostile.Text(f, row["pattern"]))
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		if err := probe.CheckRegexp(pattern); err != nil {
			require.Contains(t, []string{"regexp_invalid", "regexp_too_long", "regexp_too_complex"}, codeOf(err))
			return
		}
		_, err := regexp.Compile(pattern)
		require.NoError(t, err)
	})
}
