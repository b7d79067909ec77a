package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// A terminal, of which we are the far side: what a program would write to it.
func terminal(t *testing.T) *os.File {
	t.Helper()
	file, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, file.Close()) })
	return file
}

func TestLogFormat(t *testing.T) {
	t.Parallel()
	const setting = "RIVERWATCH_LOG_FORMAT"
	for name, test := range map[string]struct {
		terminal     bool
		environment  map[string]string
		text, colour bool
	}{
		"ATerminal":               {true, map[string]string{}, true, true},
		"ATerminalWithoutColours": {true, map[string]string{"NO_COLOR": "1"}, true, false},
		"ATerminalThatWantsJSON":  {true, map[string]string{setting: "json"}, false, false},
		"AFile":                   {false, map[string]string{}, false, false},
		"AFileThatWantsText":      {false, map[string]string{setting: "text"}, true, false},
		"AFileThatWantsJSON":      {false, map[string]string{setting: "json"}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stderr, err := os.Open(os.DevNull)
			require.NoError(t, err)
			defer stderr.Close() //nolint:errcheck // nothing is lost
			if test.terminal {
				stderr = terminal(t)
			}
			p := &program{stderr: stderr, getenv: func(name string) string { return test.environment[name] }}
			text, isText := p.logger(slog.LevelInfo).Handler().(*textHandler)
			require.Equal(t, test.text, isText)
			require.Equal(t, test.colour, isText && text.colour)
		})
	}

	t.Run("NeitherATerminalNorAFile", func(t *testing.T) {
		t.Parallel()
		var stderr bytes.Buffer
		p := &program{stderr: &stderr, getenv: func(string) string { return "" }}
		p.logger(slog.LevelInfo).InfoContext(t.Context(), "worker started", slog.String("worker", "w\n1"))
		var line struct{ Level, Msg, Worker string }
		require.NoError(t, json.Unmarshal(stderr.Bytes(), &line))
		require.Equal(t, struct{ Level, Msg, Worker string }{"INFO", "worker started", "w\n1"}, line)
	})
}

// logged is what a log for people says, without the time that each line begins with.
func logged(t *testing.T, colour bool, log func(context.Context, *slog.Logger)) string {
	t.Helper()
	var out bytes.Buffer
	log(t.Context(), slog.New(newTextHandler(&out, slog.LevelDebug, colour)))
	return regexp.MustCompile(`(?m)^(\x1b\[2m)?\d\d:\d\d:\d\d(\x1b\[0m)? {2}`).ReplaceAllString(out.String(), "")
}

func TestLogForPeople(t *testing.T) {
	t.Parallel()
	steps := func(ctx context.Context, logger *slog.Logger) {
		logger.InfoContext(ctx, "database ready")
		logger.InfoContext(ctx, "schema is new", slog.Int("migrations", 10))
		logger.WarnContext(ctx, "traces are lost", slog.Int("spans", 3), slog.Any("error", errors.New("no route")))
		logger.ErrorContext(ctx, "clocks differ", slog.Duration("by", 1500*time.Millisecond))
		logger.DebugContext(ctx, "broken connection")
		of := logger.With(slog.Int("monitor_id", 7)).WithGroup("scan").With(slog.String("outcome", "ok"))
		of.InfoContext(ctx, "scanned", slog.Bool("level", true), slog.String("msg", ""), slog.String("time", "now"))
	}
	require.Equal(t, strings.Join([]string{
		`database ready`,
		`schema is new  migrations=10`,
		`warning: traces are lost  spans=3 error="no route"`,
		`error: clocks differ  by=1.5s`,
		`debug: broken connection`,
		`scanned  monitor_id=7 scan.outcome=ok scan.level=true scan.msg="" scan.time=now`,
		``,
	}, "\n"), logged(t, false, steps))
	require.Equal(t, strings.Join([]string{
		"database ready",
		"schema is new  \x1b[2mmigrations=10\x1b[0m",
		"\x1b[33mwarning: traces are lost\x1b[0m  \x1b[2mspans=3 error=\"no route\"\x1b[0m",
		"\x1b[31merror: clocks differ\x1b[0m  \x1b[2mby=1.5s\x1b[0m",
		"\x1b[2mdebug: broken connection\x1b[0m",
		"scanned  \x1b[2mmonitor_id=7 scan.outcome=ok scan.level=true scan.msg=\"\" scan.time=now\x1b[0m",
		"",
	}, "\n"), logged(t, true, steps))

	t.Run("LeavesOutWhatIsBelowItsLevel", func(t *testing.T) {
		t.Parallel()
		var out bytes.Buffer
		logger := slog.New(newTextHandler(&out, slog.LevelWarn, false))
		logger.InfoContext(t.Context(), "of no interest")
		require.Empty(t, out.String())
	})
}

type text string

func (x text) MarshalText() ([]byte, error) { return []byte(x), nil }

// FuzzLogForPeople: whatever is logged is one line, which does nothing to a terminal.
func FuzzLogForPeople(f *testing.F) {
	for _, hostile := range []string{
		"", "plain", "two\nlines", "\r\x1b[2K\x1b[31mred", "\x1b]0;title\a", "\u009b31m", "a\x00b\x7fc\b", "\x7f", "\xff\xc0\x80",
		"\u202eevil", "\u2028", "\u200b", `say "x" a=b`, `back\slash`, " level=ERROR ", "\ufffd", "é 漢 ✓",
	} {
		f.Add(hostile)
	}
	f.Fuzz(func(t *testing.T, hostile string) {
		out := logged(t, false, func(ctx context.Context, logger *slog.Logger) {
			logger = logger.With(slog.String(hostile, hostile)).WithGroup(hostile)
			//nolint:sloglint // strangers' broken connections are logged by net/http
			logger.WarnContext(ctx, hostile, slog.String("value", hostile), slog.Any("error", errors.New(hostile)),
				slog.Any("text", text(hostile)), slog.Any("bytes", []byte(hostile)), slog.Any("list", []string{hostile}),
				slog.Group(hostile, slog.String(hostile, hostile)))
		})
		line, rest, _ := strings.Cut(out, "\n")
		require.Empty(t, rest)
		require.True(t, utf8.ValidString(line), "%q", line)
		for _, r := range line {
			require.True(t, unicode.IsPrint(r), "%q in %q", r, line)
		}
	})
}
