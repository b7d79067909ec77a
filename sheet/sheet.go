// Package sheet writes CSV (RFC 4180) that spreadsheets can open without running what strangers wrote in it.
package sheet

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// AppendRow appends a row of cells: strings, numbers, yes or no, times, and pointers to these. Nil gives an empty cell.
//
// A spreadsheet runs a text that begins as a formula does, in quotes or not. So one that begins with = + - @ tab or CR begins with
// an apostrophe instead, which spreadsheets do not show. Numbers are ours, and stay what they are.
func AppendRow(b []byte, cells ...any) []byte {
	for i, cell := range cells {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendCell(b, cell)
	}
	return append(b, '\r', '\n')
}

func appendCell(b []byte, cell any) []byte {
	switch value := cell.(type) {
	case nil:
		return b
	case string:
		return appendText(b, value)
	case int:
		return strconv.AppendInt(b, int64(value), 10)
	case int64:
		return strconv.AppendInt(b, value, 10)
	case float64:
		return strconv.AppendFloat(b, value, 'f', -1, 64)
	case bool:
		return strconv.AppendBool(b, value)
	case time.Time:
		return value.UTC().AppendFormat(b, time.RFC3339Nano)
	case *string:
		return appendPointer(b, value)
	case *int:
		return appendPointer(b, value)
	case *float64:
		return appendPointer(b, value)
	case *bool:
		return appendPointer(b, value)
	default:
		panic(fmt.Sprintf("a cell of type %T", cell)) // no table of ours has one
	}
}

func appendPointer[T any](b []byte, value *T) []byte {
	if value == nil {
		return b
	}
	return appendCell(b, *value)
}

func appendText(b []byte, text string) []byte {
	if text != "" && strings.IndexByte("=+-@\t\r", text[0]) >= 0 {
		text = "'" + text
	}
	if !strings.ContainsAny(text, "\",;\t\r\n") { // where a comma is in numbers, cells end with a semicolon
		return append(b, text...)
	}
	b = append(b, '"')
	b = append(b, strings.ReplaceAll(text, `"`, `""`)...)
	return append(b, '"')
}
