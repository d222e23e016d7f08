package bot

import (
	"context"
	"fmt"
	"sync"

	"tandem/ownership"
)

// effects counts what is under way at bots, at Graph and on its way to the table,
// by partition, so that a planned move can wait for it. An effect begins before it asks whether this node
// may act: whatever began after the answer became no has no effect.
type effects struct {
	mu    sync.Mutex
	count map[ownership.PartitionID]int
	rests map[ownership.PartitionID]chan struct{} // closed when the count falls to 0
}

// begin counts one effect; the function that it gives ends it.
func (f *effects) begin(p ownership.PartitionID) (end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count == nil {
		f.count, f.rests = map[ownership.PartitionID]int{}, map[ownership.PartitionID]chan struct{}{}
	}
	f.count[p]++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.count[p]--; f.count[p] > 0 {
			return
		}
		delete(f.count, p)
		if ch := f.rests[p]; ch != nil {
			close(ch)
			delete(f.rests, p)
		}
	}
}

// resting returns a channel that is closed when nothing is under way any more; nil:
// nothing is.
func (f *effects) resting(p ownership.PartitionID) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count[p] == 0 {
		return nil
	}
	if f.rests[p] == nil {
		f.rests[p] = make(chan struct{})
	}
	return f.rests[p]
}

// Quiesce waits until no hand-over and no Graph action of the partition is under
// way, and until the table has heard what became of them. Ask when this node has
// stopped acting on it: more would come otherwise.
func (d *Dispatcher) Quiesce(ctx context.Context, p ownership.PartitionID) error {
	rests := d.effects.resting(p)
	if rests == nil {
		return nil
	}
	select {
	case <-rests:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for what is under way in partition %s: %w", p, context.Cause(ctx))
	}
}
