package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What is shown of a file is what was printed when it was written, whatever the mode.
func TestReport(t *testing.T) {
	t.Parallel()
	m := measurement{
		Name: "Riverwatch", Monitors: 1000, Workers: 2, Coverage: 0.5, account: account{Due: 10, Recorded: 5, Blamed: 1},
		LatenessHalves: [2]percentiles{{P50: 1}, {P50: 2, P99: 3}}, WorkerMemory: []int64{1 << 20},
	}
	loops := floors{Bare: floorResult{Loop: bareLoop, PerSecond: 7, CPUMicros: 2}, NetHTTP: floorResult{CPUMicros: 4}}
	for mode, result := range map[string]result{
		"run":        runResult{floors: loops, Fleet: m, Ratio: 2},
		"saturate":   saturateResult{floors: loops, Steps: []measurement{m, m}, Most: 5},
		"overload":   overloadResult{Saturation: 9, Rows: []measurement{m, m, m}},
		"registered": registeredResult{Few: m, Many: m, Cost: 1.5},
		"cold":       coldResult{Monitors: 5, New: start{Took: 1}},
		"idle":       idleResult{Monitors: 5, Cores: 0.1},
		"memory":     memoryResult{Kinds: []worstKind{{Name: "a", Outcomes: map[string]int{"ok": 1}}}, Most: 5},
		"day":        dayResult{Fleet: m, Filled: 6, Rolled: upkeepCost{Scans: 4, CPU: 0.5}},
		"pages":      pagesResult{Monitors: 3, Pages: []pageTimes{{Path: "/", Calls: 1, Bytes: 2}}},
		"pair":       pairResult{Rate: 5, Rounds: []pairRound{{This: workerCost{CPU: 1}}}},
		"blackbox":   blackboxResult{floors: loops, Fleet: m, Blackbox: probes{PerSecond: 3}},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "r.json")
			report := report{At: time.Now().UTC(), Mode: mode, Machine: thisMachine(), Result: result}
			var printed, shown bytes.Buffer
			require.NoError(t, report.publish(&printed, file))
			require.NoError(t, show(&shown, []string{file}))
			require.Equal(t, printed.String(), shown.String())
			read, err := readReport(file)
			require.NoError(t, err)
			require.Equal(t, report, read)
		})
	}
	require.Error(t, show(&bytes.Buffer{}, []string{filepath.Join(t.TempDir(), "missing.json")}))
}

var update = flag.Bool("update", false, "write the tables of docs/performance.md")

// The tables of the documentation are those of the results that lie beside it: none is typed, and no result is left out.
func TestDocumentedResults(t *testing.T) {
	t.Parallel()
	const document = "../docs/performance.md"
	files, err := filepath.Glob("../docs/performance/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	written, err := os.ReadFile(document)
	require.NoError(t, err)
	text := string(written)
	for _, file := range files {
		report, err := readReport(file)
		require.NoError(t, err)
		var printed bytes.Buffer
		require.NoError(t, report.print(&printed))
		head := "`" + strings.TrimPrefix(file, "../docs/") + "`: "
		tables := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(head) + `.*\n(\n?(\|.*\n)+)*`)
		require.Len(t, tables.FindAllString(text, -1), 1, file)
		text = tables.ReplaceAllLiteralString(text, head+printed.String())
	}
	if *update {
		require.NoError(t, os.WriteFile(document, []byte(text), 0o600))
		return
	}
	require.Equal(t, text, string(written), "go test ./bench -run TestDocumentedResults -update")
	require.Len(t, regexp.MustCompile("(?m)^`performance/.*\\.json`: ").FindAllString(text, -1), len(files))
}
