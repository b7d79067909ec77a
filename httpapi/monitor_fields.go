package httpapi

import (
	"maps"
	"strings"

	"riverwatch/monitors"
	"riverwatch/probe"
)

// MonitorFields are what a client may say of a monitor and is shown of it: one list for both. What is left out stays, and
// what is null has its default. Exported, or huma would not see them in the structs that embed them.
type MonitorFields struct {
	Key                  Optional[string]   `json:"key,omitzero" minLength:"1" maxLength:"200" doc:"What you know it by, such as its path in your configuration. With a key a monitor is known by that alone, and others may have its method, url and regexp. Default: none." example:"shop/checkout"`
	Name                 Optional[string]   `json:"name,omitzero" minLength:"1" maxLength:"200" doc:"What people call it. Default: host and path of the url, also when that changes." example:"Shop"`
	Description          Optional[string]   `json:"description,omitzero" maxLength:"500" doc:"What people should know of it. Default: none." example:"The checkout of the shop; runbook in the wiki."`
	Method               Optional[string]   `json:"method,omitzero" enum:"GET,HEAD,OPTIONS,POST,PUT,PATCH,DELETE" doc:"The request's method. Default: GET." example:"HEAD"`
	Regexp               Optional[string]   `json:"regexp,omitzero" doc:"What the body must match (RE2 syntax, at most 512 bytes). Of tcp: what is answered; of dns: the records, a line each. Default: none." example:"\"status\":\\s*\"ok\""`
	RegexpInvert         Optional[bool]     `json:"regexp_invert,omitzero" doc:"Whether a match of regexp is bad instead of good. Default: false." example:"true"`
	IntervalSeconds      Optional[int]      `json:"interval_seconds,omitzero" minimum:"10" maximum:"86400" doc:"Seconds from one scan to the next. Default: 60." example:"30"`
	TimeoutMS            Optional[int]      `json:"timeout_ms,omitzero" minimum:"100" maximum:"30000" doc:"Milliseconds that a scan may take in all; less than the interval. Default: 10000, or half the interval where that is less." example:"5000"`
	AcceptedStatuses     Optional[[]string] `json:"accepted_statuses,omitzero" minItems:"1" maxItems:"20" doc:"HTTP statuses that are good, single or as ranges, from 200 to 599. Default: 200-299." example:"[\"200-299\", \"304\"]"`
	MaxRedirects         Optional[int]      `json:"max_redirects,omitzero" minimum:"0" maximum:"10" doc:"How many redirects to follow. 0 judges a redirect itself. A scan makes at most 8 connections, whatever is said here. Default: 10." example:"0"`
	FailureThreshold     Optional[int]      `json:"failure_threshold,omitzero" minimum:"1" maximum:"100" doc:"How many failed scans in a row make it down. Default: 3." example:"2"`
	SuccessThreshold     Optional[int]      `json:"success_threshold,omitzero" minimum:"1" maximum:"100" doc:"How many good scans in a row bring it back up. Default: 2." example:"1"`
	RetryIntervalSeconds Optional[int]      `json:"retry_interval_seconds,omitzero" minimum:"5" maximum:"86400" doc:"Seconds until a second look at a monitor that has begun to fail, or to answer again, where that comes before the next scan. Default: 20." example:"10"`
	Tags                 Optional[[]string] `json:"tags,omitzero" maxItems:"20" uniqueItems:"true" doc:"Words to find it by, each of 1 to 50 characters. Default: none." example:"[\"shop\", \"prod\"]"`
	Enabled              Optional[bool]     `json:"enabled,omitzero" doc:"Whether it is scanned; false pauses it. Default: true." example:"false"`

	RequestFields
	ExpectationFields
}

// RequestFields say how to ask.
type RequestFields struct {
	Headers       Optional[map[string]*string] `json:"headers,omitzero" doc:"Headers of the request, at most 32. In a change, null removes one, and those that are not named stay. The value of one whose name tells of a secret (Authorization, Cookie, X-Api-Key…) is never shown again. Default: none." example:"{\"Accept\": \"application/json\", \"X-Api-Key\": \"s3cret\"}"`
	Body          Optional[string]             `json:"body,omitzero" doc:"Body of a POST, PUT, PATCH or DELETE, at most 48 KiB; of tcp: what is sent first. Default: none." example:"{\"ping\": true}"`
	BasicUsername Optional[string]             `json:"basic_username,omitzero" doc:"User name for basic authentication. Default: none." example:"monitor"`
	UserAgent     Optional[string]             `json:"user_agent,omitzero" doc:"The header User-Agent. Default: that of Riverwatch." example:"Mozilla/5.0"`
	HostOverride  Optional[string]             `json:"host_override,omitzero" doc:"Host, with a port or without, to ask for in the header Host and in TLS, while connecting to the one of the url. Default: none." example:"shop.example.com"`
	HTTP2         Optional[bool]               `json:"http2,omitzero" doc:"Whether to offer HTTP/2. Default: false." example:"true"`
	IPVersion     Optional[int]                `json:"ip_version,omitzero" enum:"4,6" doc:"Which addresses to connect to. Default: whichever connects first." example:"6"`
	TLSSkipVerify Optional[bool]               `json:"tls_skip_verify,omitzero" doc:"Whether to take any certificate. Default: false." example:"true"`
	CAPEM         Optional[string]             `json:"ca_pem,omitzero" doc:"Certificates of authorities to trust besides those of the system, in PEM, at most 16 KiB. Default: none." example:"-----BEGIN CERTIFICATE-----\n…"`
	ClientCertPEM Optional[string]             `json:"client_certificate_pem,omitzero" doc:"Certificate to show to the target, in PEM; with client_key_pem. Default: none." example:"-----BEGIN CERTIFICATE-----\n…"`
}

