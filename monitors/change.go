package monitors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"riverwatch/db"
	"riverwatch/queue"
	"riverwatch/record"
	"riverwatch/uptime"
)

// change changes monitors within one transaction: rows, states, jobs and promises together.
type change struct {
	tx      pgx.Tx
	queries *db.Queries
	queue   queue.Queue
	now     func() time.Time // nil: by the database's clock
	at      time.Time        // the instant of the change, once the monitors are locked
}

// begin decides the instant of the change. It comes once the monitors are locked: of two changes of a monitor, the one that
// waited for the other is the later one. All processes share the database's clock, and rounds are taken by it: an API whose
// own is wrong promises no slot too late, and no state that later scans do not change.
func (c *change) begin(ctx context.Context) (err error) {
	c.at, err = c.time(ctx)
	return err
}

func (c *change) time(ctx context.Context) (time.Time, error) {
	if c.now != nil {
		return c.now().UTC().Truncate(time.Microsecond), nil // the database's precision: what is shown now is what is read later
	}
	now, err := c.queries.DatabaseNow(ctx)
	if err != nil {
		return now, fmt.Errorf("ask the database for the time: %w", err)
	}
	return now.UTC(), nil
}

// lock locks a monitor, at the instant of the change. Error: pgx.ErrNoRows.
func (c *change) lock(ctx context.Context, id int64) (db.Monitor, error) {
	row, err := c.queries.GetMonitorForUpdate(ctx, id)
	if err != nil {
		return row, fmt.Errorf("get monitor %d: %w", id, err)
	}
	return row, c.begin(ctx)
}

// edit is what becomes of one monitor that is locked.
type edit struct {
	from    db.Monitor // its row; of one that is new, as if it had been deleted
	to      Monitor    // as it is then, with its row
	isNew   bool       // its row is written already
	changed bool       // something is new
	anew    bool       // its status starts anew: what is known of it no longer says how it stands

	before, after uptime.State
}

// edit gives what becomes of a monitor of which people want something else, or which they want back. What the database
// knows of it besides stays.
func (c *change) edit(from, to Monitor) *edit {
	to.ID, to.PhaseMS, to.Version, to.CreatedAt, to.UpdatedAt = from.ID, from.PhaseMS, from.Version, from.CreatedAt, from.UpdatedAt
	to.DeletedAt = nil
	switch {
	case to.PausedAt != nil && from.PausedAt != nil:
		to.PausedAt = from.PausedAt
	case to.PausedAt != nil:
		to.PausedAt = &c.at
	}
	if to.IntervalSeconds != from.IntervalSeconds { // with the same interval it keeps its phase
		to.PhaseMS = uptime.ScheduleOf(from.ID, to.IntervalSeconds).PhaseMS
	}
	if same(from, to) {
		return &edit{from: from.Monitor, to: from}
	}
	to.Monitor = to.row()
	return &edit{from: from.Monitor, to: to, changed: true, anew: restarts(from, to)}
}

// restarts reports whether an edit starts a monitor's status anew: it was not scanned, or by other expectations.
func restarts(from, to Monitor) bool {
	return from.DeletedAt != nil || from.Active() != to.Active() || to.Active() && !scansTellOf(from, to)
}

// removal gives what becomes of a monitor that is deleted. What it asks and expects is not looked at: one that cannot be
// read can be deleted.
func (c *change) removal(row db.Monitor) *edit {
	e := &edit{from: row, to: Monitor{Monitor: row}, changed: true, anew: true}
	e.to.DeletedAt, e.to.SecretNames = &c.at, []string{}
	return e
}

// promised reports whether what the monitor was promised still holds.
func (e *edit) promised() bool {
	return e.from.Active() && e.to.Active() && e.from.Schedule() == e.to.Schedule()
}

