package monitors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"riverwatch/db"
	"riverwatch/queue"
	"riverwatch/record"
	"riverwatch/uptime"
)

// change changes monitors within one transaction: rows, promises, states and jobs together.
type change struct {
	tx      pgx.Tx
	queries *db.Queries
	queue   queue.Queue
	at      time.Time
}

// create creates the monitors that are not there, and then sees to the others, by themselves.
func (c *change) create(ctx context.Context, given []Monitor, update bool) ([]Creation, error) {
	creations := make([]Creation, len(given))
	taken, err := c.insert(ctx, given, creations)
	if err != nil {
		return nil, err
	}
	if err := c.begin(ctx, creations); err != nil {
		return nil, err
	}
	return creations, c.putAll(ctx, given, creations, taken, update)
}

// insert inserts the monitors that are not there, into creations, and gives the indexes of the others.
func (c *change) insert(ctx context.Context, given []Monitor, creations []Creation) (taken []int, err error) {
	ids, err := c.queries.NextMonitorIDs(ctx, len(given))
	if err != nil {
		return nil, fmt.Errorf("reserve ids: %w", err)
	}
	order := byIdentity(given)
	params := make([]db.CreateMonitorsParams, len(order))
	for k, i := range order {
		row := given[i].row()
		row.ID, row.PhaseMS = ids[k], uptime.ScheduleOf(ids[k], row.IntervalSeconds).PhaseMS
		row.Version, row.CreatedAt, row.UpdatedAt, row.DeletedAt = 1, c.at, c.at, nil
		params[k] = db.CreateMonitorsParams(row)
	}
	c.queries.CreateMonitors(ctx, params).QueryRow(func(k int, row db.Monitor, rowErr error) {
		i := order[k]
		switch {
		case rowErr == nil:
			creations[i] = Creation{Monitor: given[i], State: uptime.Start(c.at, row.PausedAt != nil), Result: Created}
			creations[i].Monitor.Monitor = row
		case errors.Is(rowErr, pgx.ErrNoRows):
			taken = append(taken, i)
		default:
			err = errors.Join(err, rowErr)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("insert monitors: %w", err)
	}
	return taken, nil
}

// byIdentity gives the indexes of monitors in the order of what must be unique, so that two transactions that create the
// same monitors meet at the first of them, and do not deadlock.
func byIdentity(given []Monitor) []int {
	order := make([]int, len(given))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := given[i], given[j]
		return cmp.Or(cmp.Compare(deref(a.Key), deref(b.Key)),
			cmp.Compare(a.URL, b.URL), cmp.Compare(a.Method, b.Method), cmp.Compare(deref(a.Regexp), deref(b.Regexp)))
	})
	return order
}

// begin gives the monitors that were just inserted, all of creations that have a result, what belongs to them: secrets,
// states, promises, and their first scans.
func (c *change) begin(ctx context.Context, creations []Creation) error {
	var active []db.Monitor
	var transitions []record.Transition
	for _, one := range creations {
		if one.Result == "" {
			continue
		}
		if err := c.writeSecrets(ctx, one.Monitor.ID, nil, one.Monitor.Secrets); err != nil {
			return err
		}
		transitions = append(transitions, record.Transition{Monitor: one.Monitor.Monitor, After: one.State})
		if one.Monitor.Active() {
			active = append(active, one.Monitor.Monitor)
		}
	}
	if err := record.Apply(ctx, c.tx, transitions); err != nil {
		return err
	}
	if err := c.promise(ctx, active...); err != nil {
		return err
	}
	return c.askForFirstScans(ctx, active, len(creations) == 1)
}

// putAll puts the monitors that are there already, in the order of their ids: it is that in which the recorder locks states.
func (c *change) putAll(ctx context.Context, given []Monitor, creations []Creation, taken []int, update bool) error {
	for _, i := range taken {
		row, err := find(ctx, c.queries, given[i])
		if errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("%w: whoever was in the way of a monitor is gone", db.ErrLostRace)
		}
		if err != nil {
			return err
		}
		creations[i] = Creation{Monitor: Monitor{Monitor: row}, Result: Exists}
	}
	slices.SortStableFunc(taken, func(i, j int) int {
		return cmp.Compare(creations[i].Monitor.ID, creations[j].Monitor.ID)
	})
	for k, i := range taken {
		row := creations[i].Monitor.Monitor
		if k > 0 && creations[taken[k-1]].Monitor.ID == row.ID { // given twice: the first may just have changed it
			row = creations[taken[k-1]].Monitor.Monitor
		}
		if row.DeletedAt == nil && !update {
			continue
		}
		var err error
		if creations[i], err = c.put(ctx, row, given[i]); err != nil {
			return err
		}
	}
	return nil
}

