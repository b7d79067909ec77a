package db

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Trouble is what an error of the database means for its caller.
type Trouble int

const (
	// TroubleNone: the error is not the database's.
	TroubleNone Trouble = iota
	// TroubleRetry: the transaction lost against another one, or waited too long for a lock. Again, whole.
	TroubleRetry
	// TroubleAway: the database cannot be reached, or has no room or no leave to write. Wait for it.
	TroubleAway
	// TroubleOurs: the statement or a value in it is wrong. Again would be no better.
	TroubleOurs
)

// TroubleOf sorts an error.
func TroubleOf(err error) Trouble {
	var connectErr *pgconn.ConnectError
	var pgErr *pgconn.PgError
	var netErr net.Error
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return TroubleNone
	case errors.Is(err, ErrLostRace):
		return TroubleRetry
	case errors.As(err, &connectErr): // whatever the server said: it starts, it is full, its database is not there yet
		return TroubleAway
	case errors.As(err, &pgErr):
		return troubleOfCode(pgErr.Code)
	case errors.As(err, &netErr), errors.Is(err, context.DeadlineExceeded), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, net.ErrClosed), errors.Is(err, pgconn.ErrConnClosed), pgconn.SafeToRetry(err):
		return TroubleAway
	default:
		return TroubleNone
	}
}

const readOnly = "25006" // of a statement that writes, where only reading is allowed

func troubleOfCode(code string) Trouble {
	switch {
	case slices.Contains([]string{"40001", "40P01", "55P03", "57014"}, code):
		return TroubleRetry
	case code == "25P03", code == "25P04": // open for too long: this process stood still
		return TroubleRetry
	case strings.HasPrefix(code, "08"), strings.HasPrefix(code, "53"), strings.HasPrefix(code, "57P"), code == readOnly,
		strings.HasPrefix(code, "58"):
		return TroubleAway
	default:
		return TroubleOurs
	}
}

// IsCode reports whether err is the database's, with this SQLSTATE.
func IsCode(err error, code string) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == code
}
