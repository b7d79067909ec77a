package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// event is one of those of `go doc test2json`.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// skip is a test that did not run.
type skip struct {
	pkg, test, reason string
}

// report says of the events of a run what go test says without -json, and keeps the skips.
type report struct {
	out    io.Writer
	all    bool              // -v: what passes is shown as well
	output map[string][]line // of the packages that are not done
	skips  []skip
}

type line struct{ test, text string }

// read reads events until there are no more.
func (r *report) read(events io.Reader) error {
	r.output = map[string][]line{}
	lines := bufio.NewReader(events)
	for {
		text, err := lines.ReadString('\n')
		if text != "" {
			var e event
			if json.Unmarshal([]byte(text), &e) != nil {
				e = event{Action: "build-output", Output: text} // of go itself
			}
			r.take(e)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
	}
}

func (r *report) take(e event) {
	lines := r.output[e.Package]
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		if r.all {
			fmt.Fprint(r.out, e.Output)
		}
		if !strings.HasPrefix(e.Output, "=== ") {
			r.output[e.Package] = append(lines, line{e.Test, e.Output})
		}
	case "skip":
		if e.Test != "" {
			r.skips = append(r.skips, skip{e.Package, e.Test, reasonOf(lines, e.Test)})
		}
		r.done(e, e.Test == "")
	case "pass":
		r.done(e, false)
	case "fail":
		if e.Test == "" { // only now is it known which tests failed, and all that they said
			r.done(e, true)
		}
	}
}

// done forgets what a test or package said. Of a package it is told before: all that is not forgotten, or what go test says of
// one that passes.
func (r *report) done(e event, tell bool) {
	var kept []line
	for _, l := range r.output[e.Package] {
		switch {
		case e.Test != "" && l.test != e.Test:
			kept = append(kept, l)
		case e.Test == "" && !r.all && (tell || strings.HasPrefix(l.text, "ok ")):
			fmt.Fprint(r.out, l.text)
		}
	}
	r.output[e.Package] = kept
}

// reasonOf gives what a test said before it was skipped.
func reasonOf(lines []line, test string) string {
	var said []string
	for _, l := range lines {
		text := strings.TrimSpace(l.text)
		if l.test == test && !strings.HasPrefix(text, "--- SKIP") {
			said = append(said, text)
		}
	}
	return strings.Join(said, " ")
}
