// Package batch puts work that arrives while earlier work is under way into one
// batch, for raft entries and for requests to the leader.
package batch

import (
	"context"
	"fmt"
	"sync"
)

// Limits are those of a Combiner.
type Limits struct {
	Width  int   // so many sends run at the same time
	Size   int   // a batch has at most so many items
	Most   int   // so many items may wait; 0: any number
	Full   error // for the others
	Closed error // for items that come after Close
}

// Combiner puts work that arrives while earlier work is under way into one
// batch. An item that finds nothing under way is sent at once: combining adds
// no delay, it only uses the time that others spend waiting.
type Combiner[T, R any] struct {
	limits Limits
	send   func([]T) []Result[R]

	mu      sync.Mutex
	waiting []pending[T, R]
	sending int
	closed  bool
	idle    chan struct{} // closed when nothing is sent any more, after Close
}

// Result is what became of one item.
type Result[R any] struct {
	Val R
	Err error
}

type pending[T, R any] struct {
	item T
	out  chan Result[R]
}

// New returns a combiner. send gets a batch of at least one item and fills in the
// results, which run parallel to the items.
func New[T, R any](limits Limits, send func([]T) []Result[R]) *Combiner[T, R] {
	return &Combiner[T, R]{limits: limits, send: send, idle: make(chan struct{})}
}

// Do hands in one item and waits for its result. When ctx ends first the item
// may still be sent; only its result is dropped.
func (c *Combiner[T, R]) Do(ctx context.Context, item T) (R, error) {
	select {
	case r := <-c.All([]T{item})[0]:
		return r.Val, r.Err
	case <-ctx.Done():
		var none R
		return none, ctx.Err()
	}
}

// All hands in items that came together and returns where each result will be.
func (c *Combiner[T, R]) All(items []T) []<-chan Result[R] {
	outs := make([]<-chan Result[R], len(items))
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, item := range items {
		out := make(chan Result[R], 1)
		outs[i] = out
		if c.closed {
			out <- Result[R]{Err: c.limits.Closed}
			continue
		}
		if c.limits.Most > 0 && len(c.waiting) >= c.limits.Most {
			out <- Result[R]{Err: fmt.Errorf("%d others are waiting for the leader: %w", len(c.waiting), c.limits.Full)}
			continue
		}
		c.waiting = append(c.waiting, pending[T, R]{item, out})
	}
	if len(c.waiting) > 0 && c.sending < c.limits.Width {
		c.sending++
		go c.drain()
	}
	return outs
}

func (c *Combiner[T, R]) drain() {
	for {
		c.mu.Lock()
		n := min(len(c.waiting), c.limits.Size)
		if n == 0 {
			c.waiting = nil
			if c.sending--; c.sending == 0 && c.closed {
				close(c.idle)
			}
			c.mu.Unlock()
			return
		}
		batch := c.waiting[:n:n]
		c.waiting = c.waiting[n:]
		c.mu.Unlock()

		items := make([]T, n)
		for i, p := range batch {
			items[i] = p.item
		}
		for i, r := range c.send(items) {
			batch[i].out <- r
		}
	}
}

// Close refuses further items, and returns when nothing is sent
// any more. It is called once.
func (c *Combiner[T, R]) Close() {
	c.mu.Lock()
	c.closed = true
	if c.sending == 0 {
		close(c.idle)
	}
	c.mu.Unlock()
	<-c.idle
}

// FailAll returns results that give every item of a batch the same error.
func FailAll[R any](n int, err error) []Result[R] {
	out := make([]Result[R], n)
	for i := range out {
		out[i].Err = err
	}
	return out
}
