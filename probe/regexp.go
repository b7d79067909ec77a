package probe

import (
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// RE2 never backtracks, but its time is still the product of input and program. The program is thus bounded too: 12
// bytes, (.{0,1000})x, make 2,005 instructions that take 20 s on 1 MiB.
const (
	maxPatternBytes        = 512
	maxPatternInstructions = 1500
)

// CheckRegexp checks a pattern in the syntax of RE2: at most 512 bytes and 1,500 instructions.
func CheckRegexp(pattern string) error {
	_, err := checkRegexp(pattern)
	return err
}

func checkRegexp(pattern string) (instructions int, err error) {
	switch {
	case pattern == "":
		return 0, inputError("regexp_empty", "the regexp is empty, which all matches")
	case len(pattern) > maxPatternBytes:
		return 0, inputError("regexp_too_long", "the regexp has %d bytes, and may have %d", len(pattern), maxPatternBytes)
	case !utf8.ValidString(pattern):
		return 0, inputError("regexp_invalid", "the regexp is not valid UTF-8")
	case strings.ContainsRune(pattern, 0):
		return 0, inputError("regexp_invalid", `the regexp holds a NUL; write \x00 if it is meant`)
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0, inputError("regexp_invalid", "the regexp does not compile: %s; the syntax is that of RE2, "+
			"without look-around and back-references", cleanText(strings.TrimPrefix(err.Error(), "error parsing regexp: ")))
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return 0, inputError("regexp_invalid", "the regexp does not compile")
	}
	if len(program.Inst) > maxPatternInstructions {
		return 0, inputError("regexp_too_complex", "the regexp makes %d instructions, and may make %d: "+
			"use smaller repeat counts", len(program.Inst), maxPatternInstructions)
	}
	return len(program.Inst), nil
}
