package jobs

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAwaitStop(t *testing.T) {
	t.Parallel()
	const softStop = 18 * time.Second

	t.Run("OpenScansFinish", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			stopped := make(chan struct{})
			time.AfterFunc(softStop, func() { close(stopped) })
			require.NoError(t, awaitStop(stopped, softStop, func() { t.Error("what was scanned is still to be recorded") }))
		})
	})

	t.Run("TheRecorderIsStoppedFirstWhereItHoldsTheScansUp", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			stopped := make(chan struct{})
			require.NoError(t, awaitStop(stopped, softStop, func() { close(stopped) }))
		})
	})

	t.Run("WithinSixSecondsMoreWhateverHappens", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			const drain = 2 * time.Second // what the recorder takes at most, the database being away
			began := time.Now()
			err := awaitStop(make(chan struct{}), softStop, func() { time.Sleep(drain) })
			require.ErrorContains(t, err, "the database is away")
			require.Less(t, time.Since(began), softStop+6*time.Second+time.Millisecond)
		})
	})
}
