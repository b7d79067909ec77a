package hostile

import (
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Rows reads one of the lists of hostile inputs: a map for each row, by the names of the columns.
func Rows(tb testing.TB, path string) []map[string]string {
	tb.Helper()
	file, err := os.Open(path)
	require.NoError(tb, err)
	defer func() { _ = file.Close() }()
	records, err := csv.NewReader(file).ReadAll()
	require.NoError(tb, err)

	var rows []map[string]string
	for _, record := range records[1:] {
		row := make(map[string]string)
		for i, column := range records[0] {
			row[column] = record[i]
		}
		rows = append(rows, row)
	}
	require.NotEmpty(tb, rows)
	return rows
}

var repeated = regexp.MustCompile(`\{\{(.*?)\*(\d+)\}\}`)

// Text reads a field that is the inside of a JSON string, where {{x*n}} is x n times; or base64, if it is not UTF-8.
func Text(tb testing.TB, field string) string {
	tb.Helper()
	if encoded, ok := strings.CutPrefix(field, "b64:"); ok {
		text, err := base64.StdEncoding.DecodeString(encoded)
		require.NoError(tb, err)
		return string(text)
	}
	var text string
	require.NoError(tb, json.Unmarshal([]byte(`"`+field+`"`), &text))
	return repeated.ReplaceAllStringFunc(text, func(match string) string {
		parts := repeated.FindStringSubmatch(match)
		count, err := strconv.Atoi(parts[2])
		require.NoError(tb, err)
		return strings.Repeat(parts[1], count)
	})
}
