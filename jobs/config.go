package jobs

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"riverwatch/db"
	"riverwatch/probe"
)

// MonitorConfig is what a client sets of a monitor. Its values are checked already: the URL is in normal form.
type MonitorConfig struct {
	Name                 string
	Method               string
	URL                  string
	Regexp               *string
	RegexpInvert         bool
	IntervalSeconds      int
	TimeoutMS            int
	AcceptedStatuses     []string
	MaxRedirects         int
	FailureThreshold     int
	SuccessThreshold     int
	RetryIntervalSeconds int
	Tags                 []string
	Enabled              bool
	Request              probe.Request
	Secrets              probe.Secrets
	Expectations         probe.Expectations
}

// DefaultConfig is what a monitor has of which nothing is said. WithDefaults completes it once URL and interval are
// set.
func DefaultConfig() MonitorConfig {
	return MonitorConfig{
		Method: http.MethodGet, IntervalSeconds: 60, AcceptedStatuses: []string{"200-299"}, MaxRedirects: 10,
		FailureThreshold: 3, SuccessThreshold: 2, RetryIntervalSeconds: 20, Tags: []string{}, Enabled: true,
	}
}

// WithDefaults sets what follows from other values, where nothing is said of it: the name is the URL's host and path,
// and the timeout 10 s, or half the interval where that is less.
func (c MonitorConfig) WithDefaults() MonitorConfig {
	if c.TimeoutMS == 0 {
		c.TimeoutMS = min(10_000, c.IntervalSeconds*1000/2)
	}
	if c.Name == "" {
		c.Name = hostAndPath(c.URL)
	}
	return c
}

func hostAndPath(normalURL string) string {
	parsed, err := url.Parse(normalURL)
	if err != nil {
		return normalURL
	}
	name := []rune(parsed.Host + strings.TrimSuffix(parsed.EscapedPath(), "/"))
	return string(name[:min(len(name), 200)])
}

// ConfigOf gives the configuration of a monitor as it stands.
func ConfigOf(monitor db.Monitor, secrets probe.Secrets) MonitorConfig {
	config := MonitorConfig{
		Name: monitor.Name, Method: monitor.Method, URL: monitor.URL, Regexp: monitor.Regexp,
		RegexpInvert: monitor.RegexpInvert, IntervalSeconds: monitor.IntervalSeconds, TimeoutMS: monitor.TimeoutMS,
		AcceptedStatuses: monitor.AcceptedStatuses, MaxRedirects: monitor.MaxRedirects,
		FailureThreshold: monitor.FailureThreshold, SuccessThreshold: monitor.SuccessThreshold,
		RetryIntervalSeconds: monitor.RetryIntervalSeconds, Tags: monitor.Tags, Enabled: monitor.PausedAt == nil,
		Secrets: secrets,
	}
	// They hold what jsonOf wrote.
	fromJSON(monitor.Request, &config.Request)
	fromJSON(monitor.Expectations, &config.Expectations)
	return config
}

// Target gives what a probe of the monitor looks at.
func (c MonitorConfig) Target() probe.Target {
	return probe.Target{
		URL: c.URL, Method: c.Method, Timeout: time.Duration(c.TimeoutMS) * time.Millisecond,
		AcceptedStatuses: c.AcceptedStatuses, Regexp: deref(c.Regexp), RegexpInvert: c.RegexpInvert,
		MaxRedirects: c.MaxRedirects, Request: c.Request, Secrets: c.Secrets, Expectations: c.Expectations,
	}
}

// jsonOf gives a value as the database keeps it: equal values give equal bytes.
func jsonOf(value any) []byte {
	text, err := json.Marshal(value, json.Deterministic(true))
	if err != nil {
		panic(err) // of structs of strings, numbers and what was decoded from JSON
	}
	return text
}

// fromJSON reads what jsonOf wrote. Most monitors have nothing in it.
func fromJSON(text []byte, value any) {
	if len(text) <= len("{}") {
		return
	}
	if err := json.Unmarshal(text, value); err != nil {
		panic(fmt.Sprintf("read %T: %v", value, err)) // somebody else wrote it; the scan becomes a gap
	}
}
