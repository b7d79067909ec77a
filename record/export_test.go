package record

import "time"

// Waiting is how many results the recorder has taken and not begun to write.
func (r *Recorder) Waiting() int { return len(r.results) }

// SetDrain gives the recorder longer to write what is left at its stop, on a busy machine.
func (r *Recorder) SetDrain(drain time.Duration) { r.drain = drain }

// WaitingCertificates is how many of the results that wait have a certificate to write.
func (r *Recorder) WaitingCertificates() (count int) {
	for range len(r.results) {
		one := <-r.results
		if one.certificate != nil {
			count++
		}
		r.results <- one
	}
	return count
}

// KnowCertificatesOf makes a recorder know the certificates that another one knows.
func (r *Recorder) KnowCertificatesOf(another *Recorder) { r.shown.known = another.shown.known }
