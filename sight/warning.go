package sight

import (
	"context"
	"fmt"
	"time"

	"riverwatch/db"
)

const (
	warningWithin = 3 * time.Second // that the database may take
	renewTick     = 5 * time.Second // from one renewal of an open warning to the next
)

// warning is one that this process has for operators while something is so. It is told again every few seconds: one that
// nobody has told for a minute is closed.
type warning struct {
	conn                   db.Conn
	kind, message, process string

	raised    bool // it may be there, and be about this process
	renewedAt time.Time
}

// tell raises the warning or renews it, or withdraws it for this process, at a time.
func (w *warning) tell(ctx context.Context, so bool, at time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, warningWithin)
	defer cancel()
	queries := db.New(w.conn)
	switch {
	case so && !w.renewedAt.IsZero() && at.Sub(w.renewedAt) < renewTick:
	case so:
		w.raised = true // also if the answer is lost
		err := queries.RaiseWarning(ctx, db.RaiseWarningParams{Kind: w.kind, Message: w.message, Process: w.process, At: at})
		if err != nil {
			return fmt.Errorf("raise the warning %s: %w", w.kind, err)
		}
		w.renewedAt = at
	case w.raised:
		w.renewedAt = time.Time{}
		if err := queries.WithdrawWarning(ctx, db.WithdrawWarningParams{Kind: w.kind, Process: w.process, At: at}); err != nil {
			return fmt.Errorf("withdraw the warning %s: %w", w.kind, err)
		}
		w.raised = false
	}
	return nil
}
