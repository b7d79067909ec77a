package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode"

	"riverwatch/db"
	"riverwatch/jobs"
	"riverwatch/probe"
	"riverwatch/uptime"
)

// monitorCreate is what a client sends to create a monitor.
type monitorCreate struct {
	URL string `json:"url" doc:"What to watch: http or https, at most 2048 bytes. It is stored in normal form. Passwords do not belong in it." example:"https://example.com/health"`
	MonitorFields
}

// monitorPatch is what a client sends to change a monitor (JSON merge patch, RFC 7396).
type monitorPatch struct {
	URL *string `json:"url,omitempty" doc:"What to watch: http or https, at most 2048 bytes." example:"https://example.com/health"`
	MonitorFields
}

// MonitorFields are what may be left out. A field that is null has its default. Exported, or huma would not see it in
// the structs that embed it.
type MonitorFields struct {
	Name                 *string   `json:"name,omitempty" minLength:"1" maxLength:"200" doc:"What people call it. Default: host and path of the url." example:"Shop"`
	Method               *string   `json:"method,omitempty" enum:"GET,HEAD,OPTIONS,POST,PUT,PATCH,DELETE" doc:"The request's method. Default: GET." example:"GET"`
	Regexp               *string   `json:"regexp,omitempty" doc:"What the body must match (RE2 syntax, at most 512 bytes). Default: none." example:"\"status\":\\s*\"ok\""`
	RegexpInvert         *bool     `json:"regexp_invert,omitempty" doc:"Whether a match of regexp is bad instead of good. Default: false." example:"false"`
	IntervalSeconds      *int      `json:"interval_seconds,omitempty" minimum:"10" maximum:"86400" doc:"Seconds from one scan to the next. Default: 60." example:"60"`
	TimeoutMS            *int      `json:"timeout_ms,omitempty" minimum:"100" maximum:"30000" doc:"Milliseconds that a scan may take in all; less than the interval. Default: 10000, or half the interval where that is less." example:"10000"`
	AcceptedStatuses     *[]string `json:"accepted_statuses,omitempty" minItems:"1" maxItems:"20" doc:"HTTP statuses that are good, single or as ranges, from 200 to 599. Default: 200-299." example:"[\"200-299\", \"304\"]"`
	MaxRedirects         *int      `json:"max_redirects,omitempty" minimum:"0" maximum:"10" doc:"How many redirects to follow. 0 judges a redirect itself. A scan makes at most 8 connections, whatever is said here. Default: 10." example:"10"`
	FailureThreshold     *int      `json:"failure_threshold,omitempty" minimum:"1" maximum:"100" doc:"How many failed scans in a row make it down. Default: 3." example:"3"`
	SuccessThreshold     *int      `json:"success_threshold,omitempty" minimum:"1" maximum:"100" doc:"How many good scans in a row bring it back up. Default: 2." example:"2"`
	RetryIntervalSeconds *int      `json:"retry_interval_seconds,omitempty" minimum:"5" maximum:"86400" doc:"Seconds until a second look after a failed scan, where that comes before the next scan. Default: 20." example:"20"`
	Tags                 *[]string `json:"tags,omitempty" maxItems:"20" uniqueItems:"true" doc:"Words to find it by, each of 1 to 50 characters. Default: none." example:"[\"shop\", \"prod\"]"`
	Enabled              *bool     `json:"enabled,omitempty" doc:"Whether it is scanned; false pauses it. Default: true." example:"true"`
}

var (
	monitorCreateSchema = bodySchema{goType: reflect.TypeFor[monitorCreate](), maxBytes: maxBody}
	monitorPatchSchema  = bodySchema{goType: reflect.TypeFor[monitorPatch](), maxBytes: maxBody}
)

// config decodes what a client sent to create a monitor.
func (a *api) config(raw []byte, location string) (jobs.MonitorConfig, []InputError) {
	body, _, inputErrors := decodeBody[monitorCreate](a, monitorCreateSchema, raw, location)
	if len(inputErrors) > 0 {
		return jobs.MonitorConfig{}, inputErrors
	}
	config := jobs.DefaultConfig()
	config.URL = body.URL
	body.apply(&config, nil)
	return a.check(config, location)
}

