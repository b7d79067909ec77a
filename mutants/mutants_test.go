package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every break of the list is still one of the present program, and its test is there.
func TestBreaksAreOfThisProgram(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("breaks.txt")
	require.NoError(t, err)
	breaks, err := parseBreaks(string(text))
	require.NoError(t, err)
	require.Greater(t, len(breaks), 20)
	for _, b := range breaks {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			requireOfThisProgram(t, b)
		})
	}
}

func requireOfThisProgram(t *testing.T, b deliberate) {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("..", b.file))
	require.NoError(t, err)
	_, err = b.apply(string(source))
	require.NoError(t, err)

	require.NotEmpty(t, b.test.name)
	var tests strings.Builder
	files, err := filepath.Glob(filepath.Join("..", b.test.pkg, "*_test.go"))
	require.NoError(t, err)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		tests.Write(raw)
	}
	name, subtest, _ := strings.Cut(b.test.name, "/")
	require.Contains(t, tests.String(), "func "+name+"(t *testing.T)")
	require.True(t, subtest == "" || strings.Contains(tests.String(), `"`+subtest+`"`), b.test)
}

func TestParseBreaks(t *testing.T) {
	t.Parallel()
	breaks, err := parseBreaks("# comment\nfirst\na.go ./a TestA/B\n-\tx\n-y\n+z\n\nsecond\nb.go\n-gone\n")
	require.NoError(t, err)
	require.Equal(t, []deliberate{
		{"first", "a.go", "\tx\ny", "z", test{"./a", "TestA/B"}},
		{"second", "b.go", "gone", "", test{}},
	}, breaks)
	for _, text := range []string{
		"", "# nothing\n", "name\na.go\n", "name\na.go ./a TestA B\n-x\n", "name\na.go\nx\n", "name\na.go\n+x\n", "name\na.go\n-x\n+x\n",
	} {
		_, err := parseBreaks(text)
		require.Error(t, err, text)
	}

	b, err := parseByHand("a.go|x|y|./a TestA")
	require.NoError(t, err)
	require.Equal(t, deliberate{"by hand", "a.go", "x", "y", test{"./a", "TestA"}}, b)
	b, err = parseByHand("a.go|x|")
	require.NoError(t, err)
	require.Equal(t, test{}, b.test)
	for _, text := range []string{"a.go|x", "a.go|x|y|./a TestA|more", "a.go|x|x"} {
		_, err := parseByHand(text)
		require.Error(t, err, text)
	}
}

// TestRun breaks a module that is made for it, which has a test of Good, none of Neglected, and one that is always red.
func TestRun(t *testing.T) {
	module := map[string]string{
		"go.mod": "module toy\n\ngo 1.26\n",
		"toy.go": "package toy\n\nfunc Good() int { return 1 }\n\nfunc Neglected() int { return 2 }\n\nfunc Hangs() bool { return false }\n",
		"toy_test.go": `package toy

import "testing"

func TestGood(t *testing.T) {
	t.Run("Sub", func(t *testing.T) {
		if Good() != 1 {
			t.Fail()
		}
		if Hangs() {
			panic("it hangs")
		}
	})
}

func TestSick(t *testing.T) { t.Fail() }
`,
		"user/user.go":      "package user\n\nimport \"toy\"\n\nfunc Two() int { return toy.Neglected() }\n",
		"user/user_test.go": "package user\n\nimport \"testing\"\n\nfunc TestTwo(t *testing.T) {\n\tif Two() != 2 {\n\t\tt.Fail()\n\t}\n}\n",
		"chaos/doc_test.go": "package chaos\n",
		"main/main.go":      "package main\n\nvar leaks = false\n\nfunc main() {}\n",
		"main/main_test.go": "package main\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nfunc TestMain(m *testing.M) {\n\tif m.Run(); leaks {\n\t\tos.Exit(1)\n\t}\n}\n\nfunc TestNothing(*testing.T) {}\n",
	}
	dir := t.TempDir()
	for name, text := range module {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	t.Chdir(dir)
	t.Setenv("GOFLAGS", "")

	for _, row := range []struct{ name, given, says string }{
		{"OneThatIsNoticed", "toy.go|return 1|return 3|. TestGood/Sub", "red: . TestGood/Sub"},
		{"OneThatEndsInAPanic", "toy.go|false|true|. TestGood", "red: . TestGood"},
		{"OneThatSurvives", "toy.go|return 2|return 3|. TestGood", "SURVIVED: green with the break: . TestGood"},
		{"OneThatDoesNotCompile", "toy.go|return 1|return one|. TestGood", "do not compile"},
		{"OneOfATestThatIsRedAnyway", "toy.go|return 1|return 3|. TestSick", "red without the break as well"},
		{"OneOfATestThatIsNotThere", "toy.go|return 1|return 3|. TestGood/Other", "there is no test . TestGood/Other"},
		{"OneWhoseTextIsGone", "toy.go|return 4|return 3|. TestGood", "toy.go 0 times"},
		{"OneWhoseTextIsThereTwice", "toy.go|return|break|. TestGood", "toy.go 3 times"},
		{"OneThatTestMainNotices", "main/main.go|false|true|./main", "red: ./main"},
		{"OneThatAnotherPackageNotices", "toy.go|return 2|return 3|./user", "red: ./user TestTwo"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out bytes.Buffer
			err := run(t.Context(), []string{row.given}, &out)
			require.Contains(t, out.String(), row.says)
			require.Equal(t, strings.HasPrefix(row.says, "red: "), err == nil, err)
		})
	}

	// Without a test to be noticed by, all that reach the file are tried: . is red anyway, which is told.
	lab, err := newLab()
	require.NoError(t, err)
	defer lab.close()
	tests, err := lab.reaching(t.Context(), "user/user.go")
	require.NoError(t, err)
	require.Equal(t, []test{{pkg: "./user"}, {pkg: "./chaos"}}, tests)
}
