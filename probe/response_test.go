package probe_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/probe"
	"riverwatch/probe/hostile"
)

// TestProbeOfHostileServers runs the list "response".
func TestProbeOfHostileServers(t *testing.T) {
	t.Parallel()
	named := hostile.Named()

	for _, row := range hostile.Rows(t, "testdata/response.csv") {
		t.Run(row["id"], func(t *testing.T) {
			t.Parallel()
			start := named[row["server"]]
			if row["kind"] == "raw" {
				answer := []byte(hostile.Text(t, row["server"]))
				start = func(tb testing.TB) string { return hostile.Raw(tb, answer) }
			}
			require.NotNil(t, start, "no server %s", row["server"])

			timeout := 10 * time.Second // none of them needs a second, but on a busy machine
			if strings.HasPrefix(row["expect"], "timeout_") {
				timeout = time.Second
			}
			result := probeURL(t, start(t), within(timeout))

			require.Equal(t, row["expect"], string(result.Outcome), result.Error)
			require.Equal(t, row["status"], statusText(result.HTTPStatus))
			// 0.3 s are promised, and a second is what this machine may be late by when all tests run.
			require.Less(t, result.Total, timeout+time.Second)
			require.Equal(t, result.Outcome.Good(), result.Error == "")
			require.Equal(t, probe.CleanText(result.Error), result.Error)
		})
	}
}

func statusText(status *int) string {
	if status == nil {
		return ""
	}
	return strconv.Itoa(*status)
}
