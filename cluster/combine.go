package cluster

import (
	"context"
	"fmt"
	"sync"
)

// combiner puts work that arrives while earlier work is under way into one
// batch. An item that finds nothing under way is sent at once: combining adds
// no delay, it only uses the time that others spend waiting.
//
// send gets a batch of at least one item and at most the limit, and must fill
// in the results, which run parallel to the items. Up to width sends run at the
// same time. With most set, more items than that do not wait: they are refused with
// ErrBusy.
type combiner[T, R any] struct {
	limit int
	width int
	most  int
	send  func([]T) []result[R]

	mu      sync.Mutex
	waiting []pending[T, R]
	sending int
	closed  bool
	idle    chan struct{} // closed when nothing is sent any more, after close
}

type result[R any] struct {
	val R
	err error
}

type pending[T, R any] struct {
	item T
	out  chan result[R]
}

func newCombiner[T, R any](width, limit int, send func([]T) []result[R]) *combiner[T, R] {
	return &combiner[T, R]{limit: limit, width: width, send: send, idle: make(chan struct{})}
}

// do hands in one item and waits for its result. When ctx ends first the item
// may still be sent; only its result is dropped.
func (c *combiner[T, R]) do(ctx context.Context, item T) (R, error) {
	select {
	case r := <-c.all([]T{item})[0]:
		return r.val, r.err
	case <-ctx.Done():
		var none R
		return none, ctx.Err()
	}
}

// all hands in items that came together and gives where each result will be.
func (c *combiner[T, R]) all(items []T) []<-chan result[R] {
	outs := make([]<-chan result[R], len(items))
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, item := range items {
		out := make(chan result[R], 1)
		outs[i] = out
		if c.closed {
			out <- result[R]{err: ErrStopped}
			continue
		}
		if c.most > 0 && len(c.waiting) >= c.most {
			out <- result[R]{err: fmt.Errorf("%d others are waiting for the leader: %w", len(c.waiting), ErrBusy)}
			continue
		}
		c.waiting = append(c.waiting, pending[T, R]{item, out})
	}
	if len(c.waiting) > 0 && c.sending < c.width {
		c.sending++
		go c.drain()
	}
	return outs
}

// drain sends batches until nothing waits.
func (c *combiner[T, R]) drain() {
	for {
		c.mu.Lock()
		n := min(len(c.waiting), c.limit)
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

// close refuses further items with ErrStopped, and returns when nothing is sent
// any more. It is called once.
func (c *combiner[T, R]) close() {
	c.mu.Lock()
	c.closed = true
	if c.sending == 0 {
		close(c.idle)
	}
	c.mu.Unlock()
	<-c.idle
}

// failAll gives every item of a batch the same error.
func failAll[R any](n int, err error) []result[R] {
	out := make([]result[R], n)
	for i := range out {
		out[i].err = err
	}
	return out
}
