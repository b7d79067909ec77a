package jobs

import (
	"context"
	"time"
)

// GoBlind makes the worker blind that saw the network last at an instant.
func (s *Sight) GoBlind(sawAt time.Time) {
	s.blindness.looked(sawAt, true)
	for range failedLooksToBlind {
		s.blindness.looked(s.scanner.Now(), false)
	}
}

// Follow does what follows from having gone blind.
func (s *Sight) Follow(ctx context.Context) { s.follow(ctx, wentBlind) }

// SeeAgain is a look that sees, and what follows from it.
func (s *Sight) SeeAgain(ctx context.Context) {
	s.follow(ctx, s.blindness.looked(s.scanner.Now(), true))
}
