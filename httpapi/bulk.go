package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"reflect"

	"github.com/go-json-experiment/json/jsontext"

	"riverwatch/monitors"
)

const bulkDoc = "Creates up to 1,000 monitors in one transaction. Each has its own outcome, in the order given: an invalid " +
	"one does not keep the others from being created. Their first scans come at their next slots, at most a minute away."

const maxBulk = 1000

// bulkCreate documents the body; its items are decoded one by one, so that each has its own errors.
type bulkCreate struct {
	Monitors []monitorCreate `json:"monitors" minItems:"1" maxItems:"1000" doc:"The monitors to create."`
}

type bulkItems struct {
	Monitors []jsontext.Value `json:"monitors"`
}

var bulkSchema = bodySchema{goType: reflect.TypeFor[bulkCreate](), maxBytes: maxBulkBody}

type bulkInput struct {
	IfExists string `query:"if_exists" enum:"update" doc:"update: a monitor that is there gets this configuration. Left out, it stays as it is, with outcome exists." example:"update"`
	RawBody  []byte
}

type bulkOutput struct {
	Body struct {
		Created int          `json:"created" doc:"How many were created." example:"998"`
		Updated int          `json:"updated" doc:"How many were there and have this configuration now." example:"0"`
		Exists  int          `json:"exists" doc:"How many were there and are as they were." example:"1"`
		Invalid int          `json:"invalid" doc:"How many are not valid and were left out." example:"1"`
		Data    []bulkResult `json:"data" doc:"What came of each, in the order given."`
	}
}

type bulkResult struct {
	Outcome string       `json:"outcome" enum:"created,updated,exists,invalid" doc:"What came of it." example:"created"`
	ID      int64        `json:"id,omitempty" doc:"The monitor's number, unless invalid." example:"42"`
	Errors  []InputError `json:"errors,omitempty" doc:"What is wrong, if invalid."`
}

func (a *api) createMonitors(ctx context.Context, in *bulkInput) (*bulkOutput, error) {
	if err := a.bulks.Acquire(ctx, 1); err != nil {
		problem := problemOf(http.StatusServiceUnavailable, "too_many_bulks", "Other bulks are under way. Try again.")
		problem.retryAfter = "5"
		return nil, problem
	}
	defer a.bulks.Release(1)
	body, inputErrors := decodeStrictly[bulkItems](in.RawBody, "body")
	if count := len(body.Monitors); len(inputErrors) == 0 && (count < 1 || count > maxBulk) {
		inputErrors = []InputError{{
			Location: "body.monitors", Code: "list_length",
			Message: fmt.Sprintf("has %d monitors, and must have 1 to %d", count, maxBulk),
		}}
	}
	if len(inputErrors) > 0 {
		return nil, inputProblem(inputErrors)
	}

	out := &bulkOutput{}
	out.Body.Data = make([]bulkResult, len(body.Monitors))
	var valid []monitors.Monitor
	var indexes []int
	for i, item := range body.Monitors {
		monitor, inputErrors := a.newMonitor(item, fmt.Sprintf("body.monitors[%d]", i))
		if len(inputErrors) > 0 {
			out.Body.Data[i] = bulkResult{Outcome: "invalid", Errors: inputErrors}
			out.Body.Invalid++
			continue
		}
		valid, indexes = append(valid, monitor), append(indexes, i)
	}

	if err := a.reach(ctx); err != nil {
		return nil, err
	}
	creations, err := a.monitors.Create(ctx, valid, in.IfExists == "update")
	if err != nil {
		return nil, err
	}
	for k, creation := range creations {
		out.Body.Data[indexes[k]] = bulkResult{Outcome: string(creation.Result), ID: creation.Monitor.ID}
		switch creation.Result {
		case monitors.Created:
			out.Body.Created++
		case monitors.Updated:
			out.Body.Updated++
		case monitors.Exists:
			out.Body.Exists++
		}
	}
	return out, nil
}

// reach fails soon if the database is away, before what may take long begins.
func (a *api) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if err := a.Pool.Ping(ctx); err != nil {
		return fmt.Errorf("reach the database: %w", err)
	}
	return nil
}
