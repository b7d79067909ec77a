package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// events are what go test says of a package with tests that pass, fail and are skipped, of one that passes, and of one that does
// not compile.
const events = `{"Action":"start","Package":"m/a"}
{"Action":"output","Package":"m/a","Output":"-test.shuffle 17\n"}
{"Action":"run","Package":"m/a","Test":"TestGood"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"m/a","Test":"TestBad","Output":"=== RUN   TestBad\n"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"    a_test.go:7: of no interest\n"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"--- PASS: TestGood (0.00s)\n"}
{"Action":"pass","Package":"m/a","Test":"TestGood","Elapsed":0}
{"Action":"output","Package":"m/a","Test":"TestBad","Output":"--- FAIL: TestBad (0.00s)\n"}
{"Action":"output","Package":"m/a","Test":"TestBad/Sub","Output":"    a_test.go:9: why\n"}
{"Action":"fail","Package":"m/a","Test":"TestBad/Sub","Elapsed":0}
{"Action":"fail","Package":"m/a","Test":"TestBad","Elapsed":0}
{"Action":"output","Package":"m/a","Test":"TestIdle/Sub","Output":"    a_test.go:11: no network\n"}
{"Action":"output","Package":"m/a","Test":"TestIdle/Sub","Output":"    --- SKIP: TestIdle/Sub (0.00s)\n"}
{"Action":"skip","Package":"m/a","Test":"TestIdle/Sub","Elapsed":0}
{"Action":"pass","Package":"m/a","Test":"TestIdle","Elapsed":0}
{"Action":"output","Package":"m/a","Output":"FAIL\n"}
{"Action":"output","Package":"m/a","Output":"FAIL\tm/a\t0.1s\n"}
{"Action":"fail","Package":"m/a","Elapsed":0.1}
{"Action":"output","Package":"m/b","Output":"-test.shuffle 18\n"}
{"Action":"output","Package":"m/b","Output":"PASS\n"}
{"Action":"output","Package":"m/b","Output":"ok  \tm/b\t0.2s\n"}
{"Action":"pass","Package":"m/b","Elapsed":0.2}
{"Action":"output","Package":"m/none","Output":"?   \tm/none\t[no test files]\n"}
{"Action":"skip","Package":"m/none","Elapsed":0}
{"ImportPath":"m/c","Action":"build-output","Output":"c.go:3:1: expected declaration\n"}
go: a line that is no event
`

func TestReport(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	r := report{out: &out}
	require.NoError(t, r.read(strings.NewReader(events)))
	require.Equal(t, `-test.shuffle 17
--- FAIL: TestBad (0.00s)
    a_test.go:9: why
FAIL
FAIL	m/a	0.1s
ok  	m/b	0.2s
?   	m/none	[no test files]
c.go:3:1: expected declaration
go: a line that is no event
`, out.String())
	require.Equal(t, []skip{{"m/a", "TestIdle/Sub", "a_test.go:11: no network"}}, r.skips)
}

func TestSkips(t *testing.T) {
	t.Parallel()
	excuses, err := parseExcuses("# comment\n\na TestIdle without-root it needs a network\n")
	require.NoError(t, err)
	skipped := skip{"m/a", "TestIdle/Sub", "no network"}
	for _, row := range []struct {
		skips        []skip
		root, strict bool
		fails        bool
		says         string
	}{
		{nil, false, true, false, ""},
		{[]skip{skipped}, false, true, false, "excused: it needs a network"},
		{[]skip{skipped}, true, false, false, "NOT EXCUSED"},
		{[]skip{skipped}, true, true, true, "NOT EXCUSED"},
		{[]skip{{"m/a", "TestIdleness", ""}}, false, true, true, "NOT EXCUSED"},
		{[]skip{{"m/b", "TestIdle", ""}}, false, true, true, "NOT EXCUSED"},
	} {
		var out bytes.Buffer
		r := report{out: &out, skips: row.skips}
		require.Equal(t, row.fails, r.tellSkips(excuses, row.root, row.strict) != nil, row)
		require.Contains(t, out.String(), row.says)
	}
	_, err = parseExcuses("a TestIdle somewhere why\n")
	require.Error(t, err)
	_, err = parseExcuses("a TestIdle anywhere\n")
	require.Error(t, err)
}

// What is excused is there, and has its name in the tests of its package.
func TestExcusesAreOfTestsThatAreThere(t *testing.T) {
	t.Parallel()
	excuses, err := parseExcuses(skipsText)
	require.NoError(t, err)
	for _, e := range excuses {
		files, err := filepath.Glob(filepath.Join("..", e.pkg, "*_test.go"))
		require.NoError(t, err)
		var text strings.Builder
		for _, file := range files {
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			text.Write(raw)
		}
		name, subtest, _ := strings.Cut(e.test, "/")
		require.Contains(t, text.String(), "func "+name+"(t *testing.T)")
		require.True(t, subtest == "" || strings.Contains(text.String(), `"`+subtest+`"`), e.test)
		require.Contains(t, text.String(), "t.Skip", e.pkg)
	}
}

// go test itself is run, and what it says of a package comes through.
func TestRun(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	noEnvironment := func(string) string { return "" }
	require.NoError(t, run(t.Context(), []string{"-run", "TestSkips", "."}, noEnvironment, &out))
	require.Regexp(t, `^ok  \triverwatch/testrun\t`, out.String())
	out.Reset()
	require.Error(t, run(t.Context(), []string{"-run", "TestSkips", "./nothing"}, noEnvironment, &out))
}
