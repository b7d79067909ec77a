package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"riverwatch/db"
	"riverwatch/monitors"
)

// Problem is the one shape of an error (RFC 9457, application/problem+json).
type Problem struct {
	Title     string       `json:"title" doc:"What the status means." example:"Bad Request"`
	Status    int          `json:"status" doc:"The HTTP status." example:"400"`
	Code      string       `json:"code" doc:"What went wrong, as a word that never changes." example:"input_invalid"`
	Detail    string       `json:"detail" doc:"What went wrong, as a sentence for people." example:"The request is not valid."`
	MonitorID int64        `json:"monitor_id,omitempty" doc:"The monitor that is there already, with code monitor_exists." example:"42"`
	Errors    []InputError `json:"errors,omitempty" doc:"Each thing that is wrong with the input."`

	retryAfter string // seconds
}

// InputError is one thing that is wrong with the input.
type InputError struct {
	Location string `json:"location" doc:"Where: body, query or path, and the field." example:"body.interval_seconds"`
	Code     string `json:"code" doc:"What is wrong, as a word that never changes." example:"interval_range"`
	Message  string `json:"message" doc:"What is wrong and what is accepted." example:"must be from 10 to 86400"`
}

func (p *Problem) Error() string { return p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header {
	if p.retryAfter == "" {
		return nil
	}
	return http.Header{"Retry-After": {p.retryAfter}}
}

func problemOf(status int, code, detail string) *Problem {
	return &Problem{Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

// inputProblem is nil if there are no errors.
func inputProblem(inputErrors []InputError) error {
	if len(inputErrors) == 0 {
		return nil
	}
	problem := problemOf(http.StatusBadRequest, "input_invalid", "The request is not valid: see errors.")
	problem.Errors = inputErrors
	return problem
}

func internalError() *Problem {
	return problemOf(http.StatusInternalServerError, "internal_error", "Something went wrong here. The log says what.")
}

func unavailable() *Problem {
	problem := problemOf(http.StatusServiceUnavailable, "database_unavailable", "The database cannot be reached. Try again.")
	problem.retryAfter = "5"
	return problem
}

// tooSlow: the database is there, and has more to do than it can in the time that a request has, or others are in the way.
func tooSlow() *Problem {
	problem := problemOf(http.StatusServiceUnavailable, "too_slow",
		"This takes longer than a request may, or others are in its way. Ask for less, or try again.")
	problem.retryAfter = "5"
	return problem
}

const (
	undefinedTable  = "42P01"
	undefinedColumn = "42703"
)

func schemaOutdated(detail string) *Problem {
	problem := problemOf(http.StatusServiceUnavailable, "schema_outdated", detail)
	problem.retryAfter = "5"
	return problem
}

// problem turns the error of a handler into what its caller may know, and logs the rest. It alone logs errors.
func (a *api) problem(ctx context.Context, r route, err error) *Problem {
	var problem *Problem
	var conflict *monitors.ConflictError
	switch {
	case errors.As(err, &problem):
		return problem
	case errors.As(err, &conflict):
		return conflictProblem(conflict)
	case errors.Is(err, monitors.ErrTooManyScans):
		problem = problemOf(http.StatusTooManyRequests, "too_many_scans", "Of one monitor "+monitors.ErrTooManyScans.Error()+".")
		problem.retryAfter = "5"
		return problem
	case errors.Is(err, pgx.ErrNoRows) && slices.Contains(r.Errors, http.StatusNotFound):
		return problemOf(http.StatusNotFound, "not_found", "There is no such "+r.of.noun+".")
	case db.TroubleOf(err) == db.TroubleRetry, errors.Is(err, context.DeadlineExceeded) && a.answers(ctx):
		a.Logger.WarnContext(ctx, "request refused: it takes too long", slog.String("operation", r.OperationID),
			slog.Any("error", err))
		return tooSlow()
	case db.TroubleOf(err) == db.TroubleAway:
		a.Logger.WarnContext(ctx, "request refused: the database is away", slog.String("operation", r.OperationID),
			slog.Any("error", err))
		return unavailable()
	case errors.Is(err, db.ErrEarlierBuild):
		return schemaOutdated("The database was made by an earlier build of Riverwatch, and must be made anew.")
	case db.IsCode(err, undefinedTable), db.IsCode(err, undefinedColumn):
		return schemaOutdated("The database's schema is not that of this program: run riverwatch migrate up.")
	case errors.Is(err, context.Canceled): // the client left: nobody reads the answer
		return unavailable()
	default:
		a.Logger.ErrorContext(ctx, "request failed", slog.String("operation", r.OperationID), slog.Any("error", err))
		return internalError()
	}
}

// answers reports whether the database does, at once: a request whose time is over was too slow, or the database is away.
func (a *api) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
	defer cancel()
	return a.Pool.Ping(ctx) == nil
}

func conflictProblem(conflict *monitors.ConflictError) *Problem {
	identity := "method, url and regexp"
	if conflict.ByKey {
		identity = "key"
	}
	problem := problemOf(http.StatusConflict, "monitor_exists",
		"A monitor with this "+identity+" is there already. To update it, POST with ?if_exists=update.")
	if conflict.Deleted {
		problem.Detail = "A deleted monitor has this " + identity + ". Create it again to revive it with its history."
	}
	problem.MonitorID = conflict.MonitorID
	return problem
}

// newProblem is what huma makes errors of its own with: of parameters and bodies that it refuses.
func newProblem(status int, detail string, errs ...error) huma.StatusError {
	switch {
	case status == http.StatusUnprocessableEntity || status == http.StatusBadRequest && len(errs) > 0:
		problem := problemOf(http.StatusBadRequest, "input_invalid", "The request is not valid: see errors.")
		for _, err := range errs {
			problem.Errors = append(problem.Errors, parameterError(err))
		}
		return problem
	case status == http.StatusBadRequest: // there is no body
		problem := problemOf(status, "input_invalid", "The request is not valid: see errors.")
		problem.Errors = []InputError{{Location: "body", Code: "json_invalid", Message: detail}}
		return problem
	case status == http.StatusRequestEntityTooLarge:
		return problemOf(status, "body_too_large", "The body is too large: see the limits in /docs.")
	case status >= http.StatusInternalServerError:
		return internalError()
	default:
		return problemOf(status, strings.ReplaceAll(strings.ToLower(http.StatusText(status)), " ", "_"), detail)
	}
}

// parameterError gives what is wrong with a parameter, as huma found it, a code.
func parameterError(err error) InputError {
	var detailer huma.ErrorDetailer
	if !errors.As(err, &detailer) {
		return InputError{Location: "request", Code: "input_invalid", Message: err.Error()}
	}
	detail := detailer.ErrorDetail()
	return InputError{Location: detail.Location, Code: "parameter_invalid", Message: detail.Message}
}
