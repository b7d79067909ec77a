package db

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"riverwatch/wait"
)

// ErrLostRace is the error of a transaction that another one got in the way of, where the database cannot know.
var ErrLostRace = errors.New("another transaction was faster")

// InTx runs f in a transaction, and the whole of it again, three times at most, when it lost against another one.
func InTx(ctx context.Context, conn Conn, f func(tx pgx.Tx) error) error {
	for try := 1; ; try++ {
		err := pgx.BeginFunc(ctx, conn, f)
		if TroubleOf(err) != TroubleRetry || try == 3 || !wait.About(ctx, 150*time.Millisecond) {
			return err
		}
	}
}
