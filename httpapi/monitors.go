package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"riverwatch/db"
	"riverwatch/monitors"
	"riverwatch/probe"
)

const (
	createMonitorDoc = "Creates a monitor and schedules it; its first scan follows within seconds. A monitor is known by its key, or, " +
		"without one, by its (method, url, regexp): one that is there already is answered by 409 with its id, or, with " +
		"if_exists=update, gets this configuration. One that was deleted is revived with its history."
	listMonitorsDoc  = "Pages through the monitors, by id or by name. Follow next_cursor until it is null."
	getMonitorDoc    = "Gives a monitor, its configuration and where it stands."
	editMonitorDoc   = "Changes what is given (JSON merge patch, RFC 7396): null sets a field back to its default."
	deleteMonitorDoc = "Stops its scans. Its history stays in the database, and comes back when it is created again."
	pauseMonitorDoc  = "Stops its scans until it is resumed. Pausing a paused monitor changes nothing."
	resumeMonitorDoc = "Begins its scans again, with one at once. Resuming a monitor that is not paused changes nothing."
)

type createMonitorInput struct {
	IfExists string `query:"if_exists" enum:"update" doc:"What to do if there is a monitor with this key, or, without a key, with this method, url and regexp: update gives it this configuration; left out, the answer is 409." example:"update"`
	RawBody  []byte
}

type createMonitorOutput struct {
	Status   int
	Location string `header:"Location" doc:"Where the monitor is." example:"/api/v1/monitors/42"`
	Body     monitorBody
}

type monitorInput struct {
	ID int64 `path:"id" minimum:"1" doc:"The monitor's number." example:"42"`
}

type monitorOutput struct{ Body monitorBody }

func (a *api) createMonitor(ctx context.Context, in *createMonitorInput) (*createMonitorOutput, error) {
	monitor, inputErrors := a.newMonitor(in.RawBody, "body")
	if len(inputErrors) > 0 {
		return nil, inputProblem(inputErrors)
	}

	creations, err := a.monitors.Create(ctx, []monitors.Monitor{monitor}, in.IfExists == "update")
	if err != nil {
		return nil, err
	}
	creation := creations[0]
	out := &createMonitorOutput{Status: http.StatusCreated, Location: monitorPath(creation.Monitor.ID)}
	switch creation.Result {
	case monitors.Exists:
		return nil, creation.Conflict()
	case monitors.Updated:
		out.Status = http.StatusOK
	case monitors.Created:
	}
	out.Body = newMonitorBody(creation.Monitor, creation.State, a.Now())
	return out, nil
}

func monitorPath(id int64) string { return "/api/v1/monitors/" + strconv.FormatInt(id, 10) }

func (a *api) getMonitor(ctx context.Context, in *monitorInput) (*monitorOutput, error) {
	row, err := db.New(a.Pool).GetMonitorWithState(ctx, in.ID)
	if err != nil {
		return nil, fmt.Errorf("get monitor %d: %w", in.ID, err)
	}
	body, err := a.stored(row.Monitor, row.MonitorState)
	return &monitorOutput{Body: body}, err
}

// stored shows a monitor as the database has it.
func (a *api) stored(row db.Monitor, state db.MonitorState) (monitorBody, error) {
	monitor, err := monitors.Of(row, probe.Secrets{})
	if err != nil {
		return monitorBody{}, err
	}
	return newMonitorBody(monitor, state.State(), a.Now()), nil
}

type editMonitorInput struct {
	ID      int64 `path:"id" minimum:"1" doc:"The monitor's number." example:"42"`
	RawBody []byte
}

func (a *api) editMonitor(ctx context.Context, in *editMonitorInput) (*monitorOutput, error) {
	body, inputErrors := decodeBody[monitorPatch](a, monitorPatchSchema, in.RawBody, "body")
	if len(inputErrors) > 0 {
		return nil, inputProblem(inputErrors)
	}
	return a.edit(ctx, in.ID, func(monitor monitors.Monitor) (monitors.Monitor, error) {
		return a.patched(monitor, body)
	})
}

func (a *api) edit(
	ctx context.Context, id int64, edit func(monitors.Monitor) (monitors.Monitor, error),
) (*monitorOutput, error) {
	monitor, state, err := a.monitors.Edit(ctx, id, edit)
	if err != nil {
		return nil, err
	}
	return &monitorOutput{Body: newMonitorBody(monitor, state, a.Now())}, nil
}

