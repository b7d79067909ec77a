package probe

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/theory/jsonpath"

	"riverwatch/uptime"
)

// expect notes an expectation and what was found. The first that is not met gives the verdict.
func (a *attempt) expect(broken uptime.Outcome, e Expected) {
	e.Name, e.Want, e.Found = a.clean(e.Name), a.clean(e.Want), a.clean(e.Found)
	a.result.Expectations = append(a.result.Expectations, e)
	if !e.Met {
		a.miss(verdict{broken, e.Name + ": wanted " + e.Want + ", found " + e.Found})
	}
}

// miss notes why the answer is not as expected, if it is the first reason.
func (a *attempt) miss(v verdict) {
	if a.unmet.outcome == "" {
		a.unmet = v
	}
}

func (a *attempt) expectHeaders(ctx context.Context, header http.Header) {
	for _, name := range slices.Sorted(maps.Keys(a.target.Expectations.HeaderRegexps)) {
		pattern := a.target.Expectations.HeaderRegexps[name]
		e := Expected{Name: "header " + name, Want: "a match of " + pattern, Found: "no such header"}
		for _, value := range header.Values(name) {
			matched, err := a.matcher.match(ctx, pattern, []byte(value))
			if err != nil {
				a.miss(matchVerdict(ctx, err))
				return
			}
			e.Found, e.Met = cmp.Or(value, "an empty header"), matched
			if matched {
				break
			}
		}
		a.expect(uptime.HeaderMismatch, e)
	}
}

// expectText matches a body, or what else is text of an answer, against the regexps. It may be in pieces.
func (a *attempt) expectText(ctx context.Context, text ...[]byte) {
	if a.target.Regexp != "" {
		matched, decided := a.expectMatch(ctx, a.target.Regexp, a.target.RegexpInvert, text...)
		if !decided {
			return
		}
		a.result.RegexpMatched = &matched
	}
	for _, pattern := range a.target.Expectations.Regexps {
		if _, decided := a.expectMatch(ctx, pattern, false, text...); !decided {
			return
		}
	}
}

func (a *attempt) expectMatch(
	ctx context.Context, pattern string, invert bool, text ...[]byte,
) (matched, decided bool) {
	matched, err := a.matcher.match(ctx, pattern, text...)
	if err != nil {
		a.miss(matchVerdict(ctx, err))
		return false, false
	}
	a.expect(uptime.RegexpMismatch, expectedMatch(pattern, invert, matched))
	return matched, true
}

func expectedMatch(pattern string, invert, matched bool) Expected {
	e := Expected{Name: "regexp", Want: "a match of " + pattern, Found: "none", Met: matched != invert}
	if invert {
		e.Want = "no match of " + pattern
	}
	if matched {
		e.Found = "one"
	}
	return e
}

// expectJSON compares values of a JSON body. Paths are singular queries of RFC 9535, which Target.Check sees to: each
// names one value at most, and costs no more than its length.
func (a *attempt) expectJSON(ctx context.Context, truncated bool, body ...[]byte) {
	expectations := a.target.Expectations.JSON
	if len(expectations) == 0 {
		return
	}
	document, why, err := a.matcher.decode(ctx, truncated, body...)
	if err != nil {
		a.miss(matchVerdict(ctx, err))
		return
	}
	for _, expectation := range expectations {
		e := Expected{Name: "json " + expectation.Path, Want: "a value", Found: why}
		if expectation.Op != OpExists {
			e.Want = strings.ReplaceAll(expectation.Op, "_", " ") + " " + jsonText(expectation.Value)
		}
		if why == "" {
			e.Found, e.Met = expectation.look(document)
		}
		a.expect(uptime.JSONMismatch, e)
	}
}

// decode decodes a body, or says why it cannot. It takes a matcher's place, because it takes as long.
func (m *matcher) decode(
	ctx context.Context, truncated bool, body ...[]byte,
) (document any, why string, err error) {
	if err := m.free.Acquire(ctx, 1); err != nil {
		return nil, "", errNoMatcher
	}
	defer m.free.Release(1)
	readers := make([]io.Reader, len(body))
	for i, piece := range body {
		readers[i] = bytes.NewReader(piece)
	}
	switch {
	case truncated:
		return nil, "a body that is too large to be read whole", nil
	case json.UnmarshalRead(io.MultiReader(readers...), &document) != nil:
		return nil, "a body that is not JSON", nil
	}
	return document, "", nil
}

