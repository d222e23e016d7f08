package graphsim

import (
	"context"
	"sync"
)

// tasks counts the goroutines of the cloud, so that Close waits for all and
// Settle for the calls. Unlike a WaitGroup, it may be waited on while new ones
// start.
type tasks struct {
	mu      sync.Mutex
	running int
	closed  bool
	idle    []chan struct{} // closed when nothing runs beyond the level
	level   []int
}

// run starts f, unless the cloud is closing; then it reports false.
func (t *tasks) run(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.running++
	go func() {
		defer t.finish()
		f()
	}()
	return true
}

func (t *tasks) finish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running--
	for i := len(t.idle) - 1; i >= 0; i-- {
		if t.running <= t.level[i] {
			close(t.idle[i])
			t.idle = append(t.idle[:i], t.idle[i+1:]...)
			t.level = append(t.level[:i], t.level[i+1:]...)
		}
	}
}

// count tells how many run.
func (t *tasks) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.running
}

// settle waits until at most level goroutines run.
func (t *tasks) settle(ctx context.Context, level int) error {
	t.mu.Lock()
	if t.running <= level {
		t.mu.Unlock()
		return nil
	}
	ch := make(chan struct{})
	t.idle, t.level = append(t.idle, ch), append(t.level, level)
	t.mu.Unlock()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *tasks) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	_ = t.settle(context.Background(), 0) // that context has no end, so neither an error
}
