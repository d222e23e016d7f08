package store

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/ownership"
	"tandem/store/record"
)

// TestO34_JoinsTopUp: a node that comes back with less than it should have gets the
// rest born. What it adopted goes as it becomes empty, so it does not count.
func TestO34_JoinsTopUp(t *testing.T) {
	r := newRegion(t, "a", "b")
	r.claimOn(1, fit("a"), claim(callID(1), pinned, func(c *ownership.Claim) { c.Answered = true }))
	r.must(ownership.Move{At: at(2), Partition: 2, Epoch: 1, To: "b"}) // a stops, and keeps what it must
	r.must(ownership.Join{At: at(3), Node: node("a"), Partitions: 2})
	r.must(ownership.Join{At: at(3), Node: node("a"), Partitions: 2})
	owned := func(id ownership.NodeID) (ids []ownership.PartitionID) {
		for _, p := range r.table.PartitionsOf(id) {
			ids = append(ids, p.ID)
		}
		return ids
	}
	if diff := cmp.Diff([]ownership.PartitionID{1, 5}, owned("a")); diff != "" {
		t.Errorf("a came back (-want +got):\n%s", diff)
	}
	r.must(ownership.Forget{At: at(4), Before: at(3)})
	r.must(ownership.Failover{At: at(5), Node: "a", Fitness: fit("b")})
	r.must(ownership.Failover{At: at(6), Node: "b", Fitness: fit("a")})
	if got := len(owned("a")); got != 4 {
		t.Fatalf("a inherited all, it has %d partitions", got)
	}
	r.must(ownership.Join{At: at(7), Node: node("b"), Partitions: 2})
	r.must(ownership.Join{At: at(7), Node: node("a"), Partitions: 3})
	if a, b := len(owned("a")), len(owned("b")); a != 5 || b != 2 {
		t.Errorf("a has %d partitions, b %d; of a's four two were born on b", a, b)
	}
	r.must(ownership.Forget{At: at(8), Before: at(7)})
	if a, b := len(owned("a")), len(owned("b")); a != 3 || b != 2 {
		t.Errorf("once the adopted ones have gone a has %d partitions, b %d", a, b)
	}
}

// TestO1_Twins: of two processes with the same data only one is the node.
func TestO1_Twins(t *testing.T) {
	r := newRegion(t)
	join := func(process string, ancestors ...string) ownership.Join {
		n := node("a")
		n.Process = process
		return ownership.Join{At: at(1), Node: n, Partitions: 1, Ancestors: ancestors}
	}
	r.must(join("p1"))
	r.must(join("p1"))
	r.must(join("p3", "p0", "p1", "p2")) // p2 never got as far as the table
	r.refused(join("p2", "p0", "p1"), ownership.ErrTwin, "another process with the data of a runs at a.example:7400")
	r.refused(join("p1"), ownership.ErrTwin, "stop this one")
	if n, _ := r.table.Node("a"); n.Process != "p3" {
		t.Errorf("the table knows process %q", n.Process)
	}
	r.join("b")
	r.must(ownership.Depart{At: at(2), Node: "a", Fitness: fit("b")})
	anew := join("q")
	anew.Node.Incarnation = "new"
	r.must(anew)
	r.reopen()
	if n, _ := r.table.Node("a"); n.Process != "q" || !n.GoneAt.IsZero() {
		t.Errorf("after a start the node is %+v", n)
	}
}

// TestO5_AddressesAreHints: two nodes swap addresses, a new one takes a dead one's.
func TestO5_AddressesAreHints(t *testing.T) {
	r := newRegion(t, "a", "b")
	at2 := func(id, addr string) ownership.Join {
		n := node(id)
		n.ClusterAddr = addr
		return ownership.Join{At: at(1), Node: n}
	}
	addr := func(id ownership.NodeID) string { n, _ := r.table.Node(id); return n.ClusterAddr }
	r.must(at2("a", "b.example:7400"))
	if addr("a") != "b.example:7400" || addr("b") != "" {
		t.Errorf("a is at %q, b at %q", addr("a"), addr("b"))
	}
	r.must(at2("b", "a.example:7400"))
	r.must(at2("c", "a.example:7400"))
	r.reopen()
	if addr("a") != "b.example:7400" || addr("b") != "" || addr("c") != "a.example:7400" {
		t.Errorf("a is at %q, b at %q, c at %q", addr("a"), addr("b"), addr("c"))
	}
}

