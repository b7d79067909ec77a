package record

import "time"

// Waiting is how many results the recorder has taken and not begun to write.
func (r *Recorder) Waiting() int { return len(r.results) }

// SetDrain gives the recorder longer to write what is left at its stop, on a busy machine.
func (r *Recorder) SetDrain(drain time.Duration) { r.drain = drain }