// patched gives a configuration what a client sent to change it.
func (a *api) patched(config jobs.MonitorConfig, body monitorPatch, nulls map[string]bool) (jobs.MonitorConfig, error) {
	if nulls["url"] {
		return config, inputProblem([]InputError{{Location: "body.url", Code: "field_required", Message: "cannot be removed"}})
	}
	set(&config.URL, body.URL, false, "")
	body.apply(&config, nulls)
	config, inputErrors := a.check(config, "body")
	return config, inputProblem(inputErrors)
}

// apply sets what is given, and to its default what is null.
func (f MonitorFields) apply(config *jobs.MonitorConfig, nulls map[string]bool) {
	defaults := jobs.DefaultConfig()
	set(&config.Name, f.Name, nulls["name"], "")
	set(&config.Method, f.Method, nulls["method"], defaults.Method)
	if f.Regexp != nil || nulls["regexp"] {
		config.Regexp = f.Regexp
	}
	set(&config.RegexpInvert, f.RegexpInvert, nulls["regexp_invert"], false)
	set(&config.IntervalSeconds, f.IntervalSeconds, nulls["interval_seconds"], defaults.IntervalSeconds)
	set(&config.TimeoutMS, f.TimeoutMS, nulls["timeout_ms"], 0)
	set(&config.AcceptedStatuses, f.AcceptedStatuses, nulls["accepted_statuses"], defaults.AcceptedStatuses)
	set(&config.MaxRedirects, f.MaxRedirects, nulls["max_redirects"], defaults.MaxRedirects)
	set(&config.FailureThreshold, f.FailureThreshold, nulls["failure_threshold"], defaults.FailureThreshold)
	set(&config.SuccessThreshold, f.SuccessThreshold, nulls["success_threshold"], defaults.SuccessThreshold)
	set(&config.RetryIntervalSeconds, f.RetryIntervalSeconds, nulls["retry_interval_seconds"], defaults.RetryIntervalSeconds)
	set(&config.Tags, f.Tags, nulls["tags"], defaults.Tags)
	set(&config.Enabled, f.Enabled, nulls["enabled"], defaults.Enabled)
}

func set[T any](field, given *T, isNull bool, standard T) {
	switch {
	case given != nil:
		*field = *given
	case isNull:
		*field = standard
	}
}

// check checks what a schema cannot say, and gives the configuration in normal form.
func (a *api) check(config jobs.MonitorConfig, location string) (jobs.MonitorConfig, []InputError) {
	var inputErrors []InputError
	wrong := func(field, code, message string) {
		inputErrors = append(inputErrors, InputError{Location: location + "." + field, Code: code, Message: message})
	}
	refused := func(field string, err error) {
		if inputErr, ok := errors.AsType[*probe.InputError](err); ok {
			wrong(field, inputErr.Code, inputErr.Message)
		}
	}

	normal, err := probe.NormalizeURL(config.URL, a.Policy)
	refused("url", err)
	config.URL = normal
	config = config.WithDefaults()
	if config.Regexp != nil {
		refused("regexp", probe.CheckRegexp(*config.Regexp))
	}
	if config.Regexp != nil && config.Method == http.MethodHead {
		wrong("regexp", "regexp_without_body", "the answer to HEAD has no body to match: use GET")
	}
	refused("accepted_statuses", probe.CheckStatuses(config.AcceptedStatuses))
	if config.TimeoutMS >= config.IntervalSeconds*1000 {
		wrong("timeout_ms", "timeout_range", fmt.Sprintf(
			"is %d ms, and must be less than the interval of %d s", config.TimeoutMS, config.IntervalSeconds))
	}
	if !clean(config.Name) {
		wrong("name", "string_invalid", "must hold no control characters")
	}
	for i, tag := range config.Tags {
		if !clean(tag) || tag == "" || len([]rune(tag)) > 50 {
			wrong(fmt.Sprintf("tags[%d]", i), "string_invalid", "must be 1 to 50 characters, none of them a control character")
		}
	}
	return config, inputErrors
}