// look finds the value in a document, and reports whether it is as expected.
func (e JSONExpectation) look(document any) (found string, met bool) {
	path, err := jsonpath.Parse(e.Path)
	if err != nil {
		return "a path that is not valid", false
	}
	nodes := path.Select(document)
	if len(nodes) == 0 {
		return "no value", false
	}
	value := nodes[0]
	order, comparable := compareScalars(value, e.Value)
	switch e.Op {
	case OpExists:
		met = true
	case OpEquals:
		met = equalScalars(value, e.Value)
	case OpNotEquals:
		met = !equalScalars(value, e.Value)
	case OpLess:
		met = comparable && order < 0
	case OpLessOrEqual:
		met = comparable && order <= 0
	case OpGreater:
		met = comparable && order > 0
	case OpGreaterOrEqual:
		met = comparable && order >= 0
	}
	return jsonText(value), met
}

// The comparisons of a JSONExpectation.
const (
	OpExists         = "exists"
	OpEquals         = "equals"
	OpNotEquals      = "not_equals"
	OpLess           = "less"
	OpLessOrEqual    = "less_or_equal"
	OpGreater        = "greater"
	OpGreaterOrEqual = "greater_or_equal"
)

// equalScalars reports whether two JSON values are equal. Objects and arrays equal nothing.
func equalScalars(a, b any) bool {
	switch a.(type) {
	case map[string]any, []any:
		return false
	}
	return a == number(b)
}

// compareScalars orders two numbers, or two strings by their bytes; nothing else has an order.
func compareScalars(a, b any) (order int, comparable bool) {
	switch b := number(b).(type) {
	case float64:
		if a, ok := a.(float64); ok {
			return cmp.Compare(a, b), true
		}
	case string:
		if a, ok := a.(string); ok {
			return cmp.Compare(a, b), true
		}
	}
	return 0, false
}

// number gives whole numbers the type that JSON is decoded to.
func number(value any) any {
	switch n := value.(type) {
	case int:
		return float64(n)
	case int64:
		return float64(n)
	}
	return value
}

func jsonText(value any) string {
	text, err := json.Marshal(value, json.Deterministic(true))
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}

// expectCertificate looks at how long the target's certificate is still valid.
func (a *attempt) expectCertificate() {
	days := a.target.Expectations.CertificateDays
	certificate := a.result.Certificate
	if days == 0 || certificate == nil {
		return
	}
	left := certificate.NotAfter.Sub(a.start)
	a.expect(uptime.TLSExpiresSoon, Expected{
		Name:  "certificate",
		Want:  fmt.Sprintf("at least %d days until it expires", days),
		Found: fmt.Sprintf("%d days, until %s", int(left.Hours()/24), certificate.NotAfter.UTC().Format(time.DateTime)),
		Met:   left >= time.Duration(days)*24*time.Hour,
	})
}

// expectInTime compares how long the probe took with what its owner finds too long, and then, if all expectations are met,
// with what he finds slow. It gives the verdict of a probe whose answer is good.
func (a *attempt) expectInTime(good verdict) verdict {
	took := time.Since(a.start) - a.waited
	if most := a.target.Expectations.MaxTotalMS; most > 0 {
		a.expect(uptime.TooSlow, expectedTime("max_total_ms", most, took))
	}
	v := a.met(good)
	soft := a.target.Expectations.DegradedAfterMS
	if soft == 0 || !v.outcome.Good() {
		return v
	}
	e := expectedTime("degraded_after_ms", soft, took)
	a.result.Expectations = append(a.result.Expectations, e)
	if !e.Met {
		return verdict{uptime.OKSlow, ""}
	}
	return v
}

func expectedTime(name string, mostMS int, took time.Duration) Expected {
	return Expected{
		Name: name, Want: fmt.Sprintf("at most %d ms", mostMS), Found: fmt.Sprintf("%d ms", took.Milliseconds()),
		Met: took <= time.Duration(mostMS)*time.Millisecond,
	}
}
