package httpapi

import (
	"maps"
	"strings"

	"riverwatch/jobs"
	"riverwatch/probe"
)

// MonitorFields are what may be left out. A field that is null has its default. Exported, or huma would not see it in
// the structs that embed it.
type MonitorFields struct {
	Name                 *string   `json:"name,omitempty" minLength:"1" maxLength:"200" doc:"What people call it. Default: host and path of the url." example:"Shop"`
	Method               *string   `json:"method,omitempty" enum:"GET,HEAD,OPTIONS,POST,PUT,PATCH,DELETE" doc:"The request's method. Default: GET." example:"GET"`
	Regexp               *string   `json:"regexp,omitempty" doc:"What the body must match (RE2 syntax, at most 512 bytes). Of tcp: what is answered; of dns: the records, a line each. Default: none." example:"\"status\":\\s*\"ok\""`
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

	RequestFields
	ExpectationFields
}

// RequestFields say how to ask.
type RequestFields struct {
	Headers       map[string]*string `json:"headers,omitempty" doc:"Headers of the request, at most 32. In a change, null removes one, and those that are not named stay. The value of one whose name tells of a secret (Authorization, Cookie, X-Api-Key…) is never shown again. Default: none." example:"{\"Accept\": \"application/json\", \"X-Api-Key\": \"s3cret\"}"`
	Body          *string            `json:"body,omitempty" doc:"Body of a POST, PUT, PATCH or DELETE, at most 48 KiB; of tcp: what is sent first. Default: none." example:"{\"ping\": true}"`
	BasicUsername *string            `json:"basic_username,omitempty" doc:"User name for basic authentication. Default: none." example:"monitor"`
	BasicPassword *string            `json:"basic_password,omitempty" doc:"Password for basic authentication; never shown. Default: none." example:"s3cret"`
	BearerToken   *string            `json:"bearer_token,omitempty" doc:"Token for the header Authorization: Bearer; never shown. Default: none." example:"s3cret"`
	UserAgent     *string            `json:"user_agent,omitempty" doc:"The header User-Agent. Default: that of Riverwatch." example:"Mozilla/5.0"`
	HostOverride  *string            `json:"host_override,omitempty" doc:"Host, with a port or without, to ask for in the header Host and in TLS, while connecting to the one of the url. Default: none." example:"shop.example.com"`
	HTTP2         *bool              `json:"http2,omitempty" doc:"Whether to offer HTTP/2. Default: false." example:"false"`
	IPVersion     *int               `json:"ip_version,omitempty" enum:"4,6" doc:"Which addresses to connect to. Default: whichever connects first." example:"6"`
	TLSSkipVerify *bool              `json:"tls_skip_verify,omitempty" doc:"Whether to take any certificate. Default: false." example:"false"`
	CAPEM         *string            `json:"ca_pem,omitempty" doc:"Certificates of authorities to trust besides those of the system, in PEM, at most 16 KiB. Default: none." example:"-----BEGIN CERTIFICATE-----\n…"`
	ClientCertPEM *string            `json:"client_certificate_pem,omitempty" doc:"Certificate to show to the target, in PEM; with client_key_pem. Default: none." example:"-----BEGIN CERTIFICATE-----\n…"`
	ClientKeyPEM  *string            `json:"client_key_pem,omitempty" doc:"Key of client_certificate_pem, in PEM; never shown. Default: none." example:"-----BEGIN PRIVATE KEY-----\n…"`
}

// ExpectationFields say what is expected of an answer, beyond its status and regexp.
type ExpectationFields struct {
	Regexps         *[]string          `json:"regexps,omitempty" maxItems:"10" doc:"More regexps, which must all match the body. Default: none." example:"[\"Shop\", \"</html>\"]"`
	HeaderRegexps   map[string]*string `json:"header_regexps,omitempty" doc:"What a header of the answer must match, by its name, at most 10. In a change, null removes one, and those that are not named stay. Default: none." example:"{\"Content-Type\": \"^application/json\"}"`
	JSON            *[]jsonExpectation `json:"json,omitempty" maxItems:"20" doc:"What must be true of values of a JSON body. Default: none." example:"[{\"path\": \"$.status\", \"op\": \"equals\", \"value\": \"ok\"}]"`
	MaxTotalMS      *int               `json:"max_total_ms,omitempty" minimum:"1" maximum:"30000" doc:"Milliseconds; a scan that takes longer has failed. At most timeout_ms. Default: none." example:"3000"`
	DegradedAfterMS *int               `json:"degraded_after_ms,omitempty" minimum:"1" maximum:"30000" doc:"Milliseconds; a scan that takes longer is good, but makes the monitor degraded. Default: none." example:"1000"`
	CertificateDays *int               `json:"certificate_days,omitempty" minimum:"0" maximum:"825" doc:"For how many more days the certificate must be valid. Default: 0, that it is valid now." example:"14"`
}

