package jobs

import (
	"math"
	runtimemetrics "runtime/metrics"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestQuantile(t *testing.T) {
	t.Parallel()
	histogram := &runtimemetrics.Float64Histogram{
		Counts: []uint64{5, 80, 10, 5}, Buckets: []float64{math.Inf(-1), 0.001, 0.01, 0.1, math.Inf(1)},
	}
	for name, test := range map[string]struct {
		before []uint64
		want   time.Duration
	}{
		"AtFirst":             {nil, 0},
		"OfAll":               {[]uint64{0, 0, 0, 0}, 10 * time.Millisecond},
		"OfWhatIsNew":         {[]uint64{5, 80, 9, 0}, 100 * time.Millisecond},
		"OfWhatIsNewAndQuick": {[]uint64{0, 0, 10, 5}, time.Millisecond},
		"OfNothing":           {[]uint64{5, 80, 10, 5}, 0},
		"OfTheQuickest":       {[]uint64{0, 80, 10, 5}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, quantile(histogram, test.before, 0.9))
		})
	}
}

func TestDelayIsMeasured(t *testing.T) {
	t.Parallel()
	delay := newDelay()
	require.Zero(t, delay(), "nothing has been before")
	require.Less(t, delay(), time.Hour)
}
