package shadow

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// mostBody bounds the body that is copied for the witness, in bytes. It is the default of
// Tandem's own limit.
const mostBody = 1 << 20

// mostHeld bounds all copies together, in bytes.
const mostHeld = 64 << 20

// held is how many bytes all copies of one proxy have.
type held struct{ atomic.Int64 }

// tap copies a body while the upstream reads it. The reader may go on after the upstream has
// answered, so taking the copy ends the copying.
type tap struct {
	io.ReadCloser
	held  *held
	begun atomic.Bool // somebody reads

	mu    sync.Mutex
	body  []byte
	size  int64 // of the body; -1: unknown
	whole bool  // its end was read
	over  overflow
	taken bool
}

// overflow says why a copy was given up.
type overflow uint8

const (
	fits    overflow = iota
	tooLong          // longer than Tandem takes
	noRoom           // too much is held already
)

func (t *tap) Read(p []byte) (int, error) {
	t.begun.Store(true)
	n, err := t.ReadCloser.Read(p)
	t.copied(p[:n], errors.Is(err, io.EOF))
	return n, err
}

func (t *tap) copied(b []byte, end bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.taken {
		return
	}
	t.whole = t.whole || end
	if t.over != fits {
		return
	}
	switch {
	case int64(len(t.body)+len(b)) > mostBody:
		t.giveUp(tooLong)
	case t.held.Add(int64(len(b))) > mostHeld:
		t.held.Add(-int64(len(b)))
		t.giveUp(noRoom)
	default:
		t.body = append(t.body, b...)
		t.whole = t.whole || t.size >= 0 && int64(len(t.body)) == t.size
	}
}

func (t *tap) giveUp(why overflow) {
	t.held.Add(-int64(len(t.body)))
	t.body, t.over = nil, why
}

// take ends the copying and gives the copy, which counts as held until it is let go.
func (t *tap) take() (body []byte, whole bool, over overflow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.taken = true
	body, t.body = t.body, nil
	return body, t.whole, t.over
}

// letGo says that a copy is no longer held.
func (h *held) letGo(body []byte) { h.Add(-int64(len(body))) }