// jsonExpectation is what must be true of one value of a JSON body.
type jsonExpectation struct {
	Path  string `json:"path" doc:"The value: a path to one (RFC 9535), at most 512 bytes." example:"$.checks[0].status"`
	Op    string `json:"op" enum:"exists,equals,not_equals,less,less_or_equal,greater,greater_or_equal" doc:"How to compare it." example:"equals"`
	Value any    `json:"value,omitzero" doc:"What to compare it with: a string, number, boolean or null; a string or number for less and greater; nothing for exists." example:"\"ok\""`
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
	f.RequestFields.apply(&config.Request, &config.Secrets, nulls)
	f.ExpectationFields.apply(&config.Expectations, nulls)
}

func (f RequestFields) apply(request *probe.Request, secrets *probe.Secrets, nulls map[string]bool) {
	request.Headers = merged(request.Headers, f.Headers, nulls["headers"], func(name string) bool { return !probe.SecretHeader(name) })
	secrets.Headers = merged(secrets.Headers, f.Headers, nulls["headers"], probe.SecretHeader)
	set(&request.Body, f.Body, nulls["body"], "")
	set(&request.BasicUsername, f.BasicUsername, nulls["basic_username"], "")
	set(&secrets.BasicPassword, f.BasicPassword, nulls["basic_password"], "")
	set(&secrets.BearerToken, f.BearerToken, nulls["bearer_token"], "")
	set(&request.UserAgent, f.UserAgent, nulls["user_agent"], "")
	set(&request.HostOverride, f.HostOverride, nulls["host_override"], "")
	set(&request.HTTP2, f.HTTP2, nulls["http2"], false)
	set(&request.IPVersion, f.IPVersion, nulls["ip_version"], 0)
	set(&request.TLSSkipVerify, f.TLSSkipVerify, nulls["tls_skip_verify"], false)
	set(&request.CAPEM, f.CAPEM, nulls["ca_pem"], "")
	set(&request.ClientCertPEM, f.ClientCertPEM, nulls["client_certificate_pem"], "")
	set(&secrets.ClientKeyPEM, f.ClientKeyPEM, nulls["client_key_pem"], "")
}

func (f ExpectationFields) apply(expectations *probe.Expectations, nulls map[string]bool) {
	set(&expectations.Regexps, f.Regexps, nulls["regexps"], nil)
	expectations.HeaderRegexps = merged(
		expectations.HeaderRegexps, f.HeaderRegexps, nulls["header_regexps"], func(string) bool { return true })
	if f.JSON != nil || nulls["json"] {
		expectations.JSON = nil
	}
	if f.JSON != nil {
		for _, one := range *f.JSON {
			expectations.JSON = append(expectations.JSON, probe.JSONExpectation(one))
		}
	}
	set(&expectations.MaxTotalMS, f.MaxTotalMS, nulls["max_total_ms"], 0)
	set(&expectations.DegradedAfterMS, f.DegradedAfterMS, nulls["degraded_after_ms"], 0)
	set(&expectations.CertificateDays, f.CertificateDays, nulls["certificate_days"], 0)
}

func set[T any](field, given *T, isNull bool, standard T) {
	switch {
	case given != nil:
		*field = *given
	case isNull:
		*field = standard
	}
}

// merged gives headers after a JSON merge patch, of which it takes those that ours is true of: null removes one, and a
// name in another case is the same name. isNull: the patch is null, and removes all.
func merged(
	headers map[string]string, patch map[string]*string, isNull bool, ours func(name string) bool,
) map[string]string {
	if isNull {
		return nil
	}
	headers = maps.Clone(headers)
	for name := range patch {
		maps.DeleteFunc(headers, func(present, _ string) bool { return strings.EqualFold(present, name) })
	}
	for name, value := range patch {
		if value == nil || !ours(name) {
			continue
		}
		if headers == nil {
			headers = map[string]string{}
		}
		headers[name] = *value
	}
	return headers
}