// create makes monitors what was given: those that are not there, those that were deleted and, if update says so, the others.
func (c *change) create(ctx context.Context, given []Monitor, update bool) ([]Creation, error) {
	wanted := map[string]Monitor{} // of one that is given twice the first is taken, or, to update it, the last
	knownAs := make([]string, len(given))
	for i, m := range given {
		knownAs[i] = m.knownAs()
		if _, twice := wanted[knownAs[i]]; !twice || update {
			wanted[knownAs[i]] = m
		}
	}
	there, err := c.lockKnownAs(ctx, slices.Sorted(maps.Keys(wanted)))
	if err != nil {
		return nil, err
	}
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	creations := make(map[string]Creation, len(wanted))
	var changing []db.Monitor
	for known, row := range there {
		creations[known] = Creation{Monitor: Monitor{Monitor: row}, Result: Exists}
		if row.DeletedAt != nil || update {
			changing = append(changing, row)
		}
	}
	changingNow, err := c.read(ctx, changing)
	if err != nil {
		return nil, err
	}
	var edits []*edit
	for _, from := range changingNow {
		edits = append(edits, c.edit(from, wanted[from.knownAs()]))
	}
	maps.DeleteFunc(wanted, func(known string, _ Monitor) bool { return creations[known].Result != "" })
	inserted, err := c.insert(ctx, wanted)
	if err != nil {
		return nil, err
	}
	edits = append(edits, inserted...)
	if err := c.apply(ctx, edits); err != nil {
		return nil, err
	}

	for _, e := range edits {
		creation := Creation{Monitor: e.to, State: e.after, Result: Updated}
		if e.from.DeletedAt != nil {
			creation.Result = Created
		}
		creations[e.to.knownAs()] = creation
	}
	results := make([]Creation, len(given))
	for i, known := range knownAs {
		creation := creations[known]
		results[i] = creation
		if creation.Result == Created { // and when it is given again, it is there
			creation.Result = Exists
			if update {
				creation.Result = Updated
			}
			creations[known] = creation
		}
	}
	return results, nil
}

// knownAs gives what the monitor is known as, in JSON: its key, or, without one, its method, URL and regexp.
func (m Monitor) knownAs() string {
	if m.Key != nil {
		return string(encode(map[string]*string{"key": m.Key}))
	}
	return string(encode(map[string]*string{"method": &m.Method, "url": &m.URL, "regexp": m.Regexp}))
}

// lockKnownAs locks those monitors that are there, deleted or not, and gives their rows by what they are known as.
func (c *change) lockKnownAs(ctx context.Context, known []string) (map[string]db.Monitor, error) {
	rows, err := c.queries.LockMonitorsKnownAs(ctx, []byte("["+strings.Join(known, ",")+"]"))
	if err != nil {
		return nil, fmt.Errorf("find the monitors that are there: %w", err)
	}
	there := make(map[string]db.Monitor, len(rows))
	for _, row := range rows {
		there[Monitor{Monitor: row}.knownAs()] = row
	}
	return there, nil
}

// read gives the monitors of rows whole.
func (c *change) read(ctx context.Context, rows []db.Monitor) ([]Monitor, error) {
	secrets, err := Secrets(ctx, c.queries, rows...)
	if err != nil {
		return nil, err
	}
	read := make([]Monitor, len(rows))
	for i, row := range rows {
		if read[i], err = Of(row, secrets[row.ID]); err != nil {
			return nil, err
		}
	}
	return read, nil
}

// insert inserts the rows of monitors that were not there a moment ago, in the order of what they are known as: two
// transactions that insert the same ones meet at the first of them, and do not deadlock.
func (c *change) insert(ctx context.Context, wanted map[string]Monitor) (inserted []*edit, err error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	ids, err := c.queries.NextMonitorIDs(ctx, len(wanted))
	if err != nil {
		return nil, fmt.Errorf("reserve ids: %w", err)
	}
	var params []db.CreateMonitorsParams
	for i, known := range slices.Sorted(maps.Keys(wanted)) {
		deleted := db.Monitor{ID: ids[i], CreatedAt: c.at, UpdatedAt: c.at, DeletedAt: &c.at}
		e := c.edit(Monitor{Monitor: deleted}, wanted[known])
		e.isNew, e.to.Version = true, 1
		inserted, params = append(inserted, e), append(params, db.CreateMonitorsParams(e.to.Monitor))
	}
	c.queries.CreateMonitors(ctx, params).QueryRow(func(i int, row db.Monitor, rowErr error) {
		if errors.Is(rowErr, pgx.ErrNoRows) {
			rowErr = fmt.Errorf("%w: a monitor was not there and is", db.ErrLostRace)
		}
		inserted[i].to.Monitor, err = row, errors.Join(err, rowErr)
	})
	if err != nil {
		return nil, fmt.Errorf("insert monitors: %w", err)
	}
	return inserted, nil
}

