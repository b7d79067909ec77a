package main

import (
	"errors"
	"fmt"
	"strings"
)

// deliberate is a break of the program that somebody thought of.
type deliberate struct {
	name     string // what is wrong then, for people
	file     string // its path in the module
	old, new string // text that is in the file once, and what it becomes
	test     test   // that turns red; without one, any that can reach the file
}

// test names a test, or with an empty name all tests of a package.
type test struct {
	pkg  string // such as ./jobs
	name string // such as TestRound/ScansAtItsSlot
}

func (t test) String() string { return strings.TrimSpace(t.pkg + " " + t.name) }

// parseBreaks reads breaks, with an empty line between two and # before comments:
//
//	what is wrong
//	file.go ./pkg TestName/Subtest
//	-a line of the text that is replaced
//	+a line of what it becomes; may be left out
func parseBreaks(text string) (breaks []deliberate, err error) {
	var block []string
	flush := func() {
		if len(block) > 0 {
			b, blockErr := parseBreak(block)
			if blockErr != nil {
				err = errors.Join(err, fmt.Errorf("%q: %w", block[0], blockErr))
			}
			breaks = append(breaks, b)
		}
		block = nil
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "":
			flush()
		case !strings.HasPrefix(line, "#"):
			block = append(block, line)
		}
	}
	flush()
	if err == nil && len(breaks) == 0 {
		err = errors.New("there are no breaks")
	}
	return breaks, err
}

func parseBreak(lines []string) (deliberate, error) {
	if len(lines) < 3 {
		return deliberate{}, errors.New("a break has a name, a file and at least one line that goes")
	}
	place := strings.Fields(lines[1])
	if len(place) > 3 {
		return deliberate{}, errors.New("the second line is a file, a package and a test, and has no blanks besides")
	}
	place = append(place, "", "")
	b := deliberate{name: lines[0], file: place[0], test: test{place[1], place[2]}}
	var goes, comes []string
	for _, line := range lines[2:] {
		switch line[0] {
		case '-':
			goes = append(goes, line[1:])
		case '+':
			comes = append(comes, line[1:])
		default:
			return b, fmt.Errorf("%q begins with neither - nor +", line)
		}
	}
	b.old, b.new = strings.Join(goes, "\n"), strings.Join(comes, "\n")
	return b, b.check()
}

// parseByHand reads a break of the form file|old|new|./pkg TestName, of which the last part may be left out, or be a package.
func parseByHand(text string) (deliberate, error) {
	parts := strings.Split(text, "|")
	if len(parts) < 3 || len(parts) > 4 {
		return deliberate{}, errors.New("a break by hand is 'file|old|new|./pkg TestName'; texts with a | go into a file, see breaks.txt")
	}
	place := append(strings.Fields(append(parts, "")[3]), "", "")
	b := deliberate{name: "by hand", file: parts[0], old: parts[1], new: parts[2], test: test{place[0], place[1]}}
	return b, b.check()
}

func (b deliberate) check() error {
	if b.old == "" || b.old == b.new {
		return errors.New("it changes nothing")
	}
	return nil
}

// apply gives the broken text of a file.
func (b deliberate) apply(text string) (string, error) {
	if count := strings.Count(text, b.old); count != 1 {
		return "", fmt.Errorf("its text is in %s %d times, and must be there once:\n%s", b.file, count, b.old)
	}
	return strings.Replace(text, b.old, b.new, 1), nil
}
