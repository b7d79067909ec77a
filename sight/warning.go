package sight

import (
	"context"
	"fmt"
	"time"

	"riverwatch/db"
)

// How long the database may take with a warning.
const warningWithin = 3 * time.Second

// warning is one that this process has for operators while something is so. It is told again every few seconds: one that
// nobody has told for a minute is closed.
type warning struct {
	conn                   db.Conn
	kind, message, process string

	raised bool // it may be there, and be about this process
}

// tell raises the warning or renews it, or withdraws it for this process, at a time.
func (w *warning) tell(ctx context.Context, so bool, at time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, warningWithin)
	defer cancel()
	queries := db.New(w.conn)
	switch {
	case so:
		w.raised = true // also if the answer is lost
		err := queries.RaiseWarning(ctx, db.RaiseWarningParams{Kind: w.kind, Message: w.message, Process: w.process, At: at})
		if err != nil {
			return fmt.Errorf("raise the warning %s: %w", w.kind, err)
		}
	case w.raised:
		if err := queries.WithdrawWarning(ctx, db.WithdrawWarningParams{Kind: w.kind, Process: w.process, At: at}); err != nil {
			return fmt.Errorf("withdraw the warning %s: %w", w.kind, err)
		}
		w.raised = false
	}
	return nil
}