func (a *api) pauseMonitor(ctx context.Context, in *monitorInput) (*monitorOutput, error) {
	return a.enable(ctx, in.ID, false)
}

func (a *api) resumeMonitor(ctx context.Context, in *monitorInput) (*monitorOutput, error) {
	return a.enable(ctx, in.ID, true)
}

func (a *api) enable(ctx context.Context, id int64, enabled bool) (*monitorOutput, error) {
	return a.edit(ctx, id, func(monitor monitors.Monitor) (monitors.Monitor, error) {
		monitor.Enable(enabled)
		return monitor, nil
	})
}

func (a *api) deleteMonitor(ctx context.Context, in *monitorInput) (*struct{}, error) {
	return nil, a.monitors.Delete(ctx, in.ID)
}

type listMonitorsInput struct {
	Status  string   `query:"status" enum:"pending,up,degraded,down,unknown,paused" doc:"Only those that stand there." example:"down"`
	Key     string   `query:"key" maxLength:"200" doc:"Only the one with this key." example:"shop/checkout"`
	Host    string   `query:"host" maxLength:"253" doc:"Only those of this host." example:"example.com"`
	Tag     string   `query:"tag" maxLength:"50" doc:"Only those with this tag." example:"prod"`
	Query   string   `query:"q" maxLength:"200" doc:"Only those whose name, url or key holds this text, in any case." example:"shop"`
	Include []string `query:"include" enum:"bars,uptime,latency" doc:"What to show of their past besides, comma-separated. bars: what came of the last 60 slots, and the last scan. uptime: the ratios of 24 hours, 7 days and 30 days. latency: percentiles of 24 hours." example:"bars,uptime"`
	Sort    string   `query:"sort" enum:"id,name" default:"id" doc:"In which order." example:"name"`
	Limit   int      `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many a page." example:"50"`
	Cursor  string   `query:"cursor" maxLength:"2000" doc:"The next_cursor of the page before, with the same sort." example:""`
}

type listMonitorsOutput struct{ Body page[monitorBody] }

// monitorCursor is the place of a monitor in a list.
type monitorCursor struct {
	Sort string `json:"monitors_by"`
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

func (a *api) listMonitors(ctx context.Context, in *listMonitorsInput) (*listMonitorsOutput, error) {
	var after monitorCursor
	if err := decodeCursor(in.Cursor, &after); err != nil || in.Cursor != "" && after.Sort != in.Sort {
		return nil, inputProblem([]InputError{badCursor})
	}
	queries, byID := db.New(db.PlanEach(a.Pool)), db.ListMonitorsByIDParams{
		AfterID: after.ID, Status: optional(in.Status), Tag: optional(in.Tag), Key: optional(in.Key),
		Host: optional(strings.ToLower(in.Host)), Pattern: optional(containing(in.Query)), PageSize: in.Limit + 1,
	}
	var rows []db.ListMonitorsByIDRow
	var err error
	if in.Sort == "id" {
		rows, err = queries.ListMonitorsByID(ctx, byID)
	} else {
		var byName []db.ListMonitorsByNameRow
		byName, err = queries.ListMonitorsByName(ctx, db.ListMonitorsByNameParams{
			AfterName: after.Name, AfterID: byID.AfterID, Status: byID.Status, Tag: byID.Tag, Key: byID.Key, Host: byID.Host,
			Pattern: byID.Pattern, PageSize: byID.PageSize,
		})
		for _, row := range byName {
			rows = append(rows, db.ListMonitorsByIDRow(row))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list monitors: %w", err)
	}

	bodies := make([]monitorBody, len(rows))
	for i, row := range rows {
		if bodies[i], err = a.stored(row.Monitor, row.MonitorState); err != nil {
			return nil, err
		}
	}
	if err := a.addPasts(ctx, in.Include, rows[:min(len(rows), in.Limit)], bodies); err != nil {
		return nil, err
	}
	return &listMonitorsOutput{Body: pageOf(bodies, in.Limit, func(b monitorBody) monitorBody { return b }, func(last monitorBody) any {
		return monitorCursor{Sort: in.Sort, ID: last.ID, Name: last.Name.Value}
	})}, nil
}

func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// containing makes the LIKE pattern of what holds a text.
func containing(text string) string {
	if text == "" {
		return ""
	}
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text) + "%"
}
