package cluster

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"tandem/ownership"
)

// lease is this node's right to act as an owner.
//
// It counts from the moment a renewal was sent, on the monotonic clock, so that
// it is over here before the leader, which counts from the moment the renewal
// came in, believes it over. How long it lasts the leader says with each grant,
// and books the same.
//
// Within an unbroken lease nobody else can have taken anything from this node, so
// its own table is right about what is its own. After a break others may have: a
// new grant counts only once the own table holds what the leader's held when it
// gave it (the floor).
type lease struct {
	granted atomic.Pointer[grant]
	dropped atomic.Bool // for good: the node leaves, stops, or its disk stalls

	mu      sync.Mutex
	yielded atomic.Pointer[map[ownership.PartitionID]ownership.Epoch] // partitions being moved away
}

// grant is one renewal's answer.
type grant struct {
	length   time.Duration // that it lasts
	until    time.Time
	term     uint64
	applied  uint64 // the leader's table index that holdings are as new as
	floor    uint64 // nothing counts before the own table has reached it
	holdings map[holding]bool
}

// holding is a partition at an epoch at which a node may act for its calls.
type holding struct {
	partition ownership.PartitionID
	epoch     ownership.Epoch
}

// renew takes the answer to a renewal that was sent at the time sent and came in
// at the time now. Answers of an older term, or that came late, do not shorten a
// lease. It reports whether there was a break before it.
func (l *lease) renew(sent, now time.Time, g grant) (broken bool) {
	g.until = sent.Add(g.length)
	for {
		old := l.granted.Load()
		if old != nil && (g.term < old.term || g.until.Before(old.until)) {
			return false
		}
		next := g
		// By the time of its arrival: an answer that was under way while the lease ran
		// out, or while this process stood still, tells nothing of the time between.
		broken = old == nil || !now.Before(old.until)
		if broken {
			next.floor = g.applied
		} else {
			next.floor = old.floor
			next.holdings = union(old.holdings, g.holdings)
		}
		if l.granted.CompareAndSwap(old, &next) {
			return broken
		}
	}
}

// union carries on what the leader confirmed within the same lease: as long as it
// is unbroken nobody else can have got it.
func union(a, b map[holding]bool) map[holding]bool {
	out := maps.Clone(b)
	if out == nil {
		out = make(map[holding]bool, len(a))
	}
	maps.Copy(out, a)
	return out
}

// valid reports whether the lease runs. It may count only later, see acts.
func (l *lease) valid(now time.Time) bool { return l.running(now) != nil }

// running gives the grant in force; nil: there is none.
func (l *lease) running(now time.Time) *grant {
	g := l.granted.Load()
	if g == nil || l.dropped.Load() || !now.Before(g.until) {
		return nil
	}
	return g
}

// acts reports whether the node, whose table is at the index applied, may act at
// all.
func (l *lease) acts(applied uint64, now time.Time) bool {
	g := l.running(now)
	return g != nil && applied >= g.floor
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
	if y := l.yielded.Load(); y != nil {
		if at, ok := (*y)[p]; ok && at >= e {
			return false
		}
	}
	return l.acts(applied, now)
}

// holdsReserved reports whether the node may act for calls that are reserved for
// it in a partition of another owner. Its table saying so is not enough: what it
// reclaimed the other may not have heard of yet. The leader confirms it when the
// other has.
func (l *lease) holdsReserved(p ownership.PartitionID, e ownership.Epoch, applied uint64, now time.Time) bool {
	g := l.running(now)
	return g != nil && applied >= g.floor && g.holdings[holding{p, e}]
}

// drop ends the lease for good.
func (l *lease) drop() { l.dropped.Store(true) }

// yield stops this node acting on the partition at that epoch; take lets it act
// again when the move came to nothing. False: it has been yielded at that epoch
// already, and whoever did that decides when it is taken back.
func (l *lease) yield(p ownership.PartitionID, e ownership.Epoch) (first bool) {
	l.change(func(m map[ownership.PartitionID]ownership.Epoch) {
		if first = m[p] < e; first {
			m[p] = e
		}
	})
	return first
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
