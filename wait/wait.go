// Package wait holds how we wait: for a while or until an instant, and never longer than a context allows.
package wait

import (
	"context"
	"math/rand/v2"
	"time"
)

// For waits for d, and reports whether ctx lasted.
func For(ctx context.Context, d time.Duration) bool { return ForOr(ctx, d, nil) }

// ForOr waits for d, or until something comes from wake, and reports whether ctx lasted.
func ForOr(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// About waits for d, give or take half of it, so that those who failed together do not come back together. It reports
// whether ctx lasted.
func About(ctx context.Context, d time.Duration) bool {
	return For(ctx, d/2+rand.N(d)) //nolint:gosec // jitter
}

// Over reports whether a context has ended, or its deadline has passed: a process that stood still hears of that only in a
// moment.
func Over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// Beside runs something beside the caller, though ctx may end, until stop is called. stop waits for its end.
func Beside(ctx context.Context, run func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// Repeat calls do at once and after each tick, and failed with its errors, until ctx is done.
func Repeat(ctx context.Context, tick time.Duration, do func(context.Context) error, failed func(error)) {
	for {
		if err := do(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
		if !For(ctx, tick) {
			return
		}
	}
}
