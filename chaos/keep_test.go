//go:build linux

package chaos_test

import (
	"context"
	"encoding/csv"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// keep keeps the ledger, and the tables that it is compared with, among the test's artifacts, if go test is to keep any.
func (w *world) keep(t *testing.T) {
	t.Helper()
	if wanted := flag.Lookup("test.artifacts"); wanted == nil || wanted.Value.String() != "true" {
		return
	}
	hits, err := os.Create(filepath.Join(t.ArtifactDir(), "ledger.csv"))
	require.NoError(t, err)
	lines := csv.NewWriter(hits)
	require.NoError(t, lines.Write([]string{"path", "at", "well"}))
	for _, h := range w.target.hits() {
		require.NoError(t, lines.Write([]string{h.path, h.at.UTC().Format(time.RFC3339Nano), strconv.FormatBool(h.well)}))
	}
	lines.Flush()
	require.NoError(t, hits.Close())

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // the test's own has ended
	defer cancel()
	conn, err := w.direct.Acquire(ctx)
	if err != nil {
		t.Logf("the tables are not kept: %v", err) // the database is what was broken
		return
	}
	defer conn.Release()
	for _, table := range []string{"monitors", "monitor_schedules", "monitor_log", "scan_gaps"} {
		file, err := os.Create(filepath.Join(t.ArtifactDir(), table+".csv"))
		require.NoError(t, err)
		_, err = conn.Conn().PgConn().CopyTo(ctx, file, "COPY (SELECT * FROM "+table+") TO STDOUT WITH (FORMAT csv, HEADER)")
		require.NoError(t, err)
		require.NoError(t, file.Close())
	}
}
