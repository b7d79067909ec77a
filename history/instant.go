package history

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// Instant is a time as people name it: RFC 3339, Unix seconds, now, or so long before or after now, such as now-24h or now-7d. Zero:
// none was named.
type Instant struct {
	at       time.Time
	relative time.Duration // to now
	now      bool
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (i *Instant) UnmarshalText(raw []byte) (err error) {
	text := string(raw)
	if rest, ok := strings.CutPrefix(text, "now"); ok {
		i.now = true
		i.relative, err = parseOffset(rest)
		return err
	}
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if !(seconds >= 0 && seconds <= 1e11) { // nor NaN
			return errInstant
		}
		i.at = time.UnixMicro(int64(seconds * 1e6)).UTC()
		return nil
	}
	i.at, err = time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return errInstant
	}
	return nil
}

var errInstant = errors.New("accepted is RFC 3339 (2026-11-24T10:00:00Z), Unix seconds, or relative to now (now-24h, now-7d)")

// parseOffset reads a duration with its sign, such as -24h, which may be in days. Empty: none.
func parseOffset(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	if text[0] != '-' && text[0] != '+' {
		return 0, errInstant
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < -100_000 || n > 100_000 {
			return 0, errInstant
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	offset, err := time.ParseDuration(text)
	if err != nil {
		return 0, errInstant
	}
	return offset, nil
}

// Or gives the instant, or another if none was named.
func (i Instant) Or(now, other time.Time) time.Time {
	switch {
	case i.now:
		return now.Add(i.relative)
	case i.at.IsZero():
		return other
	default:
		return i.at
	}
}
