package graphsim

import (
	"context"
	"sync"
	"time"
)

// Happening is one thing that the cloud or a bot saw, for a live view.
type Happening struct {
	At   time.Time
	Call string // normalised id
	From string // data centre, node or bot
	To   string
	What string // a few words, such as "302 node" or "answered in 12 ms"
}

// watchers hands happenings to all who watch. A slow watcher misses some: the
// cloud never waits for it.
type watchers struct {
	mu     sync.Mutex
	closed bool
	chans  map[chan Happening]struct{}
}

// Watch returns the happenings from now on, until ctx ends or the cloud closes.
func (c *Cloud) Watch(ctx context.Context) <-chan Happening {
	w := &c.watchers
	ch := make(chan Happening, 256)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		close(ch)
		return ch
	}
	if w.chans == nil {
		w.chans = map[chan Happening]struct{}{}
	}
	w.chans[ch] = struct{}{}
	context.AfterFunc(ctx, func() { w.drop(ch) })
	return ch
}

func (w *watchers) drop(ch chan Happening) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.chans[ch]; ok {
		delete(w.chans, ch)
		close(ch)
	}
}

func (w *watchers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for ch := range w.chans {
		delete(w.chans, ch)
		close(ch)
	}
}

func (w *watchers) tell(call, from, to, what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.chans {
		select {
		case ch <- Happening{At: time.Now(), Call: call, From: from, To: to, What: what}:
		default:
		}
	}
}