// put makes a monitor that was there already, or was deleted, what was given.
func (c *change) put(ctx context.Context, row db.Monitor, given Monitor) (Creation, error) {
	current, err := c.whole(ctx, row)
	if err != nil {
		return Creation{}, err
	}
	creation := Creation{Result: Updated}
	if row.DeletedAt != nil {
		creation.Result = Created
	}
	// What people set is as it was given; what the database knows besides stays.
	wanted := given
	wanted.ID, wanted.PhaseMS, wanted.Version, wanted.CreatedAt, wanted.UpdatedAt =
		row.ID, row.PhaseMS, row.Version, row.CreatedAt, row.UpdatedAt
	if given.PausedAt != nil && row.PausedAt != nil {
		wanted.PausedAt = row.PausedAt
	}
	creation.Monitor, creation.State, err = c.edit(ctx, current, wanted)
	return creation, err
}

// lock gives a monitor, and keeps others from changing it. Error: pgx.ErrNoRows.
func (c *change) lock(ctx context.Context, id int64) (Monitor, error) {
	row, err := c.queries.GetMonitorForUpdate(ctx, id)
	if err != nil {
		return Monitor{}, fmt.Errorf("get monitor %d: %w", id, err)
	}
	return c.whole(ctx, row)
}

func (c *change) whole(ctx context.Context, row db.Monitor) (Monitor, error) {
	secrets, err := Secrets(ctx, c.queries, row)
	if err != nil {
		return Monitor{}, err
	}
	return Of(row, secrets[row.ID])
}

// edit makes a monitor that is locked what is wanted, and revives it if it was deleted. If nothing is new, nothing changes.
func (c *change) edit(ctx context.Context, current, wanted Monitor) (Monitor, uptime.State, error) {
	wanted.DeletedAt = nil
	anew := restarts(current, wanted)
	before, err := c.state(ctx, current, anew)
	if err != nil || same(current, wanted) {
		return current, before, err
	}

	if wanted.IntervalSeconds != current.IntervalSeconds { // with the same interval it keeps its phase
		wanted.PhaseMS = uptime.ScheduleOf(current.ID, wanted.IntervalSeconds).PhaseMS
	}
	promised := current.Active() && wanted.Active() && wanted.Schedule() == current.Schedule()
	if current.Active() && !promised {
		if err := c.withdraw(ctx, current.ID); err != nil {
			return Monitor{}, uptime.State{}, err
		}
	}
	if err := c.write(ctx, &wanted, current.SecretNames); err != nil {
		return Monitor{}, uptime.State{}, err
	}
	if wanted.Active() && !promised {
		if err := c.promise(ctx, wanted.Monitor); err != nil {
			return Monitor{}, uptime.State{}, err
		}
	}
	if !anew {
		return wanted, before, nil
	}
	after, err := c.restart(ctx, wanted, before)
	return wanted, after, err
}

// state gives where a monitor stands, and keeps the recorder from judging it if lock says so, which makes the recorder wait
// for all of a bulk; one that is deleted stands nowhere.
func (c *change) state(ctx context.Context, m Monitor, lock bool) (uptime.State, error) {
	if m.DeletedAt != nil {
		return uptime.State{}, nil
	}
	get := c.queries.GetMonitorState
	if lock {
		get = c.queries.GetMonitorStateForUpdate
	}
	row, err := get(ctx, m.ID)
	if err != nil {
		return uptime.State{}, fmt.Errorf("get the state of monitor %d: %w", m.ID, err)
	}
	return row.State(), nil
}

// write writes a monitor's row, as its next version, and its secrets, of which it had those named before.
func (c *change) write(ctx context.Context, m *Monitor, before []string) error {
	var err error
	if m.Monitor, err = c.writeRow(ctx, m.row()); err != nil {
		return err
	}
	return c.writeSecrets(ctx, m.ID, before, m.Secrets)
}

// writeRow writes a row as its monitor's next version.
func (c *change) writeRow(ctx context.Context, row db.Monitor) (db.Monitor, error) {
	row.Version++
	row.UpdatedAt = c.at
	written, err := c.queries.UpdateMonitor(ctx, db.UpdateMonitorParams(row))
	if err != nil {
		return row, fmt.Errorf("update monitor %d: %w", row.ID, err)
	}
	return written, nil
}

// restarts reports whether an edit starts a monitor's status anew: what is known of it no longer says how it stands, as it
// was not scanned, or by other expectations.
func restarts(current, edited Monitor) bool {
	return current.DeletedAt != nil || current.Active() != edited.Active() || edited.Active() && !scansTellOf(current, edited)
}

// restart starts a monitor's status anew, with a scan at once.
func (c *change) restart(ctx context.Context, edited Monitor, before uptime.State) (after uptime.State, err error) {
	after = uptime.Start(c.at, !edited.Active())
	transition := record.Transition{Monitor: edited.Monitor, Before: before, After: after}
	if err := record.Apply(ctx, c.tx, []record.Transition{transition}); err != nil {
		return uptime.State{}, err
	}
	if edited.Active() {
		err = c.askForFirstScans(ctx, []db.Monitor{edited.Monitor}, true)
	}
	return after, err
}