// ExpectationFields say what is expected of an answer, beyond its status and regexp.
type ExpectationFields struct {
	Regexps         Optional[[]string]           `json:"regexps,omitzero" maxItems:"10" doc:"More regexps, which must all match the body. Default: none." example:"[\"Shop\", \"</html>\"]"`
	HeaderRegexps   Optional[map[string]*string] `json:"header_regexps,omitzero" doc:"What a header of the answer must match, by its name, at most 10. In a change, null removes one, and those that are not named stay. Default: none." example:"{\"Content-Type\": \"^application/json\"}"`
	JSON            Optional[[]jsonExpectation]  `json:"json,omitzero" maxItems:"20" doc:"What must be true of values of a JSON body. Default: none." example:"[{\"path\": \"$.status\", \"op\": \"equals\", \"value\": \"ok\"}]"`
	MaxTotalMS      Optional[int]                `json:"max_total_ms,omitzero" minimum:"1" maximum:"30000" doc:"Milliseconds; a scan that takes longer has failed. At most timeout_ms. Default: none." example:"3000"`
	DegradedAfterMS Optional[int]                `json:"degraded_after_ms,omitzero" minimum:"1" maximum:"30000" doc:"Milliseconds; a scan that takes longer is good, but makes the monitor degraded. Default: none." example:"1000"`
	CertificateDays Optional[int]                `json:"certificate_days,omitzero" minimum:"0" maximum:"825" doc:"For how many more days the certificate must be valid. Default: 0, that it is valid now." example:"14"`
}

// jsonExpectation is what must be true of one value of a JSON body.
type jsonExpectation struct {
	Path  string `json:"path" doc:"The value: a path to one (RFC 9535), at most 512 bytes." example:"$.checks[0].status"`
	Op    string `json:"op" enum:"exists,equals,not_equals,less,less_or_equal,greater,greater_or_equal" doc:"How to compare it." example:"equals"`
	Value any    `json:"value,omitzero" doc:"What to compare it with: a string, number, boolean or null; a string or number for less and greater; nothing for exists." example:"\"ok\""`
}

// SecretFields are what a client may say and is never shown.
type SecretFields struct {
	BasicPassword Optional[string] `json:"basic_password,omitzero" doc:"Password for basic authentication; never shown. Default: none." example:"s3cret"`
	BearerToken   Optional[string] `json:"bearer_token,omitzero" doc:"Token for the header Authorization: Bearer; never shown. Default: none." example:"s3cret"`
	ClientKeyPEM  Optional[string] `json:"client_key_pem,omitzero" doc:"Key of client_certificate_pem, in PEM; never shown. Default: none." example:"-----BEGIN PRIVATE KEY-----\n…"`
}

// pair ties a field to what it is of a monitor, in both directions.
type pair struct {
	take func() // the monitor gets what was given
	show func() // the field shows what the monitor has
}

