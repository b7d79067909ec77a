package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/term"
)

const (
	logText logFormat = "text"
	logJSON logFormat = "json"
)

// logger logs for people where standard error is a terminal, and else as JSON; RIVERWATCH_LOG_FORMAT, which loadConfig
// checks, overrules that. Either way no value that strangers may have chosen breaks out of its line.
func (p *program) logger(level slog.Level) *slog.Logger {
	terminal := isTerminal(p.stderr)
	format := logFormat(p.getenv("RIVERWATCH_LOG_FORMAT"))
	if format == logText || format != logJSON && terminal {
		return slog.New(newTextHandler(p.stderr, level, terminal && p.getenv("NO_COLOR") == ""))
	}
	return slog.New(slog.NewJSONHandler(p.stderr, &slog.HandlerOptions{Level: level}))
}

func isTerminal(out io.Writer) bool {
	file, isFile := out.(*os.File)
	return isFile && term.IsTerminal(int(file.Fd()))
}

// quiet gives a logger for what says more than people want to know: warnings and errors alone.
func (p *program) quiet(config config) *slog.Logger {
	return p.logger(max(config.LogLevel, slog.LevelWarn))
}

// textHandler writes a record as a line for people: the time of day, what happened, and the attributes.
type textHandler struct {
	slog.Handler // a slog.TextHandler, which writes to line; of what it writes the attributes are used

	out    io.Writer
	colour bool
	mu     *sync.Mutex // of line, and of all handlers that were made of this one
	line   *bytes.Buffer
}

func newTextHandler(out io.Writer, level slog.Level, colour bool) *textHandler {
	line := &bytes.Buffer{}
	attrs := slog.NewTextHandler(line, &slog.HandlerOptions{Level: level})
	return &textHandler{Handler: attrs, out: out, colour: colour, mu: &sync.Mutex{}, line: line}
}

// Handle implements slog.Handler.
func (h *textHandler) Handle(ctx context.Context, record slog.Record) error {
	const nothingSaid = `level=INFO msg=""` // what the TextHandler writes before the attributes of bare
	bare := slog.NewRecord(time.Time{}, slog.LevelInfo, "", 0)
	record.Attrs(func(attr slog.Attr) bool {
		bare.AddAttrs(attr)
		return true
	})
	message, colour := record.Message, ""
	strange := func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }
	if strings.ContainsFunc(message, strange) { // it would do something to a terminal
		message = strconv.Quote(message)
	}
	switch {
	case record.Level >= slog.LevelError:
		message, colour = "error: "+message, "\x1b[31m"
	case record.Level >= slog.LevelWarn:
		message, colour = "warning: "+message, "\x1b[33m"
	case record.Level < slog.LevelInfo:
		message, colour = "debug: "+message, "\x1b[2m"
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	h.line.Reset()
	if err := h.Handler.Handle(ctx, bare); err != nil {
		return err //nolint:wrapcheck // a handler's own
	}
	attrs := strings.TrimSpace(strings.TrimPrefix(h.line.String(), nothingSaid))
	attrs = strings.ReplaceAll(attrs, "\x7f", `\x7f`) // the one control character that a TextHandler lets through
	h.line.Reset()
	h.line.WriteString(h.painted("\x1b[2m", record.Time.Format(time.TimeOnly)) + "  " + h.painted(colour, message))
	if attrs != "" {
		h.line.WriteString("  " + h.painted("\x1b[2m", attrs))
	}
	h.line.WriteByte('\n')
	_, err := h.out.Write(h.line.Bytes())
	return err //nolint:wrapcheck // the writer's own
}

func (h *textHandler) painted(colour, text string) string {
	if !h.colour || colour == "" {
		return text
	}
	return colour + text + "\x1b[0m"
}

// WithAttrs implements slog.Handler.
func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.Handler = h.Handler.WithAttrs(attrs)
	return &with
}

// WithGroup implements slog.Handler.
func (h *textHandler) WithGroup(name string) slog.Handler {
	with := *h
	with.Handler = h.Handler.WithGroup(name)
	return &with
}
