package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"riverwatch/db"
	"riverwatch/jobs"
)

const (
	createMonitorDoc = "Creates a monitor and schedules it; its first scan follows within seconds. A monitor is known by its " +
		"(method, url, regexp): one that is there already is answered by 409 with its id, or, with if_exists=update, gets " +
		"this configuration. One that was deleted is revived with its history."
	listMonitorsDoc  = "Pages through the monitors, by id or by name. Follow next_cursor until it is null."
	getMonitorDoc    = "Gives a monitor, its configuration and where it stands."
	editMonitorDoc   = "Changes what is given (JSON merge patch, RFC 7396): null sets a field back to its default."
	deleteMonitorDoc = "Stops its scans. Its history stays in the database, and comes back when it is created again."
	pauseMonitorDoc  = "Stops its scans until it is resumed. Pausing a paused monitor changes nothing."
	resumeMonitorDoc = "Begins its scans again, with one at once. Resuming a monitor that is not paused changes nothing."
)

type createMonitorInput struct {
	IfExists string `query:"if_exists" enum:"update" doc:"What to do if there is a monitor with this method, url and regexp: update gives it this configuration; left out, the answer is 409." example:"update"`
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
	config, inputErrors := a.config(in.RawBody, "body")
	if len(inputErrors) > 0 {
		return nil, inputProblem(inputErrors)
	}

	puts, err := jobs.CreateMonitors(
		ctx, a.Pool, a.Queue, []jobs.MonitorConfig{config}, in.IfExists == "update", a.Now())
	if err != nil {
		return nil, err
	}
	put := puts[0]
	if put.Put == jobs.PutExists {
		return nil, &jobs.ConflictError{MonitorID: put.Monitor.ID}
	}

	body, err := a.monitorBody(ctx, put.Monitor.ID)
	if err != nil {
		return nil, err
	}
	out := &createMonitorOutput{Status: http.StatusCreated, Location: monitorPath(put.Monitor.ID), Body: body}
	if put.Put == jobs.PutUpdated {
		out.Status = http.StatusOK
	}
	return out, nil
}

func monitorPath(id int64) string { return "/api/v1/monitors/" + strconv.FormatInt(id, 10) }

func (a *api) monitorBody(ctx context.Context, id int64) (monitorBody, error) {
	row, err := db.New(a.Pool).GetMonitorWithState(ctx, id)
	if err != nil {
		return monitorBody{}, fmt.Errorf("get monitor %d: %w", id, err)
	}
	return newMonitorBody(row.Monitor, row.MonitorState, a.Now()), nil
}

func (a *api) getMonitor(ctx context.Context, in *monitorInput) (*monitorOutput, error) {
	body, err := a.monitorBody(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &monitorOutput{Body: body}, nil
}

type editMonitorInput struct {
	ID      int64 `path:"id" minimum:"1" doc:"The monitor's number." example:"42"`
	RawBody []byte
}

func (a *api) editMonitor(ctx context.Context, in *editMonitorInput) (*monitorOutput, error) {
	body, nulls, inputErrors := decodeBody[monitorPatch](a, monitorPatchSchema, in.RawBody, "body")
	if len(inputErrors) > 0 {
		return nil, inputProblem(inputErrors)
	}
	return a.edit(ctx, in.ID, func(config jobs.MonitorConfig) (jobs.MonitorConfig, error) {
		return a.patched(config, body, nulls)
	})
}

func (a *api) edit(
	ctx context.Context, id int64, edit func(jobs.MonitorConfig) (jobs.MonitorConfig, error),
) (*monitorOutput, error) {
	if _, err := jobs.EditMonitor(ctx, a.Pool, a.Queue, id, edit, a.Now()); err != nil {
		return nil, err
	}
	return a.getMonitor(ctx, &monitorInput{ID: id})
}

func (a *api) pauseMonitor(ctx context.Context, in *monitorInput) (*monitorOutput, error) {
	return a.edit(ctx, in.ID, enable(false))
}

func (a *api) resumeMonitor(ctx context.Context, in *monitorInput) (*monitorOutput, error) {
	return a.edit(ctx, in.ID, enable(true))
}

func enable(enabled bool) func(jobs.MonitorConfig) (jobs.MonitorConfig, error) {
	return func(config jobs.MonitorConfig) (jobs.MonitorConfig, error) {
		config.Enabled = enabled
		return config, nil
	}
}

func (a *api) deleteMonitor(ctx context.Context, in *monitorInput) (*struct{}, error) {
	return nil, jobs.DeleteMonitor(ctx, a.Pool, in.ID, a.Now())
}

type listMonitorsInput struct {
	Status string `query:"status" enum:"pending,up,degraded,down,unknown,paused" doc:"Only those that stand there." example:"down"`
	Tag    string `query:"tag" maxLength:"50" doc:"Only those with this tag." example:"prod"`
	Query  string `query:"q" maxLength:"200" doc:"Only those whose name or url holds this text, in any case." example:"shop"`
	Sort   string `query:"sort" enum:"id,name" default:"id" doc:"In which order." example:"name"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many a page." example:"50"`
	Cursor string `query:"cursor" maxLength:"2000" doc:"The next_cursor of the page before, with the same sort." example:""`
}

type listMonitorsOutput struct {
	Body struct {
		Data       []monitorBody `json:"data" doc:"The monitors of this page."`
		NextCursor *string       `json:"next_cursor" doc:"Asks for the next page; null: this is the last." example:"eyJvIjoiaWQiLCJpIjo0Mn0"`
	}
}

func (a *api) listMonitors(ctx context.Context, in *listMonitorsInput) (*listMonitorsOutput, error) {
	var after monitorCursor
	if err := decodeCursor(in.Cursor, &after); err != nil || in.Cursor != "" && after.Sort != in.Sort {
		return nil, inputProblem([]InputError{badCursor})
	}
	rows, err := a.monitorRows(ctx, in, after)
	if err != nil {
		return nil, fmt.Errorf("list monitors: %w", err)
	}

	out := &listMonitorsOutput{}
	out.Body.Data = make([]monitorBody, 0, len(rows))
	for i, row := range rows {
		if i == in.Limit { // the one more that was asked for
			last := rows[i-1].Monitor
			cursor := encodeCursor(monitorCursor{Sort: in.Sort, ID: last.ID, Name: last.Name})
			out.Body.NextCursor = &cursor
			break
		}
		out.Body.Data = append(out.Body.Data, newMonitorBody(row.Monitor, row.MonitorState, a.Now()))
	}
	return out, nil
}

// monitorCursor is the place of a monitor in a list.
type monitorCursor struct {
	Sort string `json:"monitors_by"`
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

func (a *api) monitorRows(
	ctx context.Context, in *listMonitorsInput, after monitorCursor,
) ([]db.ListMonitorsByIDRow, error) {
	queries, pageSize := db.New(a.Pool), in.Limit+1
	status, tag, pattern := optional(in.Status), optional(in.Tag), optional(containing(in.Query))
	if in.Sort == "id" {
		return queries.ListMonitorsByID(ctx, db.ListMonitorsByIDParams{
			AfterID: after.ID, Status: status, Tag: tag, Pattern: pattern, PageSize: pageSize,
		})
	}
	byName, err := queries.ListMonitorsByName(ctx, db.ListMonitorsByNameParams{
		AfterName: after.Name, AfterID: after.ID, Status: status, Tag: tag, Pattern: pattern, PageSize: pageSize,
	})
	rows := make([]db.ListMonitorsByIDRow, len(byName))
	for i, row := range byName {
		rows[i] = db.ListMonitorsByIDRow(row)
	}
	return rows, err
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
