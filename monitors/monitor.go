package monitors

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"riverwatch/db"
	"riverwatch/probe"
)

// Monitor is a monitor whole: its row, with what is JSON there decoded, and its secrets. Values that people set are
// checked already: the URL is in normal form.
type Monitor struct {
	db.Monitor // but for its Host, Request, Expectations and SecretNames, which follow from the other fields

	Request      probe.Request
	Expectations probe.Expectations
	Secrets      probe.Secrets
}

// New gives a monitor of which nothing is said. Complete completes it once URL and interval are set.
func New() Monitor {
	return Monitor{Monitor: db.Monitor{
		Method: http.MethodGet, IntervalSeconds: 60, AcceptedStatuses: []string{"200-299"}, MaxRedirects: 10,
		FailureThreshold: 3, SuccessThreshold: 2, RetryIntervalSeconds: 20, Tags: []string{},
	}}
}

// Complete sets what follows from other values, where nothing is said of it: the name is the URL's host and path, and the
// timeout 10 s, or half the interval where that is less.
func (m Monitor) Complete() Monitor {
	if m.TimeoutMS == 0 {
		m.TimeoutMS = min(10_000, m.IntervalSeconds*1000/2)
	}
	if m.Name == "" {
		m.Name = hostAndPath(m.URL)
	}
	return m
}

// NamedByURL reports whether the monitor has the name that it has where nothing is said of one.
func (m Monitor) NamedByURL() bool { return m.Name == hostAndPath(m.URL) }

func hostAndPath(normalURL string) string {
	parsed, err := url.Parse(normalURL)
	if err != nil {
		return normalURL
	}
	name := []rune(parsed.Host + strings.TrimSuffix(parsed.EscapedPath(), "/"))
	return string(name[:min(len(name), 200)])
}

// Enable pauses the monitor, or resumes it. One that is paused stays so since when it was; another one is from the instant on
// at which the Store changes it.
func (m *Monitor) Enable(enabled bool) {
	switch {
	case enabled:
		m.PausedAt = nil
	case m.PausedAt == nil:
		m.PausedAt = &time.Time{}
	}
}

// Of gives the monitor of a row, with its secrets. It fails if the row was written by something else than this package.
func Of(row db.Monitor, secrets probe.Secrets) (Monitor, error) {
	m := Monitor{Monitor: row, Secrets: secrets}
	if err := decode(row.Request, &m.Request); err != nil {
		return Monitor{}, fmt.Errorf("read the request of monitor %d: %w", row.ID, err)
	}
	if err := decode(row.Expectations, &m.Expectations); err != nil {
		return Monitor{}, fmt.Errorf("read the expectations of monitor %d: %w", row.ID, err)
	}
	return m, nil
}

// row gives the monitor as the database keeps it, without its secrets.
func (m Monitor) row() db.Monitor {
	row := m.Monitor
	row.Request, row.Expectations, row.SecretNames = encode(m.Request), encode(m.Expectations), secretNames(m.Secrets)
	if parsed, err := url.Parse(m.URL); err == nil {
		row.Host = parsed.Hostname()
	}
	return row
}

// encode gives a value as the database keeps it: equal values give equal bytes.
func encode(value any) []byte {
	text, err := json.Marshal(value, json.Deterministic(true))
	if err != nil {
		panic(err) // of structs of strings, numbers and what was decoded from JSON
	}
	return text
}

// decode reads what encode wrote. Most monitors have nothing in it.
func decode(text []byte, value any) error {
	if len(text) <= len("{}") {
		return nil
	}
	return json.Unmarshal(text, value) //nolint:wrapcheck // the caller says what it is of
}

// Target gives what a probe of the monitor looks at.
func (m Monitor) Target() probe.Target {
	return probe.Target{
		URL: m.URL, Method: m.Method, Timeout: time.Duration(m.TimeoutMS) * time.Millisecond,
		AcceptedStatuses: m.AcceptedStatuses, Regexp: deref(m.Regexp), RegexpInvert: m.RegexpInvert,
		MaxRedirects: m.MaxRedirects, Request: m.Request, Secrets: m.Secrets, Expectations: m.Expectations,
	}
}

// copy gives a monitor that shares nothing with m, so that it may be changed.
func (m Monitor) copy() (c Monitor) {
	if err := decode(encode(m), &c); err != nil {
		panic(err) // it was just encoded
	}
	return c
}

// Origin is where the monitor's secrets go: scheme, host and port, and the host that is asked for there. A secret that was
// given for one origin is not to leave to another.
func (m Monitor) Origin() string {
	parsed, err := url.Parse(m.URL)
	if err != nil {
		return m.URL
	}
	return parsed.Scheme + "://" + parsed.Host + " " + m.Request.HostOverride
}

// same reports whether two states of a monitor are one, as far as they are stored.
func same(a, b Monitor) bool {
	return bytes.Equal(encode(a.row()), encode(b.row())) && bytes.Equal(encode(a.Secrets), encode(b.Secrets))
}

// scansTellOf reports whether a scan of the one monitor tells how the other stands. All matters, but for what is made equal
// here: a new field matters until it is named.
func scansTellOf(a, b Monitor) bool {
	b.Version, b.CreatedAt, b.UpdatedAt, b.PausedAt, b.DeletedAt = a.Version, a.CreatedAt, a.UpdatedAt, a.PausedAt, a.DeletedAt
	b.Key, b.Name, b.Description, b.Tags = a.Key, a.Name, a.Description, a.Tags
	b.IntervalSeconds, b.PhaseMS, b.TimeoutMS = a.IntervalSeconds, a.PhaseMS, a.TimeoutMS
	b.FailureThreshold, b.SuccessThreshold = a.FailureThreshold, a.SuccessThreshold
	b.RetryIntervalSeconds = a.RetryIntervalSeconds
	return same(a, b)
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
