package cluster

import (
	"sync"
	"sync/atomic"
	"time"

	"tandem/ownership"
)

// lease is this node's right to act as an owner.
//
// It counts from the moment a renewal was sent, on the monotonic clock, so that
// it is over here before the leader, which counts from the moment the renewal
// came in, believes it over. What the leader said of this node's partitions
// comes with it: a node whose table lags behind stops acting on the first proof
// that it lost one.
type lease struct {
	length  time.Duration
	granted atomic.Pointer[grant]
	dropped atomic.Bool // for good: the node leaves, stops, or its disk stalls

	mu      sync.Mutex
	yielded atomic.Pointer[map[ownership.PartitionID]ownership.Epoch] // partitions being moved away
}

// grant is one renewal's answer.
type grant struct {
	until    time.Time
	term     uint64
	applied  uint64 // the leader's table index that holdings are as new as
	holdings map[ownership.PartitionID]ownership.Epoch
}

// renew takes the answer to a renewal that was sent at the time sent. Answers of
// an older term, or that came late, do not shorten a lease.
func (l *lease) renew(sent time.Time, g grant) {
	g.until = sent.Add(l.length)
	for {
		old := l.granted.Load()
		if old != nil && (g.term < old.term || g.until.Before(old.until)) {
			return
		}
		if l.granted.CompareAndSwap(old, &g) {
			return
		}
	}
}

// valid reports whether the node may act at all.
func (l *lease) valid(now time.Time) bool {
	g := l.granted.Load()
	return g != nil && !l.dropped.Load() && now.Before(g.until)
}

// until gives the end of the lease; zero when there was none or it was dropped.
func (l *lease) until() time.Time {
	g := l.granted.Load()
	if g == nil || l.dropped.Load() {
		return time.Time{}
	}
	return g.until
}

// holds reports whether the node may act as owner of the partition at the
// epoch, which its own table, at the index applied, says is its own.
func (l *lease) holds(p ownership.PartitionID, e ownership.Epoch, applied uint64, now time.Time) bool {
	if !l.valid(now) {
		return false
	}
	if y := l.yielded.Load(); y != nil {
		if at, ok := (*y)[p]; ok && at >= e {
			return false
		}
	}
	g := l.granted.Load()
	return applied >= g.applied || g.holdings[p] == e
}

// drop ends the lease for good.
func (l *lease) drop() { l.dropped.Store(true) }

// yield stops this node acting on the partition at that epoch; take lets it act
// again when the move came to nothing.
func (l *lease) yield(p ownership.PartitionID, e ownership.Epoch) {
	l.change(func(m map[ownership.PartitionID]ownership.Epoch) { m[p] = e })
}

func (l *lease) take(p ownership.PartitionID) {
	l.change(func(m map[ownership.PartitionID]ownership.Epoch) { delete(m, p) })
}

func (l *lease) change(f func(map[ownership.PartitionID]ownership.Epoch)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := make(map[ownership.PartitionID]ownership.Epoch)
	if old := l.yielded.Load(); old != nil {
		for p, e := range *old {
			next[p] = e
		}
	}
	f(next)
	l.yielded.Store(&next)
}
