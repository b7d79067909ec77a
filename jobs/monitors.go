package jobs

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"riverwatch/db"
	"riverwatch/probe"
	"riverwatch/uptime"
)

// A ConflictError says that the (method, URL, regexp) that a monitor is to have belongs to another one.
type ConflictError struct {
	MonitorID int64
	Deleted   bool
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("monitor %d has this method, URL and regexp", e.MonitorID)
}

// Put says what came of one monitor of CreateMonitors.
type Put int

// What may come of a monitor that is to be created.
const (
	PutCreated Put = iota // created, or revived from the deleted with its history
	PutUpdated            // it was there, and has the new configuration now
	PutExists             // it was there, and is as it was
)

// PutMonitor is a monitor, and how it came to be.
type PutMonitor struct {
	Monitor db.Monitor
	Put     Put
}

// CreateMonitors creates monitors, with their promises and jobs, in one transaction. A monitor that is there already,
// by its (method, URL, regexp), is updated if update says so, and else left alone. The results are in the order of
// configs. A single monitor is scanned at once; of several only those whose first slot is far away.
func CreateMonitors(
	ctx context.Context, conn db.Conn, queue Queue, configs []MonitorConfig, update bool, at time.Time,
) ([]PutMonitor, error) {
	var puts []PutMonitor
	err := inTx(ctx, conn, func(tx pgx.Tx) (err error) {
		c := changer{tx: tx, queries: db.New(tx), queue: queue, at: at}
		puts, err = c.create(ctx, configs, update)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create %d monitors: %w", len(configs), err)
	}
	return puts, nil
}

// EditMonitor gives a monitor the configuration that edit makes of its present one. An error of edit is returned as it
// is. Other errors: pgx.ErrNoRows where there is no such monitor, *ConflictError.
func EditMonitor(
	ctx context.Context, conn db.Conn, queue Queue, id int64, edit func(MonitorConfig) (MonitorConfig, error),
	at time.Time,
) (db.Monitor, error) {
	var monitor db.Monitor
	var config MonitorConfig
	err := inTx(ctx, conn, func(tx pgx.Tx) error {
		c := changer{tx: tx, queries: db.New(tx), queue: queue, at: at}
		current, err := c.queries.GetMonitorForUpdate(ctx, id)
		if err != nil {
			return fmt.Errorf("get monitor %d: %w", id, err)
		}
		present, err := c.present(ctx, current)
		if err != nil {
			return err
		}
		if config, err = edit(present); err != nil {
			return err
		}
		monitor, err = c.change(ctx, current, config)
		return err
	})
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.ConstraintName == "monitors_identity" {
		return db.Monitor{}, conflict(ctx, conn, config, err)
	}
	return monitor, err
}

// conflict finds out who has the identity of config. The violation of it is returned where he has just given it up.
func conflict(ctx context.Context, conn db.Conn, config MonitorConfig, violation error) error {
	holder, err := db.New(conn).FindMonitorForUpdate(ctx, db.FindMonitorForUpdateParams{
		Method: config.Method, URL: config.URL, Regexp: config.Regexp,
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return violation
	case err != nil:
		return fmt.Errorf("find the monitor in conflict: %w", err)
	default:
		return &ConflictError{MonitorID: holder.ID, Deleted: holder.DeletedAt != nil}
	}
}

// DeleteMonitor deletes a monitor. Its history stays, and its secrets do not. Error: pgx.ErrNoRows where there is no such monitor.
func DeleteMonitor(ctx context.Context, conn db.Conn, id int64, at time.Time) error {
	return inTx(ctx, conn, func(tx pgx.Tx) error {
		c := changer{tx: tx, queries: db.New(tx), at: at}
		monitor, err := c.queries.GetMonitorForUpdate(ctx, id)
		if err != nil {
			return fmt.Errorf("get monitor %d: %w", id, err)
		}
		if err := c.withdraw(ctx, monitor.ID); err != nil {
			return err
		}
		if err := c.queries.DeleteMonitor(ctx, db.DeleteMonitorParams{ID: id, At: at}); err != nil {
			return fmt.Errorf("delete monitor %d: %w", id, err)
		}
		return c.writeSecrets(ctx, id, monitor.SecretNames, probe.Secrets{})
	})
}

// AskForScan inserts a scan of a monitor now, and gives the slot under which its result will be in the log.
func AskForScan(ctx context.Context, queue Queue, id int64, at time.Time) (slot time.Time, err error) {
	job := scanJob(ScanArgs{MonitorID: id, At: at, Reason: ReasonAsked})
	if _, err := queue.Insert(ctx, job.Args, job.InsertOpts); err != nil {
		return time.Time{}, fmt.Errorf("insert a scan of monitor %d: %w", id, err)
	}
	return betweenSlots(at), nil
}

// changer changes monitors within one transaction: rows, promises, states and jobs together.
type changer struct {
	tx      pgx.Tx
	queries *db.Queries
	queue   Queue
	at      time.Time
}

func (c changer) create(ctx context.Context, configs []MonitorConfig, update bool) ([]PutMonitor, error) {
	puts := make([]PutMonitor, len(configs))
	order := byIdentity(configs)
	taken, err := c.insert(ctx, configs, order, puts)
	if err != nil {
		return nil, err
	}
	for i, put := range puts {
		if slices.Contains(taken, i) {
			continue
		}
		if err := c.writeSecrets(ctx, put.Monitor.ID, nil, configs[i].Secrets); err != nil {
			return nil, err
		}
	}
	if err := c.start(ctx, puts, taken); err != nil {
		return nil, err
	}
	for _, i := range taken {
		if puts[i], err = c.put(ctx, configs[i], update); err != nil {
			return nil, err
		}
	}
	return puts, nil
}

// byIdentity gives the indexes of configs in the order of what must be unique, so that two transactions that create the
// same monitors meet at the first of them, and do not deadlock.
func byIdentity(configs []MonitorConfig) []int {
	order := make([]int, len(configs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := configs[i], configs[j]
		return cmp.Or(
			cmp.Compare(a.URL, b.URL), cmp.Compare(a.Method, b.Method), cmp.Compare(deref(a.Regexp), deref(b.Regexp)))
	})
	return order
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// insert inserts the monitors that are not there, into puts, and gives the indexes of the others.
func (c changer) insert(
	ctx context.Context, configs []MonitorConfig, order []int, puts []PutMonitor,
) (taken []int, err error) {
	ids, err := c.queries.NextMonitorIDs(ctx, len(configs))
	if err != nil {
		return nil, fmt.Errorf("reserve ids: %w", err)
	}
	params := make([]db.CreateMonitorsParams, len(order))
	for k, i := range order {
		params[k] = createParams(ids[k], configs[i], c.at)
	}
	c.queries.CreateMonitors(ctx, params).QueryRow(func(k int, monitor db.Monitor, rowErr error) {
		switch {
		case rowErr == nil:
			puts[order[k]] = PutMonitor{Monitor: monitor, Put: PutCreated}
		case errors.Is(rowErr, pgx.ErrNoRows):
			taken = append(taken, order[k])
		default:
			err = errors.Join(err, rowErr)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("insert monitors: %w", err)
	}
	return taken, nil
}

func createParams(id int64, config MonitorConfig, at time.Time) db.CreateMonitorsParams {
	return db.CreateMonitorsParams{
		ID: id, Name: config.Name, Method: config.Method, URL: config.URL, Regexp: config.Regexp,
		RegexpInvert: config.RegexpInvert, IntervalSeconds: config.IntervalSeconds,
		PhaseMS: uptime.ScheduleOf(id, config.IntervalSeconds).PhaseMS, TimeoutMS: config.TimeoutMS,
		AcceptedStatuses: config.AcceptedStatuses, MaxRedirects: config.MaxRedirects,
		FailureThreshold: config.FailureThreshold, SuccessThreshold: config.SuccessThreshold,
		RetryIntervalSeconds: config.RetryIntervalSeconds, Tags: config.Tags,
		Request: jsonOf(config.Request), Expectations: jsonOf(config.Expectations),
		SecretNames: secretNames(config.Secrets), PausedAt: pausedAt(config, nil, at), At: at,
	}
}

// pausedAt gives the instant since when a monitor is paused: none if it is enabled, and the present one if it has one.
func pausedAt(config MonitorConfig, present *time.Time, at time.Time) *time.Time {
	switch {
	case config.Enabled:
		return nil
	case present != nil:
		return present
	default:
		return &at
	}
}

// start gives the monitors that were just inserted, all of puts but those at the indexes taken, their states and
// promises, and asks for their first scans.
func (c changer) start(ctx context.Context, puts []PutMonitor, taken []int) error {
	var active []db.Monitor
	var states db.CreateMonitorStatesParams
	for i, put := range puts {
		if slices.Contains(taken, i) {
			continue
		}
		paused := put.Monitor.PausedAt != nil
		states.MonitorIDs = append(states.MonitorIDs, put.Monitor.ID)
		states.Statuses = append(states.Statuses, string(uptime.Start(c.at, paused).Status))
		if !paused {
			active = append(active, put.Monitor)
		}
	}
	states.At = c.at
	if err := c.queries.CreateMonitorStates(ctx, states); err != nil {
		return fmt.Errorf("insert states: %w", err)
	}
	if err := c.promise(ctx, active...); err != nil {
		return err
	}
	return c.askForFirstScans(ctx, active, len(puts) == 1)
}

// put gives a monitor that was there already, or was deleted, its configuration.
func (c changer) put(ctx context.Context, config MonitorConfig, update bool) (PutMonitor, error) {
	current, err := c.queries.FindMonitorForUpdate(ctx, db.FindMonitorForUpdateParams{
		Method: config.Method, URL: config.URL, Regexp: config.Regexp,
	})
	if err != nil {
		return PutMonitor{}, fmt.Errorf("find the monitor that is there: %w", err)
	}
	put := PutUpdated
	switch {
	case current.DeletedAt != nil:
		put = PutCreated
	case !update:
		return PutMonitor{Monitor: current, Put: PutExists}, nil
	}
	monitor, err := c.change(ctx, current, config)
	return PutMonitor{Monitor: monitor, Put: put}, err
}

// change gives a monitor another configuration, and revives it if it was deleted. A configuration equal to its present
// one changes nothing.
func (c changer) change(ctx context.Context, current db.Monitor, config MonitorConfig) (db.Monitor, error) {
	wasActive := current.PausedAt == nil && current.DeletedAt == nil
	present, err := c.present(ctx, current)
	if err != nil {
		return db.Monitor{}, err
	}
	if current.DeletedAt == nil && sameConfig(present, config) {
		return current, nil
	}

	schedule := nextSchedule(current, config)
	promised := wasActive && config.Enabled && schedule == scheduleOf(current)
	if wasActive && !promised {
		if err := c.withdraw(ctx, current.ID); err != nil {
			return db.Monitor{}, err
		}
	}
	monitor, err := c.update(ctx, current, config)
	if err != nil {
		return db.Monitor{}, err
	}
	if config.Enabled && !promised {
		if err := c.promise(ctx, monitor); err != nil {
			return db.Monitor{}, err
		}
	}
	return monitor, c.restart(ctx, current, monitor, sameExpectations(present, config))
}

// nextSchedule gives the schedule of a monitor that gets a configuration. With the same interval it keeps its phase.
func nextSchedule(current db.Monitor, config MonitorConfig) uptime.Schedule {
	if config.IntervalSeconds == current.IntervalSeconds {
		return scheduleOf(current)
	}
	return uptime.ScheduleOf(current.ID, config.IntervalSeconds)
}

// update writes a monitor's row and its secrets.
func (c changer) update(ctx context.Context, current db.Monitor, config MonitorConfig) (db.Monitor, error) {
	monitor, err := c.queries.UpdateMonitor(ctx, updateParams(current, config, c.at))
	if err != nil {
		return db.Monitor{}, fmt.Errorf("update monitor %d: %w", current.ID, err)
	}
	return monitor, c.writeSecrets(ctx, monitor.ID, current.SecretNames, config.Secrets)
}

// restart starts a monitor's status anew, with a scan at once, where what is known of it no longer says how it stands:
// its expectations are not the same, or it was not scanned.
func (c changer) restart(ctx context.Context, before, after db.Monitor, same bool) error {
	wasActive := before.PausedAt == nil && before.DeletedAt == nil
	isActive := after.PausedAt == nil
	if !wasActive && !isActive && before.DeletedAt == nil {
		return nil // paused, as before
	}
	if wasActive == isActive && before.DeletedAt == nil && (!isActive || same) {
		return nil
	}
	state := uptime.Start(c.at, !isActive)
	err := c.queries.ResetMonitorState(ctx, db.ResetMonitorStateParams{
		MonitorID: after.ID, Status: state.Status, At: state.Since,
	})
	if err != nil {
		return fmt.Errorf("reset the state of monitor %d: %w", after.ID, err)
	}
	if !isActive {
		return nil
	}
	return c.askForFirstScans(ctx, []db.Monitor{after}, true)
}

func updateParams(current db.Monitor, config MonitorConfig, at time.Time) db.UpdateMonitorParams {
	return db.UpdateMonitorParams{
		ID: current.ID, Name: config.Name, Method: config.Method, URL: config.URL, Regexp: config.Regexp,
		RegexpInvert: config.RegexpInvert, IntervalSeconds: config.IntervalSeconds,
		PhaseMS: nextSchedule(current, config).PhaseMS, TimeoutMS: config.TimeoutMS,
		AcceptedStatuses: config.AcceptedStatuses, MaxRedirects: config.MaxRedirects,
		FailureThreshold: config.FailureThreshold, SuccessThreshold: config.SuccessThreshold,
		RetryIntervalSeconds: config.RetryIntervalSeconds, Tags: config.Tags,
		Request: jsonOf(config.Request), Expectations: jsonOf(config.Expectations),
		SecretNames: secretNames(config.Secrets), PausedAt: pausedAt(config, current.PausedAt, at), At: at,
	}
}

// sameExpectations reports whether a scan under one configuration tells how the monitor stands under the other.
func sameExpectations(a, b MonitorConfig) bool {
	return a.Method == b.Method && a.URL == b.URL && sameRegexp(a.Regexp, b.Regexp) &&
		a.RegexpInvert == b.RegexpInvert && slices.Equal(a.AcceptedStatuses, b.AcceptedStatuses) &&
		a.MaxRedirects == b.MaxRedirects && bytes.Equal(jsonOf(a.Request), jsonOf(b.Request)) &&
		bytes.Equal(jsonOf(a.Secrets), jsonOf(b.Secrets)) && bytes.Equal(jsonOf(a.Expectations), jsonOf(b.Expectations))
}

// sameRegexp tells none from the empty one, as a monitor's identity does.
func sameRegexp(a, b *string) bool { return (a == nil) == (b == nil) && deref(a) == deref(b) }

func sameConfig(a, b MonitorConfig) bool {
	return sameExpectations(a, b) && a.Name == b.Name && a.IntervalSeconds == b.IntervalSeconds &&
		a.TimeoutMS == b.TimeoutMS && a.FailureThreshold == b.FailureThreshold &&
		a.SuccessThreshold == b.SuccessThreshold && a.RetryIntervalSeconds == b.RetryIntervalSeconds &&
		slices.Equal(a.Tags, b.Tags) && a.Enabled == b.Enabled
}
