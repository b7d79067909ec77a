package main

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"

	"riverwatch/probe"
)

// jsonOps are the comparisons of --json-path; the longer ones come first.
var jsonOps = []struct{ sign, op string }{
	{"==", probe.OpEquals},
	{"!=", probe.OpNotEquals},
	{"<=", probe.OpLessOrEqual},
	{">=", probe.OpGreaterOrEqual},
	{"<", probe.OpLess},
	{">", probe.OpGreater},
}

// parseJSONPath reads a path that must exist, or a path, a comparison and a JSON value.
func parseJSONPath(text string) (probe.JSONExpectation, error) {
	path, sign, value := cutComparison(text)
	e := probe.JSONExpectation{Path: strings.TrimSpace(path), Op: probe.OpExists}
	for _, one := range jsonOps {
		if one.sign == sign {
			e.Op = one.op
		}
	}
	if sign == "" {
		return e, nil
	}
	if err := json.Unmarshal([]byte(value), &e.Value); err != nil {
		return e, fmt.Errorf("%q is no value in JSON: a text is in double quotes", strings.TrimSpace(value))
	}
	return e, nil
}

// cutComparison cuts around the first comparison that is not within a quoted name of the path.
func cutComparison(text string) (before, sign, after string) {
	var quote byte
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
		case c == '"' || c == '\'':
			quote = c
		default:
			for _, one := range jsonOps {
				if strings.HasPrefix(text[i:], one.sign) {
					return text[:i], one.sign, text[i+len(one.sign):]
				}
			}
		}
	}
	return text, "", ""
}
