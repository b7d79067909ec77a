package wait_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/wait"
)

// minute is a context that ends after a minute.
func minute(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestFor(t *testing.T) {
	t.Parallel()

	t.Run("WaitsForSoLong", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx := minute(t)
			began := time.Now()
			require.True(t, wait.For(ctx, 59*time.Second))
			require.Equal(t, 59*time.Second, time.Since(began))
		})
	})

	t.Run("NoLongerThanTheContext", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx := minute(t)
			began := time.Now()
			require.False(t, wait.For(ctx, time.Hour))
			require.Equal(t, time.Minute, time.Since(began))
		})
	})

	t.Run("NotAtAllForAnInstantThatHasPassed", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx := minute(t)
			began := time.Now()
			require.True(t, wait.For(ctx, -time.Second))
			require.Equal(t, began, time.Now())
		})
	})

	t.Run("NeverLastsIfTheContextIsOverAlready", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx := minute(t)
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			require.False(t, wait.For(ctx, 0))
		})
	})
}

func TestForOr(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := minute(t)
		wake := make(chan struct{}, 1)
		began := time.Now()
		time.AfterFunc(10*time.Second, func() { wake <- struct{}{} })
		require.True(t, wait.ForOr(ctx, 30*time.Second, wake))
		require.Equal(t, 10*time.Second, time.Since(began), "it is woken")
		require.True(t, wait.ForOr(ctx, 30*time.Second, wake))
		require.Equal(t, 40*time.Second, time.Since(began), "nothing wakes it")
		require.False(t, wait.ForOr(ctx, 30*time.Second, wake))
		require.Equal(t, time.Minute, time.Since(began), "the context is over")
	})
}

func TestAbout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		waited := map[time.Duration]bool{}
		for range 1000 {
			began := time.Now()
			require.True(t, wait.About(t.Context(), 10*time.Second))
			took := time.Since(began)
			require.GreaterOrEqual(t, took, 5*time.Second)
			require.Less(t, took, 15*time.Second)
			waited[took.Truncate(time.Second)] = true
		}
		require.Len(t, waited, 10, "they do not come back together")
	})
}

func TestOver(t *testing.T) {
	t.Parallel()
	require.False(t, wait.Over(t.Context()))

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	require.True(t, wait.Over(cancelled))

	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.False(t, wait.Over(ctx))
		require.True(t, wait.Over(untold{ctx, time.Now()}), "its deadline is now, and nobody has told it")
		require.False(t, wait.Over(untold{ctx, time.Now().Add(1)}))
	})
}

// untold is a context that has not heard of its deadline.
type untold struct {
	context.Context

	deadline time.Time
}

func (u untold) Deadline() (time.Time, bool) { return u.deadline, true }

func TestBeside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := minute(t)
		stopped := false
		began := time.Now()
		stop := wait.Beside(ctx, func(ctx context.Context) {
			<-ctx.Done()
			time.Sleep(time.Second)
			stopped = true
		})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.Error(t, ctx.Err())
		require.False(t, stopped, "the caller's context may end")
		stop()
		require.True(t, stopped, "its end is waited for")
		require.Equal(t, 2*time.Minute+time.Second, time.Since(began))
		stop() // again, to no effect
	})
}

func TestRepeat(t *testing.T) {
	t.Parallel()

	t.Run("AtOnceAndAfterEachTickUntilTheContextIsOver", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx := minute(t)
			began := time.Now()
			var at []time.Duration
			var errs []error
			wait.Repeat(ctx, 20*time.Second, func(context.Context) error {
				at = append(at, time.Since(began))
				time.Sleep(time.Second)
				if len(at) == 2 {
					return errors.New("the second time")
				}
				return nil
			}, func(err error) { errs = append(errs, err) })
			require.Equal(t, []time.Duration{0, 21 * time.Second, 42 * time.Second}, at)
			require.Equal(t, []error{errors.New("the second time")}, errs)
			require.Equal(t, time.Minute, time.Since(began))
		})
	})

	t.Run("TheErrorOfItsEndIsNone", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx := minute(t)
			wait.Repeat(ctx, time.Second, func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			}, func(err error) { t.Error(err) })
		})
	})
}
