package jobs

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"riverwatch/db"
)

// inTx runs f in a transaction, and the whole of it again, three times at most, when it lost against another one.
func inTx(ctx context.Context, conn db.Conn, f func(tx pgx.Tx) error) error {
	for try := 1; ; try++ {
		err := pgx.BeginFunc(ctx, conn, f)
		if db.TroubleOf(err) != db.TroubleRetry || try == 3 {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50*time.Millisecond + rand.N(200*time.Millisecond)): //nolint:gosec // jitter
		}
	}
}
