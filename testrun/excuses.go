package main

import (
	"errors"
	"fmt"
	"strings"
)

// excuse allows tests to be skipped.
type excuse struct {
	pkg         string // within the module, such as jobs
	test        string // this one, and its subtests
	withoutRoot bool   // only where they do not run as root
	because     string
}

// parseExcuses reads lines of a package, a test, without-root or anywhere, and a reason; # begins a comment.
func parseExcuses(text string) (excuses []excuse, err error) {
	for l := range strings.Lines(text) {
		fields := strings.Fields(l)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) < 4 || fields[2] != "without-root" && fields[2] != "anywhere" {
			err = errors.Join(err, fmt.Errorf("skips.txt: %q is not a package, a test, without-root or anywhere, and a reason", l))
			continue
		}
		excuses = append(excuses, excuse{fields[0], fields[1], fields[2] == "without-root", strings.Join(fields[3:], " ")})
	}
	return excuses, err
}

func (e excuse) covers(s skip) bool {
	_, pkg, _ := strings.Cut(s.pkg, "/") // without the module
	return pkg == e.pkg && (s.test == e.test || strings.HasPrefix(s.test, e.test+"/"))
}
