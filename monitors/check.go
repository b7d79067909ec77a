package monitors

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"riverwatch/egress"
	"riverwatch/probe"
)

// Check checks all that people set of a monitor, beyond what a schema can say of it, and gives it complete and with its URL
// in normal form. What is wrong is named by the field as the API calls it.
func (m Monitor) Check(policy egress.Policy) (checked Monitor, wrong []probe.FieldError) {
	refuse := func(field, code, format string, args ...any) {
		wrong = append(wrong, probe.FieldError{
			Field: field, InputError: &probe.InputError{Code: code, Message: fmt.Sprintf(format, args...)},
		})
	}
	normal, err := probe.NormalizeURL(m.URL, policy)
	m.URL = normal
	m = m.Complete()
	if inputErr, ok := errors.AsType[*probe.InputError](err); ok {
		refuse("url", inputErr.Code, "%s", inputErr.Message)
	}
	wrong = append(wrong, m.Target().Check()...)
	if m.Regexp != nil && *m.Regexp == "" {
		refuse("regexp", "regexp_empty", "must not be empty: null is none")
	}
	if m.TimeoutMS >= m.IntervalSeconds*1000 {
		refuse("timeout_ms", "timeout_range", "is %d ms, and must be less than the interval of %d s", m.TimeoutMS, m.IntervalSeconds)
	}
	texts := [][2]string{{"key", deref(m.Key)}, {"name", m.Name}, {"description", m.Description}}
	for _, text := range texts {
		if !clean(text[1]) {
			refuse(text[0], "string_invalid", notClean)
		}
	}
	for i, tag := range m.Tags {
		if !clean(tag) || tag == "" || len([]rune(tag)) > 50 {
			refuse(fmt.Sprintf("tags[%d]", i), "string_invalid", "must be 1 to 50 characters, and "+notClean)
		}
	}
	return m, wrong
}

// clean reports whether people can read a text as it stands: it holds no control character, which Postgres may refuse, no
// line break, and nothing that turns the direction of what stands around it.
func clean(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool {
		return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
	})
}

const notClean = "must hold no control characters, no line breaks, and none that turn the direction of text"
