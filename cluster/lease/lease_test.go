package lease

import (
	"testing"
	"time"
)

// After a break of its lease a node may have lost anything. A new grant counts
// only when its table holds what the leader's did.
func TestF32_ANodeWhoseTableLagsActsOnNothingAfterABreak(t *testing.T) {
	var l Lease
	now := time.Now()
	at := func(d time.Duration) time.Time { return now.Add(d) }
	give := func(sent, came time.Duration, applied uint64) bool {
		return l.Renew(at(sent), at(came), Grant{Length: time.Second, Term: 2, Applied: applied})
	}
	if !give(0, 0, 10) {
		t.Error("the first lease of a process is no break")
	}
	if l.Holds(1, 1, 9, now) || !l.Holds(1, 1, 10, now) {
		t.Error("the first lease must count from the leader's index on")
	}
	if give(500*time.Millisecond, 600*time.Millisecond, 20) {
		t.Error("a lease that is renewed in time has a break")
	}
	if !l.Holds(1, 1, 10, at(time.Second)) || l.Holds(1, 1, 10, at(1500*time.Millisecond)) {
		t.Error("a lease without a break counts from its first index on, until its end")
	}
	// The answer was under way while the process stood still: the lease ran out
	// before it came in, though it was asked for in time.
	if !give(1400*time.Millisecond, 1600*time.Millisecond, 30) {
		t.Error("an answer that came after the lease's end is no break")
	}
	if l.Holds(1, 1, 29, at(1700*time.Millisecond)) || !l.Holds(1, 1, 30, at(1700*time.Millisecond)) {
		t.Error("after a break the lease must count from the leader's index on")
	}
	give(1300*time.Millisecond, 1700*time.Millisecond, 40)
	l.Renew(at(time.Minute), at(time.Minute), Grant{Length: time.Second, Term: 1, Applied: 9})
	if g := l.granted.Load(); g.Applied != 30 {
		t.Errorf("a late answer or one of an older term replaced the lease: %+v", g)
	}
}

func TestALeaseLastsAsLongAsItsGrantSays(t *testing.T) {
	var l Lease
	now := time.Now()
	l.Renew(now, now, Grant{Length: 4 * time.Second, Term: 1})
	if !l.Valid(now.Add(3999*time.Millisecond)) || l.Valid(now.Add(4*time.Second)) {
		t.Error("a grant of 4 s lasts for another time")
	}
}

func TestAYieldedPartitionIsNotHeld(t *testing.T) {
	var l Lease
	now := time.Now()
	l.Renew(now, now, Grant{Length: time.Second, Term: 2, Applied: 10})
	if !l.Yield(1, 1) || l.Yield(1, 1) {
		t.Error("one of two may hand it over, the first")
	}
	if l.Holds(1, 1, 10, now) || !l.Holds(1, 2, 10, now) {
		t.Error("a yielded partition is held, or a later epoch of it is not")
	}
	l.Take(1)
	if !l.Holds(1, 1, 10, now) {
		t.Error("a partition taken back is not held")
	}
	if !l.Yield(1, 1) || !l.Yield(1, 3) {
		t.Error("it cannot be handed over again, or not at a later epoch")
	}
	l.Drop()
	if l.Holds(1, 1, 10, now) || !l.Until().IsZero() {
		t.Error("a dropped lease still holds")
	}
}

// What is reserved for a node in another's partition it may act on when the leader
// has confirmed it in this very
func TestAReservedCallIsHeldOnTheLeadersWord(t *testing.T) {
	var l Lease
	now := time.Now()
	at := func(d time.Duration) time.Time { return now.Add(d) }
	g := func(h ...Holding) Grant {
		g := Grant{Length: time.Second, Term: 2, Applied: 10, Holdings: make(map[Holding]bool)}
		for _, one := range h {
			g.Holdings[one] = true
		}
		return g
	}
	l.Renew(now, now, g(Holding{Partition: 1, Epoch: 3}))
	if !l.HoldsReserved(1, 3, 10, now) || l.HoldsReserved(1, 3, 9, now) || l.HoldsReserved(1, 4, 10, now) || l.HoldsReserved(2, 3, 10, now) {
		t.Error("it is held without the leader's word, or not held with it")
	}
	l.Renew(at(500*time.Millisecond), at(500*time.Millisecond), g())
	if !l.HoldsReserved(1, 3, 10, at(time.Second)) {
		t.Error("what was confirmed within the same lease is lost")
	}
	l.Renew(at(2*time.Second), at(2*time.Second), g())
	if l.HoldsReserved(1, 3, 10, at(2*time.Second)) {
		t.Error("it is held on the word of before a break")
	}
}

// TestALeaseThatIsKeptAfterAll: a node that could not leave goes on.
func TestALeaseThatIsKeptAfterAll(t *testing.T) {
	var l Lease
	now := time.Now()
	l.Renew(now, now, Grant{Length: time.Second, Term: 2, Applied: 10})
	l.Drop()
	if _, runs := l.Floor(now); runs || !l.Dropped() {
		t.Error("a dropped lease runs")
	}
	l.Keep()
	if floor, runs := l.Floor(now); !runs || floor != 10 || l.Dropped() {
		t.Errorf("a lease that is kept runs: %t, from %d", runs, floor)
	}
}
