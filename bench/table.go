package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// A table has a column of names and others of values.
type table struct {
	title  string
	header []string // of the columns of values
	rows   [][]string
}

// add adds a row. A row without any value is left out: not every run measures everything.
func (t *table) add(name string, values ...string) {
	if strings.Join(values, "") != "" {
		t.rows = append(t.rows, append([]string{name}, values...))
	}
}

// write writes the table as Markdown has it, aligned for who reads it on a terminal.
func (t *table) write(w io.Writer) error {
	rows := append([][]string{append([]string{t.title}, t.header...)}, t.rows...)
	widths := slices.Repeat([]int{minWidth}, len(t.header)+1)
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	rule := make([]string, len(widths))
	for i, width := range widths {
		rule[i] = strings.Repeat("-", width)
	}
	var text strings.Builder
	text.WriteByte('\n')
	for i, row := range append(rows[:1:1], append([][]string{rule}, rows[1:]...)...) {
		for column, width := range widths {
			cell := ""
			if column < len(row) {
				cell = row[column]
			}
			pad := strings.Repeat(" ", width-utf8.RuneCountInString(cell))
			switch {
			case column == 0:
				fmt.Fprintf(&text, "| %s%s |", cell, pad)
			case i == 1: // the rule
				fmt.Fprintf(&text, " %s: |", cell[1:])
			default:
				fmt.Fprintf(&text, " %s%s |", pad, cell)
			}
		}
		text.WriteByte('\n')
	}
	if _, err := io.WriteString(w, text.String()); err != nil {
		return fmt.Errorf("print the table: %w", err)
	}
	return nil
}

// number writes a value with as many digits as tell something.
func number(value float64) string {
	switch {
	case value == 0:
		return "0"
	case value < 10:
		return fmt.Sprintf("%.2f", value)
	case value < 100:
		return fmt.Sprintf("%.1f", value)
	}
	return whole(int(value + 0.5))
}

// whole writes a number with commas between its thousands.
func whole(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", whole(n/1000), n%1000)
}

func mebibytes(bytes int64) string { return number(float64(bytes)/(1<<20)) + " MiB" }

const minWidth = 3 // of a column in Markdown
