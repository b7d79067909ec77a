package httpapi

import (
	"context"
	"time"

	"riverwatch/db"
)

// ReadTargets reads what a scrape of all targets shows at an instant.
func ReadTargets(ctx context.Context, conn db.DBTX, at time.Time) error {
	_, err := newTargets(conn, func() time.Time { return at }).text(ctx, "")
	return err
}
