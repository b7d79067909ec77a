package httpapi

import (
	"errors"
	"fmt"
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
	URL string `json:"url" doc:"What to watch, at most 2048 bytes: http, https, ws, wss, tcp://host:port, tls://host:port, dns://server/name?type=A, icmp://host, grpc or grpcs://host:port/service. It is stored in normal form. Passwords do not belong in it." example:"https://example.com/health"`
	MonitorFields
}

// monitorPatch is what a client sends to change a monitor (JSON merge patch, RFC 7396).
type monitorPatch struct {
	URL *string `json:"url,omitempty" doc:"What to watch, at most 2048 bytes." example:"https://example.com/health"`
	MonitorFields
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

// check checks what a schema cannot say, and gives the configuration in normal form.
func (a *api) check(config jobs.MonitorConfig, location string) (jobs.MonitorConfig, []InputError) {
	var inputErrors []InputError
	wrong := func(field, code, message string) {
		inputErrors = append(inputErrors, InputError{Location: location + "." + field, Code: code, Message: message})
	}

	normal, err := probe.NormalizeURL(config.URL, a.Policy)
	config.URL = normal
	config = config.WithDefaults()
	if inputErr, ok := errors.AsType[*probe.InputError](err); ok {
		wrong("url", inputErr.Code, inputErr.Message)
	}
	for _, inputErr := range config.Target().Check() {
		wrong(inputErr.Field, inputErr.Code, inputErr.Message)
	}
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
	ID                   int64    `json:"id" doc:"The monitor's number." example:"42"`
	Name                 string   `json:"name" doc:"What people call it." example:"Shop"`
	Method               string   `json:"method" doc:"The request's method." example:"GET"`
	URL                  string   `json:"url" doc:"What is watched, in normal form." example:"https://example.com/health"`
	Regexp               *string  `json:"regexp" doc:"What the body must match; null: anything." example:"ok"`
	RegexpInvert         bool     `json:"regexp_invert" doc:"Whether a match is bad instead of good." example:"false"`
	IntervalSeconds      int      `json:"interval_seconds" doc:"Seconds from one scan to the next." example:"60"`
	TimeoutMS            int      `json:"timeout_ms" doc:"Milliseconds that a scan may take in all." example:"10000"`
	AcceptedStatuses     []string `json:"accepted_statuses" doc:"HTTP statuses that are good." example:"[\"200-299\"]"`
	MaxRedirects         int      `json:"max_redirects" doc:"How many redirects are followed." example:"10"`
	FailureThreshold     int      `json:"failure_threshold" doc:"How many failed scans in a row make it down." example:"3"`
	SuccessThreshold     int      `json:"success_threshold" doc:"How many good scans in a row bring it back up." example:"2"`
	RetryIntervalSeconds int      `json:"retry_interval_seconds" doc:"Seconds until a second look after a failed scan." example:"20"`
	Tags                 []string `json:"tags" doc:"Words to find it by." example:"[\"shop\"]"`
	Enabled              bool     `json:"enabled" doc:"Whether it is scanned." example:"true"`

	Headers          map[string]string `json:"headers" doc:"Headers of the request, without the secret ones." example:"{\"Accept\": \"application/json\"}"`
	SecretHeaders    []string          `json:"secret_headers" doc:"Names of the headers whose values are not shown." example:"[\"X-Api-Key\"]"`
	Body             *string           `json:"body" doc:"Body of the request." example:"{\"ping\": true}"`
	BasicUsername    *string           `json:"basic_username" doc:"User name for basic authentication." example:"monitor"`
	BasicPasswordSet bool              `json:"basic_password_set" doc:"Whether there is a password for basic authentication." example:"true"`
	BearerTokenSet   bool              `json:"bearer_token_set" doc:"Whether there is a bearer token." example:"false"`
	UserAgent        *string           `json:"user_agent" doc:"The header User-Agent; null: that of Riverwatch." example:"Mozilla/5.0"`
	HostOverride     *string           `json:"host_override" doc:"Host that is asked for, while connecting to the one of the url." example:"shop.example.com"`
	HTTP2            bool              `json:"http2" doc:"Whether HTTP/2 is offered." example:"false"`
	IPVersion        *int              `json:"ip_version" doc:"Which addresses are connected to; null: whichever connects first." example:"6"`
	TLSSkipVerify    bool              `json:"tls_skip_verify" doc:"Whether any certificate is taken." example:"false"`
	CAPEM            *string           `json:"ca_pem" doc:"Certificates of authorities that are trusted besides those of the system." example:"-----BEGIN CERTIFICATE-----\n…"`
	ClientCertPEM    *string           `json:"client_certificate_pem" doc:"Certificate that is shown to the target." example:"-----BEGIN CERTIFICATE-----\n…"`
	ClientKeySet     bool              `json:"client_key_set" doc:"Whether there is a key to it." example:"true"`
	Regexps          []string          `json:"regexps" doc:"More regexps, which must all match the body." example:"[\"Shop\"]"`
	HeaderRegexps    map[string]string `json:"header_regexps" doc:"What a header of the answer must match." example:"{\"Content-Type\": \"^application/json\"}"`
	JSON             []jsonExpectation `json:"json" doc:"What must be true of values of a JSON body."`
	MaxTotalMS       *int              `json:"max_total_ms" doc:"Milliseconds; a scan that takes longer has failed." example:"3000"`
	DegradedAfterMS  *int              `json:"degraded_after_ms" doc:"Milliseconds; a scan that takes longer makes the monitor degraded." example:"1000"`
	CertificateDays  int               `json:"certificate_days" doc:"For how many more days the certificate must be valid." example:"14"`

	Status      uptime.Status `json:"status" enum:"pending,up,degraded,down,unknown,paused" doc:"Where it stands. unknown: its address is one that this installation does not connect to." example:"up"`
	StatusSince time.Time     `json:"status_since" doc:"Since when it stands there." example:"2026-11-24T10:00:00Z"`
	NextScanAt  *time.Time    `json:"next_scan_at" doc:"When its next regular scan is due; null while it is paused." example:"2026-11-24T10:01:00Z"`
	Version     int           `json:"version" doc:"Goes up with each change." example:"1"`
	CreatedAt   time.Time     `json:"created_at" doc:"When it was created." example:"2026-11-24T09:00:00Z"`
	UpdatedAt   time.Time     `json:"updated_at" doc:"When it was last changed." example:"2026-11-24T09:00:00Z"`
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
	config := jobs.ConfigOf(monitor, probe.Secrets{})
	body.setRequest(config.Request, monitor.SecretNames)
	body.setExpectations(config.Expectations)
	if monitor.PausedAt == nil {
		schedule := uptime.Schedule{Interval: monitor.IntervalSeconds, PhaseMS: monitor.PhaseMS}
		next := schedule.SlotAfter(now)
		body.NextScanAt = &next
	}
	return body
}

func (b *monitorBody) setRequest(request probe.Request, secretNames []string) {
	b.Headers, b.SecretHeaders = orEmpty(request.Headers), []string{}
	b.Body, b.BasicUsername, b.UserAgent = given(request.Body), given(request.BasicUsername), given(request.UserAgent)
	b.HostOverride, b.IPVersion = given(request.HostOverride), given(request.IPVersion)
	b.HTTP2, b.TLSSkipVerify = request.HTTP2, request.TLSSkipVerify
	b.CAPEM, b.ClientCertPEM = given(request.CAPEM), given(request.ClientCertPEM)
	for _, name := range secretNames {
		header, isHeader := strings.CutPrefix(name, jobs.SecretHeaderPrefix)
		switch {
		case isHeader:
			b.SecretHeaders = append(b.SecretHeaders, header)
		case name == jobs.SecretBasicPassword:
			b.BasicPasswordSet = true
		case name == jobs.SecretBearerToken:
			b.BearerTokenSet = true
		case name == jobs.SecretClientKey:
			b.ClientKeySet = true
		}
	}
}

func (b *monitorBody) setExpectations(expectations probe.Expectations) {
	b.Regexps, b.HeaderRegexps = append([]string{}, expectations.Regexps...), orEmpty(expectations.HeaderRegexps)
	b.JSON = make([]jsonExpectation, len(expectations.JSON))
	for i, one := range expectations.JSON {
		b.JSON[i] = jsonExpectation(one)
	}
	b.MaxTotalMS, b.DegradedAfterMS = given(expectations.MaxTotalMS), given(expectations.DegradedAfterMS)
	b.CertificateDays = expectations.CertificateDays
}

// given gives what is not the zero value, which is shown as null.
func given[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}

// orEmpty gives a map that is shown as an object.
func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