// pairs is the one list of what each field is of a monitor.
func (f *MonitorFields) pairs(m *monitors.Monitor) []pair {
	standard, all := monitors.New(), func(string) bool { return true }
	plainHeader := func(name string) bool { return !probe.SecretHeader(name) }
	return []pair{
		pointer(&f.Key, &m.Key),
		value(&f.Name, &m.Name, ""),
		orNull(&f.Description, &m.Description),
		value(&f.Method, &m.Method, standard.Method),
		pointer(&f.Regexp, &m.Regexp),
		value(&f.RegexpInvert, &m.RegexpInvert, false),
		value(&f.IntervalSeconds, &m.IntervalSeconds, standard.IntervalSeconds),
		value(&f.TimeoutMS, &m.TimeoutMS, 0),
		list(&f.AcceptedStatuses, &m.AcceptedStatuses, standard.AcceptedStatuses),
		value(&f.MaxRedirects, &m.MaxRedirects, standard.MaxRedirects),
		value(&f.FailureThreshold, &m.FailureThreshold, standard.FailureThreshold),
		value(&f.SuccessThreshold, &m.SuccessThreshold, standard.SuccessThreshold),
		value(&f.RetryIntervalSeconds, &m.RetryIntervalSeconds, standard.RetryIntervalSeconds),
		list(&f.Tags, &m.Tags, standard.Tags),
		{
			take: func() {
				if f.Enabled.said() {
					m.Enable(f.Enabled.Null || f.Enabled.Value)
				}
			},
			show: func() { f.Enabled.show(m.PausedAt == nil) },
		},

		{
			take: func() {
				m.Request.Headers = merged(m.Request.Headers, f.Headers, plainHeader)
				m.Secrets.Headers = merged(m.Secrets.Headers, f.Headers, probe.SecretHeader)
			},
			show: func() { f.Headers.show(nullable(m.Request.Headers)) },
		},
		orNull(&f.Body, &m.Request.Body),
		orNull(&f.BasicUsername, &m.Request.BasicUsername),
		orNull(&f.UserAgent, &m.Request.UserAgent),
		orNull(&f.HostOverride, &m.Request.HostOverride),
		value(&f.HTTP2, &m.Request.HTTP2, false),
		orNull(&f.IPVersion, &m.Request.IPVersion),
		value(&f.TLSSkipVerify, &m.Request.TLSSkipVerify, false),
		orNull(&f.CAPEM, &m.Request.CAPEM),
		orNull(&f.ClientCertPEM, &m.Request.ClientCertPEM),

		list(&f.Regexps, &m.Expectations.Regexps, nil),
		{
			take: func() { m.Expectations.HeaderRegexps = merged(m.Expectations.HeaderRegexps, f.HeaderRegexps, all) },
			show: func() { f.HeaderRegexps.show(nullable(m.Expectations.HeaderRegexps)) },
		},
		{
			take: func() {
				if f.JSON.said() {
					m.Expectations.JSON = nil
				}
				for _, one := range f.JSON.Value {
					m.Expectations.JSON = append(m.Expectations.JSON, probe.JSONExpectation(one))
				}
			},
			show: func() {
				shown := make([]jsonExpectation, len(m.Expectations.JSON))
				for i, one := range m.Expectations.JSON {
					shown[i] = jsonExpectation(one)
				}
				f.JSON.show(shown)
			},
		},
		orNull(&f.MaxTotalMS, &m.Expectations.MaxTotalMS),
		orNull(&f.DegradedAfterMS, &m.Expectations.DegradedAfterMS),
		value(&f.CertificateDays, &m.Expectations.CertificateDays, 0),
	}
}

// pairs is as that of MonitorFields; they are only taken.
func (f *SecretFields) pairs(m *monitors.Monitor) []pair {
	return []pair{
		value(&f.BasicPassword, &m.Secrets.BasicPassword, ""),
		value(&f.BearerToken, &m.Secrets.BearerToken, ""),
		value(&f.ClientKeyPEM, &m.Secrets.ClientKeyPEM, ""),
	}
}

// value is a field that always has a value: null gives it the standard one.
func value[T any](field *Optional[T], of *T, standard T) pair {
	return pair{
		take: func() {
			switch {
			case field.Given:
				*of = field.Value
			case field.Null:
				*of = standard
			}
		},
		show: func() { field.show(*of) },
	}
}

// orNull is a field whose zero value is shown as null.
func orNull[T comparable](field *Optional[T], of *T) pair {
	var zero T
	return pair{
		take: value(field, of, zero).take,
		show: func() { *field = Optional[T]{Given: *of != zero, Null: *of == zero, Value: *of} },
	}
}

// pointer is a field whose value may be nil, which is null.
func pointer[T any](field *Optional[T], of **T) pair {
	return pair{
		take: func() {
			switch {
			case field.Given:
				*of = &field.Value
			case field.Null:
				*of = nil
			}
		},
		show: func() {
			if *field = (Optional[T]{Null: true}); *of != nil {
				field.show(**of)
			}
		},
	}
}

// list is a field that is shown as an array, also if it is empty.
func list[T any](field *Optional[[]T], of *[]T, standard []T) pair {
	return pair{take: value(field, of, standard).take, show: func() { field.show(append([]T{}, *of...)) }}
}

// merged gives headers after a JSON merge patch, of which it takes those that ours is true of: null removes one, and a
// name in another case is the same name. A patch that is null removes all.
func merged(
	headers map[string]string, patch Optional[map[string]*string], ours func(name string) bool,
) map[string]string {
	if patch.Null {
		return nil
	}
	headers = maps.Clone(headers)
	for name := range patch.Value {
		maps.DeleteFunc(headers, func(present, _ string) bool { return strings.EqualFold(present, name) })
	}
	for name, value := range patch.Value {
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

// nullable gives a map as it is shown: an object, also if it is empty.
func nullable(values map[string]string) map[string]*string {
	shown := make(map[string]*string, len(values))
	for name, value := range values {
		shown[name] = &value
	}
	return shown
}