// TestO17_MachinesComeAndGo: eight joins and leaves leave nothing behind once the
// last of their calls is forgotten, and numbers are not used again.
func TestO17_MachinesComeAndGo(t *testing.T) {
	r := newRegion(t, "a")
	for i := range 8 {
		id := fmt.Sprintf("n%d", i)
		r.must(ownership.Join{At: at(i), Node: node(id), Partitions: 8})
		r.claimOn(i, fit(id), claim(callID(i), pinned, func(c *ownership.Claim) { c.Answered = true }))
		r.must(ownership.Depart{At: at(i), Node: ownership.NodeID(id), Fitness: fit("a")})
	}
	for s := 100; s < 120; s += 2 {
		r.must(ownership.Forget{At: at(s), Before: at(s - 1)})
	}
	if n, p := len(r.table.Nodes()), len(r.table.Partitions()); n != 9 || p != 2+8 {
		t.Errorf("while their calls wait in it there are %d nodes and %d partitions, want 9 and 10", n, p)
	}
	for i := range 8 {
		r.must(ownership.TakeUp{At: at(130), Call: callID(i), Epoch: 2})
		r.must(ownership.Release{At: at(131), Call: callID(i), Epoch: 2, Why: "over"})
	}
	for s := 132; s < 140; s += 2 {
		r.must(ownership.Forget{At: at(s), Before: at(s - 1)})
	}
	for range 2 {
		if n, p, c := len(r.table.Nodes()), len(r.table.Partitions()), r.table.Counts().Calls; n != 1 || p != 2 || c != 0 {
			t.Errorf("%d nodes, %d partitions and %d calls are left, want 1, 2 and 0", n, p, c)
		}
		r.reopen()
	}
	again := node("n3")
	again.Incarnation = "new"
	r.must(ownership.Join{At: at(150), Node: again, Partitions: 1})
	if got := r.table.PartitionsOf("n3"); len(got) != 1 || got[0].ID != 2+64+1 {
		t.Errorf("an id that came back owns %+v, want partition 67", got)
	}
}

// A region of an older format notes no times; they count from the first Forget on.
func TestO17_WhatWasGoneBefore(t *testing.T) {
	r := newRig(t)
	r.join("a", "b")
	r.must(ownership.Depart{At: at(1), Node: "b", Fitness: fit("a")})
	r.must(ownership.Forget{At: at(2), Before: at(1)})
	r.must(ownership.SetFormat{At: at(3), Format: record.CommandFormat})
	r.must(ownership.Forget{At: at(4), Before: at(3)})
	if n, p := len(r.table.Nodes()), len(r.table.Partitions()); n != 2 || p != 4 {
		t.Errorf("%d nodes and %d partitions are left, want 2 and 4", n, p)
	}
	r.must(ownership.Forget{At: at(6), Before: at(5)})
	if n, p := len(r.table.Nodes()), len(r.table.Partitions()); n != 1 || p != 2 {
		t.Errorf("%d nodes and %d partitions are left, want 1 and 2", n, p)
	}
}

