package probe

import (
	"container/list"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"
)

const (
	pieceBytes = 8 << 10
	// So much of each body is outside the budget: what is small waits for nobody, and is never lost.
	freePieces = 2
)

type piece [pieceBytes]byte

var freshPieces = sync.Pool{New: func() any { return new(piece) }}

// A keptBody is what is kept of a body until it is judged, in pieces: a buffer that doubles takes three times as much.
type keptBody struct {
	memory *memory
	most   int           // bytes that it may come to have
	size   int           // bytes that it has, or had
	waited time.Duration // for memory

	// What memory.mu guards.
	pieces     []*piece
	lost       bool          // of what it had, only the free pieces are there
	claimed    int           // bytes of the budget that it holds, or waits for
	granted    chan struct{} // closed once it holds them
	element    *list.Element // in one of memory's lists; nil: in neither
	progressed time.Time     // when its last piece was begun
}

// room gives where the body's next bytes go; it waits for memory if need be. There is none left in a body that is full, or
// lost.
func (b *keptBody) room(ctx context.Context) ([]byte, error) {
	if b.size == freePieces*pieceBytes && b.size < b.most && b.granted == nil {
		began := time.Now()
		pieces := (b.most - b.size + pieceBytes - 1) / pieceBytes
		err := b.memory.claim(ctx, b, pieces*pieceBytes)
		b.waited += time.Since(began)
		if err != nil {
			return nil, err
		}
	}

	b.memory.mu.Lock()
	defer b.memory.mu.Unlock()
	if b.lost || b.size >= b.most {
		return nil, nil
	}
	if b.size == len(b.pieces)*pieceBytes {
		b.pieces = append(b.pieces, freshPieces.Get().(*piece)) //nolint:forcetypeassert // it holds no others
		b.memory.progress(b)
	}
	if b.claimed > 0 && b.element == nil { // it was matched, and goes on
		b.element = b.memory.reading.PushBack(b)
		b.memory.progress(b)
		b.memory.settle()
	}
	from, last := b.size%pieceBytes, b.pieces[len(b.pieces)-1]
	return last[from:min(pieceBytes, from+b.most-b.size)], nil
}

// readFrom reads until there is no room any more, or the source ends.
func (b *keptBody) readFrom(ctx context.Context, source io.Reader) (ended bool, err error) {
	for {
		room, err := b.room(ctx)
		if err != nil || len(room) == 0 {
			return false, err
		}
		n, err := source.Read(room)
		b.size += n
		switch {
		case errors.Is(err, io.EOF):
			return true, nil
		case err != nil:
			return false, err
		}
	}
}

// whole notes that no more will come.
func (b *keptBody) whole() {
	b.memory.mu.Lock()
	defer b.memory.mu.Unlock()
	if b.claimed > 0 {
		b.memory.keep(b, (len(b.pieces)-freePieces)*pieceBytes)
	}
}

// text gives what is kept, in pieces, to be matched: until it is read on, the body gives way to none. If it did before, it
// is lost.
func (b *keptBody) text() (text [][]byte, lost bool) {
	b.memory.mu.Lock()
	defer b.memory.mu.Unlock()
	if b.claimed > 0 {
		b.memory.keep(b, b.claimed)
	}
	return b.view(), b.lost
}

func (b *keptBody) view() (text [][]byte) {
	for i, piece := range b.pieces {
		if begun := b.size - i*pieceBytes; begun > 0 {
			text = append(text, piece[:min(pieceBytes, begun)])
		}
	}
	return text
}

// beginning gives the first bytes of the body, as far as they are in the free pieces.
func (b *keptBody) beginning(most int) []byte {
	b.memory.mu.Lock()
	defer b.memory.mu.Unlock()
	text := b.view()
	if len(text) == 0 {
		return nil
	}
	first := text[0]
	if len(first) < most && len(text) > 1 {
		first = slices.Concat(first, text[1])
	}
	return first[:min(most, len(first))]
}

// lose gives up all but the free pieces. Whoever is reading into the last one finds out when he wants the next.
func (b *keptBody) lose() {
	clear(b.pieces[freePieces:])
	b.pieces, b.lost = b.pieces[:freePieces], true
}

// release gives back all that the body holds.
func (b *keptBody) release() {
	b.memory.mu.Lock()
	defer b.memory.mu.Unlock()
	if b.claimed > 0 {
		b.memory.keep(b, 0)
	}
	for _, piece := range b.pieces {
		freshPieces.Put(piece)
	}
	b.pieces = nil
}
