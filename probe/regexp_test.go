package probe_test

import (
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
	require.Equal(t, "regexp_invalid", codeOf(probe.CheckRegexp("a\xff")))
	require.Equal(t, "regexp_invalid", codeOf(probe.CheckRegexp("a\x00")))
	require.NoError(t, probe.CheckRegexp(`a\x00`))
}