// TestO38_AnEndedCallIsAKeyAndATime: what it was about stands in the history only.
func TestO38_AnEndedCallIsAKeyAndATime(t *testing.T) {
	r := newRegion(t, "a")
	long := claim(callID(1), func(c *ownership.Claim) { c.Groups = []ownership.GroupKey{"thread:x", "chain:y"} })
	out := r.claimOn(1, fit("a"), long)
	live := len(r.table.dirty.calls[callID(1)])
	r.must(ownership.Release{At: at(5), Call: callID(1), Epoch: 1, Why: "over"})
	placed := out.Placements[0]
	placed.Candidates = nil
	want := ownership.Call{
		ID: callID(1), App: "app-1", Tenant: "tenant-1", Partition: 1, Owner: "a", Epoch: 1, State: ownership.CallEnded,
		ClaimedAt: at(1), EndedAt: at(5), SeenAt: at(1), Via: "emea-1", Placement: placed, Ending: "over",
	}
	if diff := cmp.Diff(want, r.call(callID(1))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if ended := len(r.table.dirty.calls[callID(1)]); ended > 200 || ended > live*2/3 {
		t.Errorf("an ended call takes %d bytes, a live one %d", ended, live)
	}
	if line, err := r.table.Timeline(callID(1)); err != nil || len(line) != 2 || len(line[0].Candidates) != 1 {
		t.Errorf("the timeline is %+v, %v", line, err)
	}
}

// TestForgetCostsWhatIsDue: one act drops so many at most, and those of one second
// all or none, so that every node drops the same ones.
func TestForgetCostsWhatIsDue(t *testing.T) {
	r := newRegion(t)
	big := node("a")
	big.Capacity = 100_000
	r.must(ownership.Join{At: at(0), Node: big, Partitions: 2})
	n := 0
	for s := range 5 {
		var claims []ownership.Claim
		var ends []ownership.Act
		for range 900 {
			n++
			claims = append(claims, claim(callID(n)))
			ends = append(ends, ownership.Release{Call: callID(n), Why: "over"})
		}
		r.claimOn(s, fit("a"), claims...)
		r.must(ownership.Records{At: at(10 + s), Acts: ends})
	}
	for _, want := range []int{4500 - 3*900, 900, 900} {
		r.must(ownership.Forget{At: at(50), Before: at(14)})
		if got := r.table.Counts().Calls; got != want {
			t.Errorf("%d calls are left, want %d", got, want)
		}
		r.reopen()
	}
	if got := len(r.table.st.ended); got != 900 {
		t.Errorf("%d ended calls wait to be forgotten, want 900", got)
	}
}

func TestFoundAndLease(t *testing.T) {
	r := newRegion(t, "a")
	r.refused(ownership.Found{At: at(1)}, ownership.ErrConflict, "needs an identity")
	r.must(ownership.Found{At: at(1), Identity: "i"})
	r.must(ownership.Found{At: at(2), Identity: "i"})
	r.refused(ownership.Found{At: at(2), Identity: "j"}, ownership.ErrConflict, "was founded before")
	r.refused(ownership.SetLease{At: at(3)}, ownership.ErrConflict, "must be positive")
	r.must(ownership.SetLease{At: at(3), Length: 2 * time.Second})
	r.must(ownership.SetLease{At: at(4), Length: 5 * time.Second})
	r.must(ownership.SetLease{At: at(5), Length: 5 * time.Second})
	check := func(when string) {
		t.Helper()
		if now, before := r.table.Lease(); now != 5*time.Second || before != 2*time.Second || r.table.Identity() != "i" {
			t.Errorf("%s leases last %s, before %s, the identity is %q", when, now, before, r.table.Identity())
		}
	}
	check("at once")
	r.reopen()
	check("after a start")
	r.passSnapshot()
	check("after a snapshot")

	old := newRig(t)
	old.refused(ownership.Found{At: at(1), Identity: "i"}, ownership.ErrConflict, "writes command format 1, it needs 3")
}

func TestSumAt(t *testing.T) {
	r := newRegion(t, "a", "b")
	if _, known := r.table.SumAt(0); known {
		t.Error("there is a sum before the first act")
	}
	index := r.table.Applied()
	sum, known := r.table.SumAt(index)
	if text, at := r.table.Hash(); !known || fmt.Sprintf("%016x", sum) != text || at != index {
		t.Errorf("the sum at %d is %016x, %v; the hash is %s at %d", index, sum, known, text, at)
	}
	r.claimOn(1, fit("a"), claim(callID(1)))
	if then, known := r.table.SumAt(index); !known || then != sum {
		t.Errorf("an act later the sum at %d is %016x, %v", index, then, known)
	}
	if _, known := r.table.SumAt(index + 7); known {
		t.Error("there is a sum of an act that is not there yet")
	}
	for i := range sumsKept {
		r.index++
		r.table.apply(r.index, 3, ownership.Seen{At: at(i)})
	}
	if _, known := r.table.SumAt(index); known {
		t.Error("sums are kept for ever")
	}
}

// TestV1_NobodyWaitsForAnAct: what a renewal asks of the table is answered while an
// act holds it.
func TestV1_NobodyWaitsForAnAct(t *testing.T) {
	r := newRegion(t, "a", "b")
	r.must(ownership.Found{At: at(1), Identity: "i"})
	r.claimOn(1, fit("a"), claim(callID(1)))
	r.table.mu.Lock()
	defer r.table.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() {
		n, _ := r.table.Node("a")
		p, _ := r.table.Partition(1)
		_, known := r.table.SumAt(r.table.Applied())
		if n.ID != "a" || p.Owner != "a" || p.Live != 1 || len(r.table.PartitionsOf("a")) != 2 || len(r.table.Nodes()) != 2 || !known ||
			r.table.Live("a") != 1 || r.table.LiveOf("a", "app-1") != 1 || r.table.Format() != record.CommandFormat || r.table.Identity() != "i" {
			t.Error("the table tells something else while an act holds it")
		}
		r.table.Lease()
	})
	wg.Wait()
}
