package sheet_test

import (
	"encoding/csv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"riverwatch/sheet"
)

func TestAppendRow(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 11, 0, 0, 250_000_000, time.FixedZone("", 3600))
	for want, cells := range map[string][]any{
		"":                            {nil},
		",":                           {"", (*string)(nil)},
		"plain text,a'b":              {"plain text", new("a'b")},
		`"a,b","a""b","a;b"`:          {"a,b", `a"b`, "a;b"},
		"\"a\r\nb\"":                  {"a\r\nb"},
		`"'=HYPERLINK(""http://e"")"`: {`=HYPERLINK("http://e")`},
		"'+1,'-1,'@SUM(A1)":           {"+1", "-1", "@SUM(A1)"},
		"\"'\tx\",\"'\rx\"":           {"\tx", "\rx"},
		"a=b,'=":                      {"a=b", "="},
		"-5,-7,0.25,-0.5,1000000000":  {-5, int64(-7), 0.25, new(-0.5), 1e9},
		"true,false,3":                {true, new(false), new(3)},
		"2026-11-24T10:00:00.25Z":     {at},
	} {
		require.Equal(t, want+"\r\n", string(sheet.AppendRow(nil, cells...)))
	}
	require.Panics(t, func() { sheet.AppendRow(nil, struct{}{}) })
}

// Whatever a text holds, readers get it back as one cell, and no spreadsheet takes it for a formula.
func FuzzAppendRow(f *testing.F) {
	f.Add("=1+1", "a\r\nb")
	f.Add("\"", "\t,\r")
	f.Fuzz(func(t *testing.T, first, second string) {
		row := string(sheet.AppendRow(nil, first, second, "end"))
		cells, err := csv.NewReader(strings.NewReader(row)).Read()
		require.NoError(t, err)
		require.Len(t, cells, 3)
		for i, text := range []string{first, second} {
			if strings.HasPrefix(cells[i], "'") && !strings.HasPrefix(text, "'") {
				text = "'" + text
			}
			require.Equal(t, strings.ReplaceAll(text, "\r\n", "\n"), cells[i], "this reader gives a line's end as LF")
			require.NotEqual(t, 0, strings.IndexAny(cells[i], "=+-@\t\r"), "a formula: %q", cells[i])
		}
	})
}
