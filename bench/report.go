package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
)

// A result is what a mode has measured.
type result interface {
	tables() []table
}

// report is what is written as JSON, and what is shown of it later.
type report struct {
	At       time.Time         `json:"at"` // when it began
	Mode     string            `json:"mode"`
	Args     []string          `json:"args"`
	Machine  machine           `json:"machine"`
	Postgres map[string]string `json:"postgres"` // its settings that matter here
	Result   result            `json:"result"`
}

// publish prints the tables, and writes everything to a file if it has a name.
func (r report) publish(w io.Writer, file string) error {
	if err := r.print(w); err != nil || file == "" {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func (r report) print(w io.Writer) error {
	fmt.Fprintf(w, "%s\n", r.Machine)
	for _, table := range r.Result.tables() {
		if err := table.write(w); err != nil {
			return err
		}
	}
	return nil
}

// show prints the tables of reports that were written before.
func show(w io.Writer, files []string) error {
	for _, file := range files {
		report, err := readReport(file)
		if err != nil {
			return err
		}
		if err := report.print(w); err != nil {
			return err
		}
	}
	return nil
}

func readReport(file string) (r report, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return r, fmt.Errorf("read the report: %w", err)
	}
	var raw struct {
		report

		Result json.RawMessage `json:"result"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return r, fmt.Errorf("read %s: %w", file, err)
	}
	r = raw.report
	mode, ok := modes[r.Mode]
	if !ok {
		return r, fmt.Errorf("read %s: there is no mode %q", file, r.Mode)
	}
	if r.Result, err = mode.decode(raw.Result); err != nil {
		return r, fmt.Errorf("read %s: %w", file, err)
	}
	return r, nil
}

func decode[T result](text json.RawMessage) (result, error) {
	var r T
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("read a result: %w", err)
	}
	return r, nil
}

const settingsSQL = `
	SELECT name, current_setting(name) FROM pg_settings WHERE name IN (
		'server_version', 'fsync', 'synchronous_commit', 'full_page_writes', 'shared_buffers', 'max_wal_size',
		'checkpoint_timeout', 'wal_compression', 'autovacuum_naptime', 'max_connections'
	)`

func (b *bench) postgresSettings(ctx context.Context) (map[string]string, error) {
	rows, err := b.server.Query(ctx, settingsSQL)
	if err != nil {
		return nil, fmt.Errorf("ask for the server's settings: %w", err)
	}
	settings := map[string]string{}
	var name, value string
	_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		settings[name] = value
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ask for the server's settings: %w", err)
	}
	return settings, nil
}