// clean reports whether text can be shown, and stored: Postgres refuses NUL.
func clean(text string) bool { return !strings.ContainsFunc(text, unicode.IsControl) }

// monitorBody is a monitor as the API shows it.
type monitorBody struct {
	ID                   int64         `json:"id" doc:"The monitor's number." example:"42"`
	Name                 string        `json:"name" doc:"What people call it." example:"Shop"`
	Method               string        `json:"method" doc:"The request's method." example:"GET"`
	URL                  string        `json:"url" doc:"What is watched, in normal form." example:"https://example.com/health"`
	Regexp               *string       `json:"regexp" doc:"What the body must match; null: anything." example:"ok"`
	RegexpInvert         bool          `json:"regexp_invert" doc:"Whether a match is bad instead of good." example:"false"`
	IntervalSeconds      int           `json:"interval_seconds" doc:"Seconds from one scan to the next." example:"60"`
	TimeoutMS            int           `json:"timeout_ms" doc:"Milliseconds that a scan may take in all." example:"10000"`
	AcceptedStatuses     []string      `json:"accepted_statuses" doc:"HTTP statuses that are good." example:"[\"200-299\"]"`
	MaxRedirects         int           `json:"max_redirects" doc:"How many redirects are followed." example:"10"`
	FailureThreshold     int           `json:"failure_threshold" doc:"How many failed scans in a row make it down." example:"3"`
	SuccessThreshold     int           `json:"success_threshold" doc:"How many good scans in a row bring it back up." example:"2"`
	RetryIntervalSeconds int           `json:"retry_interval_seconds" doc:"Seconds until a second look after a failed scan." example:"20"`
	Tags                 []string      `json:"tags" doc:"Words to find it by." example:"[\"shop\"]"`
	Enabled              bool          `json:"enabled" doc:"Whether it is scanned." example:"true"`
	Status               uptime.Status `json:"status" enum:"pending,up,degraded,down,unknown,paused" doc:"Where it stands. unknown: its address is one that this installation does not connect to." example:"up"`
	StatusSince          time.Time     `json:"status_since" doc:"Since when it stands there." example:"2026-11-24T10:00:00Z"`
	NextScanAt           *time.Time    `json:"next_scan_at" doc:"When its next regular scan is due; null while it is paused." example:"2026-11-24T10:01:00Z"`
	Version              int           `json:"version" doc:"Goes up with each change." example:"1"`
	CreatedAt            time.Time     `json:"created_at" doc:"When it was created." example:"2026-11-24T09:00:00Z"`
	UpdatedAt            time.Time     `json:"updated_at" doc:"When it was last changed." example:"2026-11-24T09:00:00Z"`
}

func newMonitorBody(monitor db.Monitor, state db.MonitorState, now time.Time) monitorBody {
	body := monitorBody{
		ID: monitor.ID, Name: monitor.Name, Method: monitor.Method, URL: monitor.URL, Regexp: monitor.Regexp,
		RegexpInvert: monitor.RegexpInvert, IntervalSeconds: monitor.IntervalSeconds, TimeoutMS: monitor.TimeoutMS,
		AcceptedStatuses: monitor.AcceptedStatuses, MaxRedirects: monitor.MaxRedirects,
		FailureThreshold: monitor.FailureThreshold, SuccessThreshold: monitor.SuccessThreshold,
		RetryIntervalSeconds: monitor.RetryIntervalSeconds, Tags: monitor.Tags, Enabled: monitor.PausedAt == nil,
		Status: state.Status, StatusSince: state.Since.UTC(), Version: monitor.Version,
		CreatedAt: monitor.CreatedAt.UTC(), UpdatedAt: monitor.UpdatedAt.UTC(),
	}
	if monitor.PausedAt == nil {
		schedule := uptime.Schedule{Interval: monitor.IntervalSeconds, Phase: monitor.Phase}
		next := schedule.SlotAfter(now)
		body.NextScanAt = &next
	}
	return body
}
