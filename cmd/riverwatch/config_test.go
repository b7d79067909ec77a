package main

import (
	"os"
	"reflect"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// documented gives what a file says of settings: their names, and what stands for their defaults.
func documented(t *testing.T, file, pattern string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	found := map[string]string{}
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
		require.NotContains(t, found, match[1], "it stands there twice")
		found[match[1]] = match[2]
	}
	return found
}

// Every setting stands in README.md and in example.env with its default, and nothing else does.
func TestEverySettingIsDocumented(t *testing.T) {
	t.Parallel()
	table := documented(t, "../../README.md", "(?m)^\\| `([A-Z][A-Z0-9_]+)` \\| (.+?) \\| .+ \\|$")
	example := documented(t, "../../example.env", `(?m)^# ([A-Z][A-Z0-9_]+)=(.*)$`)
	for field := range reflect.TypeFor[config]().Fields() {
		name := field.Tag.Get("env")
		if name == "KUBERNETES_SERVICE_HOST" {
			continue // Kubernetes sets it, and nobody else
		}
		require.Contains(t, table, name)
		require.Contains(t, example, name)
		switch standard, ok := field.Tag.Lookup("envDefault"); {
		case ok:
			require.Equal(t, "`"+standard+"`", table[name], name)
			require.Equal(t, standard, example[name], name)
		case name == "DATABASE_URL":
			require.Equal(t, "(required)", table[name])
			require.NotEmpty(t, example[name], "an example")
		default:
			require.Regexp(t, `^\(.+\)$`, table[name], name)
			require.Empty(t, example[name], name)
		}
		delete(table, name)
		delete(example, name)
	}
	require.Empty(t, table, "these are no settings")
	require.Empty(t, example, "these are no settings")
}
