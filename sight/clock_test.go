package sight

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSkewIsWhatTheAnswersWayDoesNotExplain(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	for _, c := range []struct{ asked, theirs, answered, want int }{
		{0, 0, 0, 0},
		{0, 3, 5, 0},
		{10, 3, 15, 7},
		{0, 9, 5, -4},
	} {
		require.Equal(t, time.Duration(c.want)*time.Second, skewOf(at(c.asked), at(c.theirs), at(c.answered)), "%v", c)
	}
}
