// Package lease is the right of a node to act as an owner: the node's own end of it
// (Lease) and the leader's (Table). Nothing here reads a clock or starts a
// goroutine.
package lease

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"tandem/ownership"
)

// Lease is this node's right to act as an owner.
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
type Lease struct {
	granted atomic.Pointer[Grant]
	dropped atomic.Bool // the node leaves, stops, or its disk stalls
	resting atomic.Bool // the node acts no more, and goes on renewing

	mu      sync.Mutex
	yielded atomic.Pointer[map[ownership.PartitionID]ownership.Epoch] // partitions being moved away
}

// Grant is one renewal's answer.
type Grant struct {
	Length   time.Duration // that it lasts
	until    time.Time
	Term     uint64
	Applied  uint64 // the leader's table index that holdings are as new as
	floor    uint64 // nothing counts before the own table has reached it
	Holdings map[Holding]bool
	Region   ownership.RegionFitness // zero: of older software
}

// Holding is a partition at an epoch at which a node may act for its calls.
type Holding struct {
	Partition ownership.PartitionID
	Epoch     ownership.Epoch
}

// Renew takes the answer to a renewal that was sent at the time sent and came in
// at the time now. Answers of an older term, or that came late, do not shorten a
// lease. It reports whether there was a break before it.
func (l *Lease) Renew(sent, now time.Time, g Grant) (broken bool) {
	g.until = sent.Add(g.Length)
	for {
		old := l.granted.Load()
		if old != nil && (g.Term < old.Term || g.until.Before(old.until)) {
			return false
		}
		next := g
		// By the time of its arrival: an answer that was under way while the lease ran
		// out, or while this process stood still, tells nothing of the time between.
		broken = old == nil || !now.Before(old.until)
		if broken {
			next.floor = g.Applied
		} else {
			next.floor = old.floor
			next.Holdings = union(old.Holdings, g.Holdings)
		}
		if l.granted.CompareAndSwap(old, &next) {
			return broken
		}
	}
}

// union carries on what the leader confirmed within the same lease: as long as it
// is unbroken nobody else can have got it.
func union(a, b map[Holding]bool) map[Holding]bool {
	out := maps.Clone(b)
	if out == nil {
		out = make(map[Holding]bool, len(a))
	}
	maps.Copy(out, a)
	return out
}

// Valid reports whether the lease runs. It may count only later, see Acts.
func (l *Lease) Valid(now time.Time) bool { return l.running(now) != nil }

// running returns the grant in force; nil: there is none.
func (l *Lease) running(now time.Time) *Grant {
	g := l.granted.Load()
	if g == nil || l.dropped.Load() || l.resting.Load() || !now.Before(g.until) {
		return nil
	}
	return g
}

// Acts reports whether the node, whose table is at the index applied, may act at
// all.
func (l *Lease) Acts(applied uint64, now time.Time) bool {
	g := l.running(now)
	return g != nil && applied >= g.floor
}

// Until returns the end of the lease; zero when there was none, it rests or was dropped.
func (l *Lease) Until() time.Time {
	g := l.granted.Load()
	if g == nil || l.dropped.Load() || l.resting.Load() {
		return time.Time{}
	}
	return g.until
}

// Holds reports whether the node may act as owner of the partition at the
// epoch, which its own table, at the index applied, says is its own.
func (l *Lease) Holds(p ownership.PartitionID, e ownership.Epoch, applied uint64, now time.Time) bool {
	if y := l.yielded.Load(); y != nil {
		if at, ok := (*y)[p]; ok && at >= e {
			return false
		}
	}
	return l.Acts(applied, now)
}

// HoldsReserved reports whether the node may act for calls that are reserved for
// it in a partition of another owner. Its table saying so is not enough: what it
// reclaimed the other may not have heard of yet. The leader confirms it when the
// other has.
func (l *Lease) HoldsReserved(p ownership.PartitionID, e ownership.Epoch, applied uint64, now time.Time) bool {
	g := l.running(now)
	return g != nil && applied >= g.floor && g.Holdings[Holding{p, e}]
}

// Rest stops this node acting, and lets it renew: nobody takes it for dead and inherits before
// it has told others what it did.
func (l *Lease) Rest() { l.resting.Store(true) }

// Drop ends the lease until it is kept after all.
func (l *Lease) Drop() { l.dropped.Store(true) }

// Keep takes Rest and Drop back: the node stays.
func (l *Lease) Keep() {
	l.dropped.Store(false)
	l.resting.Store(false)
}

// Dropped reports whether this node has given its lease up.
func (l *Lease) Dropped() bool { return l.dropped.Load() }

// Floor is the index that the own table must have reached before the lease counts. ok
// is false when none runs.
func (l *Lease) Floor(now time.Time) (index uint64, ok bool) {
	g := l.running(now)
	if g == nil {
		return 0, false
	}
	return g.floor, true
}

// Yield stops this node acting on the partition at that epoch; Take lets it act
// again when the move came to nothing. False: it has been yielded at that epoch
// already, and whoever did that decides when it is taken back.
func (l *Lease) Yield(p ownership.PartitionID, e ownership.Epoch) (first bool) {
	l.change(func(m map[ownership.PartitionID]ownership.Epoch) {
		if first = m[p] < e; first {
			m[p] = e
		}
	})
	return first
}

// Take lets this node act on a yielded partition again.
func (l *Lease) Take(p ownership.PartitionID) {
	l.change(func(m map[ownership.PartitionID]ownership.Epoch) { delete(m, p) })
}

func (l *Lease) change(f func(map[ownership.PartitionID]ownership.Epoch)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := make(map[ownership.PartitionID]ownership.Epoch)
	if old := l.yielded.Load(); old != nil {
		maps.Copy(next, *old)
	}
	f(next)
	l.yielded.Store(&next)
}
