package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progress tells on standard error what is going on: in one line on a terminal, and else in a line now and then.
type progress struct {
	w        io.Writer
	terminal bool
	said     time.Time
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w}
	if file, ok := w.(*os.File); ok {
		info, err := file.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

const quietFor = 10 * time.Second // between two lines of a stage that goes on, where they stay

// stage says what begins.
func (p *progress) stage(format string, args ...any) {
	p.said = time.Time{}
	p.tell(format, args...)
}

// tell says how far it is.
func (p *progress) tell(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	switch {
	case p.terminal:
		fmt.Fprintf(p.w, "\r\033[Kbench: %s", text)
	case time.Since(p.said) >= quietFor:
		p.said = time.Now()
		fmt.Fprintf(p.w, "bench: %s\n", text)
	}
}

// end leaves the line.
func (p *progress) end() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\033[K")
	}
}
