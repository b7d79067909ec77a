package uptime_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"riverwatch/uptime"
)

// allOutcomes gives every outcome that there is, as the source says.
func allOutcomes(t require.TestingT) (outcomes []uptime.Outcome) {
	file, err := parser.ParseFile(token.NewFileSet(), "outcome.go", nil, 0)
	require.NoError(t, err)
	ast.Inspect(file, func(node ast.Node) bool {
		constant, ok := node.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for _, value := range constant.Values {
			word, ok := value.(*ast.BasicLit)
			require.True(t, ok)
			outcome, err := strconv.Unquote(word.Value)
			require.NoError(t, err)
			outcomes = append(outcomes, uptime.Outcome(outcome))
		}
		return false
	})
	require.Contains(t, outcomes, uptime.Inconclusive)
	require.Equal(t, outcomes, uptime.Outcomes())
	return outcomes
}

func TestOutcome(t *testing.T) {
	t.Parallel()
	good := []uptime.Outcome{uptime.OK, uptime.OKTruncated, uptime.OKSlow}
	ours := []uptime.Outcome{uptime.Inconclusive, uptime.BlockedByPolicy, uptime.NotSupported}
	for _, outcome := range allOutcomes(t) {
		require.Equal(t, slices.Contains(good, outcome), outcome.Good(), outcome)
		require.Equal(t, !slices.Contains(ours, outcome), outcome.Conclusive(), outcome)
		require.Equal(t, !slices.Contains(good, outcome) && !slices.Contains(ours, outcome), outcome.Failed(), outcome)
		require.Equal(t, outcome != uptime.Inconclusive, outcome.Tells(), outcome)
	}
}
