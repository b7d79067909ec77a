package httpapi

import (
	"reflect"
	"strings"
	"time"

	"riverwatch/monitors"
	"riverwatch/uptime"
)

// monitorCreate is what a client sends to create a monitor.
type monitorCreate struct {
	URL string `json:"url" doc:"What to watch, at most 2048 bytes: http, https, ws, wss, tcp://host:port, tls://host:port, dns://server/name?type=A, icmp://host, grpc or grpcs://host:port/service. It is stored in normal form. Passwords do not belong in it." example:"https://example.com/health"`
	MonitorFields
	SecretFields
}

// monitorPatch is what a client sends to change a monitor (JSON merge patch, RFC 7396).
type monitorPatch struct {
	URL Optional[string] `json:"url,omitzero" doc:"What to watch, at most 2048 bytes." example:"https://example.com/health"`
	MonitorFields
	SecretFields
}

var (
	monitorCreateSchema = bodySchema{goType: reflect.TypeFor[monitorCreate](), maxBytes: maxBody}
	monitorPatchSchema  = bodySchema{goType: reflect.TypeFor[monitorPatch](), maxBytes: maxBody}
)

// newMonitor decodes what a client sent to create a monitor.
func (a *api) newMonitor(raw []byte, location string) (monitors.Monitor, []InputError) {
	body, inputErrors := decodeBody[monitorCreate](a, monitorCreateSchema, raw, location)
	if len(inputErrors) > 0 {
		return monitors.Monitor{}, inputErrors
	}
	monitor := monitors.New()
	monitor.URL = body.URL
	take(body.MonitorFields.pairs(&monitor), body.SecretFields.pairs(&monitor))
	return a.check(monitor, location)
}

// patched gives a monitor what a client sent to change it.
func (a *api) patched(monitor monitors.Monitor, body monitorPatch) (monitors.Monitor, error) {
	if body.URL.Null {
		return monitor, inputProblem([]InputError{{Location: "body.url", Code: "field_required", Message: "cannot be removed"}})
	}
	before := monitor
	if monitor.NamedByURL() && !body.Name.said() {
		monitor.Name = "" // it follows the URL
	}
	take([]pair{value(&body.URL, &monitor.URL, "")},
		body.MonitorFields.pairs(&monitor), body.SecretFields.pairs(&monitor))
	monitor, inputErrors := a.check(monitor, "body")
	if len(inputErrors) == 0 && monitor.Origin() != before.Origin() {
		inputErrors = secretsNeeded(before, body)
	}
	return monitor, inputProblem(inputErrors)
}

// secretsNeeded gives an error for each secret of a monitor that a change of its origin does not give anew or drop: else
// whoever may change a URL could read them all, by pointing it at himself.
func secretsNeeded(before monitors.Monitor, body monitorPatch) (inputErrors []InputError) {
	mentioned := map[string]bool{ // what is not known here is needed
		monitors.SecretBasicPassword: body.BasicPassword.said(), monitors.SecretBearerToken: body.BearerToken.said(),
		monitors.SecretClientKey: body.ClientKeyPEM.said(),
	}
	for _, name := range before.SecretNames {
		location, said := "body."+name, mentioned[name]
		if header, isHeader := strings.CutPrefix(name, monitors.SecretHeaderPrefix); isHeader {
			location, said = "body.headers."+header, body.Headers.Null
			for patched := range body.Headers.Value {
				said = said || strings.EqualFold(patched, header)
			}
		}
		if !said {
			inputErrors = append(inputErrors, InputError{
				Location: location, Code: "secrets_needed",
				Message: "must be given again, or null to drop it: a secret does not follow to another scheme, host or port",
			})
		}
	}
	return inputErrors
}

func take(lists ...[]pair) {
	for _, pairs := range lists {
		for _, pair := range pairs {
			pair.take()
		}
	}
}

// check checks what a schema cannot say, and gives the monitor complete.
func (a *api) check(monitor monitors.Monitor, location string) (monitors.Monitor, []InputError) {
	checked, wrong := monitor.Check(a.Policy)
	var inputErrors []InputError
	for _, one := range wrong {
		inputErrors = append(inputErrors, InputError{Location: location + "." + one.Field, Code: one.Code, Message: one.Message})
	}
	return checked, inputErrors
}

// monitorBody is a monitor as the API shows it. Every member is there.
type monitorBody struct {
	ID   int64  `json:"id" doc:"The monitor's number." example:"42"`
	URL  string `json:"url" doc:"What is watched, in normal form." example:"https://example.com/health"`
	Host string `json:"host" doc:"The host of url, without a port." example:"example.com"`
	MonitorFields

	SecretHeaders    []string `json:"secret_headers" doc:"Names of the headers whose values are not shown." example:"[\"X-Api-Key\"]"`
	BasicPasswordSet bool     `json:"basic_password_set" doc:"Whether there is a password for basic authentication." example:"true"`
	BearerTokenSet   bool     `json:"bearer_token_set" doc:"Whether there is a bearer token." example:"false"`
	ClientKeySet     bool     `json:"client_key_set" doc:"Whether there is a key to client_certificate_pem." example:"true"`

	Status      uptime.Status `json:"status" enum:"pending,up,degraded,down,unknown,paused" doc:"Where it stands. unknown: its address is one that this installation does not connect to." example:"up"`
	StatusSince time.Time     `json:"status_since" doc:"Since when it stands there." example:"2026-11-24T10:00:00Z"`
	NextScanAt  *time.Time    `json:"next_scan_at" doc:"When its next regular scan is due; null while it is paused." example:"2026-11-24T10:01:00Z"`
	Version     int           `json:"version" doc:"Goes up with each change." example:"1"`
	CreatedAt   time.Time     `json:"created_at" doc:"When it was created." example:"2026-11-24T09:00:00Z"`
	UpdatedAt   time.Time     `json:"updated_at" doc:"When it was last changed." example:"2026-11-24T09:00:00Z"`

	Past *pastBody `json:"past,omitzero" doc:"What a list shows of its past, if that is included."`
}

// newMonitorBody shows a monitor. Of its secrets the names are enough.
func newMonitorBody(monitor monitors.Monitor, state uptime.State, now time.Time) monitorBody {
	body := monitorBody{
		ID: monitor.ID, URL: monitor.URL, Host: monitor.Host, SecretHeaders: []string{},
		Status: state.Status, StatusSince: state.Since.UTC(), Version: monitor.Version,
		CreatedAt: monitor.CreatedAt.UTC(), UpdatedAt: monitor.UpdatedAt.UTC(),
	}
	for _, pair := range body.pairs(&monitor) {
		pair.show()
	}
	for _, name := range monitor.SecretNames {
		header, isHeader := strings.CutPrefix(name, monitors.SecretHeaderPrefix)
		switch {
		case isHeader:
			body.SecretHeaders = append(body.SecretHeaders, header)
		case name == monitors.SecretBasicPassword:
			body.BasicPasswordSet = true
		case name == monitors.SecretBearerToken:
			body.BearerTokenSet = true
		case name == monitors.SecretClientKey:
			body.ClientKeySet = true
		}
	}
	if monitor.PausedAt == nil {
		next := monitor.Schedule().SlotAfter(now)
		body.NextScanAt = &next
	}
	return body
}
