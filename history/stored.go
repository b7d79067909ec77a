package history

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"riverwatch/db"
)

// Storage is what is kept of the past.
type Storage struct {
	Tables      []StoredTable
	RolledUntil time.Time // zero: nothing is rolled up
	CutBySize   bool
}

// StoredTable is one of the tables that grow with every scan.
type StoredTable struct {
	Name        string // scans, hours, days
	From        time.Time
	Bytes       int64
	BytesPerDay *int64 // nil: no chunk is whole yet
}

// growthOf is how much of the past says how fast a table grows.
const growthOf = 7 * day

// Stored gives what is kept now.
func Stored(ctx context.Context, conn db.DBTX, now time.Time) (s Storage, err error) {
	queries := db.New(conn)
	p, err := queries.GetHistoryProgress(ctx)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return s, fmt.Errorf("get how far roll-ups have come: %w", err)
	}
	s.RolledUntil, s.CutBySize = p.RolledUntil, p.CutBySize
	for _, table := range []struct{ name, hypertable string }{{"scans", scansTable}, {"hours", hoursTable}, {"days", daysTable}} {
		chunks, err := queries.ListChunks(ctx, table.hypertable)
		if err != nil {
			return s, fmt.Errorf("list chunks of %s: %w", table.name, err)
		}
		s.Tables = append(s.Tables, storedTable(table.name, chunks, now))
	}
	return s, nil
}

func storedTable(name string, chunks []db.ListChunksRow, now time.Time) StoredTable {
	t := StoredTable{Name: name}
	var whole int64
	var covered time.Duration
	for _, chunk := range chunks {
		t.Bytes += chunk.Bytes
		if t.From.IsZero() {
			t.From = chunk.FromAt
		}
		if !chunk.UntilAt.After(now) && chunk.UntilAt.After(now.Add(-growthOf)) {
			whole += chunk.Bytes
			covered += chunk.UntilAt.Sub(chunk.FromAt)
		}
	}
	if covered > 0 {
		perDay := int64(float64(whole) / covered.Hours() * 24)
		t.BytesPerDay = &perDay
	}
	return t
}

// DaysUntilCut gives for how many days the log may grow at this rate until it is cut by its size. ok is false if age is what cuts
// it, or nothing says how fast it grows.
func (k Keep) DaysUntilCut(scans StoredTable) (days float64, ok bool) {
	if scans.BytesPerDay == nil || *scans.BytesPerDay == 0 {
		return 0, false
	}
	perDay := float64(*scans.BytesPerDay)
	if perDay*k.Scans.Hours()/24 <= float64(k.ScansBytes) {
		return 0, false
	}
	return max(0, float64(k.ScansBytes-scans.Bytes)/perDay), true
}
