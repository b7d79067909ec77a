// Package monitors holds what is watched. A monitor's row, where it stands, its promise and its jobs change in one
// transaction, so that an acknowledged monitor is never lost and is always scheduled.
package monitors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river"

	"riverwatch/db"
	"riverwatch/queue"
	"riverwatch/uptime"
)

// identities are the unique indexes of what a monitor is known by.
var identities = []string{"monitors_key", "monitors_identity"}

// Store keeps monitors.
type Store struct {
	Conn  db.Conn
	Queue queue.Queue
	Now   func() time.Time // when a change is made, for tests; nil: the database's clock tells
}

// A ConflictError says that what a monitor is to be known by belongs to another one: its key, or, without one, its method,
// URL and regexp.
type ConflictError struct {
	MonitorID int64
	ByKey     bool
	Deleted   bool
}

func (e *ConflictError) Error() string {
	if e.ByKey {
		return fmt.Sprintf("monitor %d has this key", e.MonitorID)
	}
	return fmt.Sprintf("monitor %d has this method, URL and regexp", e.MonitorID)
}

func conflict(with db.Monitor) *ConflictError {
	return &ConflictError{MonitorID: with.ID, ByKey: with.Key != nil, Deleted: with.DeletedAt != nil}
}

// Result says what came of one monitor of Create.
type Result string

// What may come of a monitor that is to be created.
const (
	Created Result = "created" // or revived from the deleted, with its history
	Updated Result = "updated" // it was there, and is now as it was given
	Exists  Result = "exists"  // it was there, and is left as it was
)

// Creation is a monitor as it is now, where it stands, and how it came to be.
type Creation struct {
	Monitor Monitor
	State   uptime.State
	Result  Result
}

// Create creates monitors, with their promises and jobs, in one transaction. A monitor that is there already, by its key,
// or without one by its method, URL and regexp, is updated if update says so, and else left alone. The results are in the
// order given. A single monitor is scanned at once; of several only those whose first slot is far away.
func (s *Store) Create(ctx context.Context, given []Monitor, update bool) (creations []Creation, err error) {
	err = s.change(ctx, func(c *change) error {
		creations, err = c.create(ctx, given, update)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create %d monitors: %w", len(given), err)
	}
	return creations, nil
}

// Conflict is the error of a monitor that Create left alone.
func (c Creation) Conflict() *ConflictError { return conflict(c.Monitor.Monitor) }

// Edit makes a monitor what want makes of it, and gives it with where it stands. An error of want is returned as it is.
// Other errors: pgx.ErrNoRows where there is no such monitor, *ConflictError.
func (s *Store) Edit(
	ctx context.Context, id int64, want func(Monitor) (Monitor, error),
) (edited Monitor, state uptime.State, err error) {
	var wanted Monitor
	err = s.change(ctx, func(c *change) error {
		row, err := c.lock(ctx, id)
		if err != nil {
			return err
		}
		current, err := c.read(ctx, []db.Monitor{row})
		if err != nil {
			return err
		}
		if wanted, err = want(current[0].copy()); err != nil {
			return err
		}
		e := c.edit(current[0], wanted)
		err = c.apply(ctx, []*edit{e})
		edited, state = e.to, e.after
		return err
	})
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && slices.Contains(identities, pgErr.ConstraintName) {
		if holder := s.holder(ctx, wanted); holder != nil { // else it has just become free
			err = holder
		}
	}
	return edited, state, err
}

// holder gives the error of a monitor that is to be known as another one already is.
func (s *Store) holder(ctx context.Context, wanted Monitor) error {
	var conflicting error
	err := s.change(ctx, func(c *change) error {
		there, err := c.lockKnownAs(ctx, []string{wanted.knownAs()})
		for _, row := range there {
			conflicting = conflict(row)
		}
		return err
	})
	if err != nil {
		return err
	}
	return conflicting
}

// Delete deletes a monitor. Its history stays, and its secrets do not. Error: pgx.ErrNoRows where there is no such monitor.
func (s *Store) Delete(ctx context.Context, id int64) error {
	return s.change(ctx, func(c *change) error {
		row, err := c.lock(ctx, id)
		if err != nil {
			return err
		}
		return c.apply(ctx, []*edit{c.removal(row)})
	})
}

// So many scans of one monitor may people ask for, the first ones after changes among them: a script in a loop must not make us a flood.
const (
	mostAskedOpen   = 2
	mostAskedRecent = 60 // a minute
)

// ErrTooManyScans is the error of a monitor of which people asked for as many scans as they may.
var ErrTooManyScans = fmt.Errorf("at most %d scans that were asked for may be open, and %d a minute", mostAskedOpen, mostAskedRecent)

// Scan asks for a scan of a monitor now, and gives it with the slot under which its result will be in the log. Errors:
// pgx.ErrNoRows where there is no such monitor, ErrTooManyScans.
func (s *Store) Scan(ctx context.Context, id int64) (monitor db.Monitor, slot time.Time, err error) {
	err = s.change(ctx, func(c *change) error {
		if monitor, err = c.lock(ctx, id); err != nil { // two that ask at once count each other
			return err
		}
		asked, err := c.queries.CountAskedScans(ctx, id)
		if err != nil {
			return fmt.Errorf("count the scans of monitor %d that were asked for: %w", id, err)
		}
		if asked.Open >= mostAskedOpen || asked.Recent >= mostAskedRecent {
			return ErrTooManyScans
		}
		var job river.InsertManyParams
		job, slot = queue.Scan(queue.ScanArgs{MonitorID: id, At: c.at, Reason: queue.ReasonAsked})
		if _, err := c.queue.InsertManyTx(ctx, c.tx, []river.InsertManyParams{job}); err != nil {
			return fmt.Errorf("insert a scan of monitor %d: %w", id, err)
		}
		return nil
	})
	return monitor, slot, err
}

// change runs f in a transaction.
func (s *Store) change(ctx context.Context, f func(*change) error) error {
	return db.InTx(ctx, s.Conn, func(tx pgx.Tx) error {
		return f(&change{tx: tx, queries: db.New(tx), queue: s.Queue, now: s.Now})
	})
}