// apply makes what edits say of monitors. Each step is one for all of them, in the order of ids or of rounds, so that two
// changes do not deadlock. What others wait for comes last: states, for the recorder, and then rounds.
func (c *change) apply(ctx context.Context, edits []*edit) error {
	slices.SortFunc(edits, func(a, b *edit) int { return cmp.Compare(a.to.ID, b.to.ID) })
	for _, step := range []func(context.Context, []*edit) error{
		c.writeRows, c.writeSecrets, c.withdraw, c.readStates, c.writeStates, c.askForFirstScans, c.promise,
	} {
		if err := step(ctx, edits); err != nil {
			return err
		}
	}
	return nil
}

// writeRows writes rows, as the next versions of their monitors.
func (c *change) writeRows(ctx context.Context, edits []*edit) (err error) {
	var params []db.UpdateMonitorsParams
	var written []*edit
	for _, e := range edits {
		if e.isNew || !e.changed {
			continue
		}
		e.to.Version++
		e.to.UpdatedAt = c.at
		params, written = append(params, db.UpdateMonitorsParams(e.to.Monitor)), append(written, e)
	}
	if len(params) == 0 {
		return nil
	}
	c.queries.UpdateMonitors(ctx, params).QueryRow(func(i int, row db.Monitor, rowErr error) {
		written[i].to.Monitor, err = row, errors.Join(err, rowErr)
	})
	if err != nil {
		return fmt.Errorf("update monitors: %w", err)
	}
	return nil
}

// writeSecrets writes the secrets of monitors whose rows are written.
func (c *change) writeSecrets(ctx context.Context, edits []*edit) error {
	var put db.PutSecretsParams
	var gone []int64
	for _, e := range edits {
		switch {
		case !e.changed:
		case len(e.to.SecretNames) > 0:
			put.MonitorIDs, put.Secrets = append(put.MonitorIDs, e.to.ID), append(put.Secrets, encode(e.to.Secrets))
		case len(e.from.SecretNames) > 0:
			gone = append(gone, e.to.ID)
		}
	}
	if len(put.MonitorIDs) > 0 {
		if err := c.queries.PutSecrets(ctx, put); err != nil {
			return fmt.Errorf("write secrets: %w", err)
		}
	}
	if len(gone) > 0 {
		if err := c.queries.DeleteSecrets(ctx, gone); err != nil {
			return fmt.Errorf("delete secrets: %w", err)
		}
	}
	return nil
}

// readStates reads where monitors stand, and keeps the recorder from judging those whose status starts anew. A deleted one
// stands nowhere.
func (c *change) readStates(ctx context.Context, edits []*edit) error {
	var keep, restart []int64
	for _, e := range edits {
		switch {
		case e.from.DeletedAt != nil:
		case e.anew:
			restart = append(restart, e.from.ID)
		default:
			keep = append(keep, e.from.ID)
		}
	}
	states := map[int64]uptime.State{}
	for _, part := range []struct {
		ids  []int64
		read func(context.Context, []int64) ([]db.MonitorState, error)
	}{{keep, c.queries.ListMonitorStates}, {restart, c.queries.LockMonitorStates}} {
		if len(part.ids) == 0 {
			continue
		}
		rows, err := part.read(ctx, part.ids)
		if err != nil {
			return fmt.Errorf("read states: %w", err)
		}
		for _, row := range rows {
			states[row.MonitorID] = row.State()
		}
	}
	for _, e := range edits {
		before, there := states[e.from.ID]
		if !there && e.from.DeletedAt == nil {
			return fmt.Errorf("monitor %d stands nowhere", e.from.ID)
		}
		e.before = before
		switch {
		case !e.anew:
			e.after = e.before
		case e.to.DeletedAt == nil:
			e.after = uptime.Start(c.at, !e.to.Active())
		}
	}
	return nil
}

// writeStates writes where monitors stand whose status starts anew.
func (c *change) writeStates(ctx context.Context, edits []*edit) error {
	var transitions []record.Transition
	for _, e := range edits {
		if e.anew {
			transitions = append(transitions, record.Transition{Monitor: e.to.Monitor, Before: e.before, After: e.after})
		}
	}
	return record.Apply(ctx, c.tx, transitions)
}
