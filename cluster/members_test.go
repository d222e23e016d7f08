package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"tandem/cluster/leader"
	"tandem/ownership"
)

func TestFiveVotersThenNonVotersAndPromotion(t *testing.T) {
	long(t)
	// Seven nodes on a busy machine: none is to fall silent by being slow.
	r := newRegion(t, func(c *Config) { c.Timings.Lease = 15 * time.Second })
	nodes := r.form(7)
	ldr := leaderOf(t, nodes...)
	voters := func() (n int) { return len(ldr.votersHere()) }
	if voters() != leader.MaxVoters || len(ldr.servers()) != 7 {
		t.Fatalf("%d voters of %d, want 5 of 7", voters(), len(ldr.servers()))
	}
	for _, n := range nodes {
		eventually(t, string(n.id)+", voter or not, acts on the partitions born on it", func() bool {
			ps := n.tb.PartitionsOf(n.id)
			return len(ps) == births && n.HoldsPartition(ps[0].ID, ownership.FirstEpoch)
		})
	}
	for i, n := range nodes {
		claim(t, n, i)
	}
	var leaving *testNode
	for _, n := range without(nodes, ldr) {
		if n.Status().Voter {
			leaving = n
		}
	}
	if err := leaving.Leave(soon(t)); err != nil {
		t.Fatal(err)
	}
	rest := without(nodes, leaving)
	ldr = leaderOf(t, rest...)
	eventually(t, "a non-voter takes the free vote, in raft and in the table", func() bool {
		n := 0
		for _, rec := range ldr.tb.Nodes() {
			if rec.Voter && rec.State != ownership.NodeGone {
				n++
			}
		}
		return n == leader.MaxVoters && len(ldr.votersHere()) == leader.MaxVoters
	})
	rec, _ := ldr.tb.Node(leaving.id)
	if rec.State != ownership.NodeGone || len(ldr.tb.PartitionsOf(leaving.id)) != 0 {
		t.Errorf("the node that left is %+v", rec)
	}
	for _, s := range ldr.servers() {
		if s.ID == raft.ServerID(leaving.id) {
			t.Error("the node that left is still in raft's configuration")
		}
	}
}

func TestADeadVotersVoteGoesToAWellNonVoter(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(6)
	ldr := leaderOf(t, nodes...)
	var dead *testNode
	for _, n := range without(nodes, ldr) {
		if n.Status().Voter {
			dead = n
		}
	}
	dead.cut()
	rest := without(nodes, dead)
	eventually(t, "the dead voter lost its vote to the non-voter", func() bool {
		l := leaderOf(t, rest...)
		for _, p := range l.Peers() {
			if p.Voter == (p.ID == dead.id) {
				return false
			}
		}
		return len(l.Peers()) == 6
	})
}

func TestRemoveWaitsForTheLeaseAndEndsTheNode(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	var ldr, n *testNode
	var theirs []ownership.Partition
	eventually(t, "a node that does not lead is removed", func() bool {
		ldr = leaderOf(t, nodes...)
		others := without(nodes, ldr)
		n = others[0]
		theirs = n.tb.PartitionsOf(n.id)
		err := others[1].Remove(soon(t), n.id)
		if err != nil && leaderOf(t, nodes...) == ldr {
			t.Fatal(err)
		}
		return err == nil // else the lead has changed meanwhile
	})
	for _, p := range theirs {
		if n.HoldsPartition(p.ID, p.Epoch) {
			t.Errorf("I5: the removed node still acts on partition %s", p.ID)
		}
	}
	eventually(t, "the removed node is told to end", func() bool { return len(n.fatals()) == 1 })
	if !errors.Is(n.fatals()[0], ownership.ErrGone) {
		t.Errorf("it was told %v", n.fatals()[0])
	}
	if err := ldr.Remove(soon(t), "nobody"); !errors.Is(err, ownership.ErrUnknown) {
		t.Errorf("removing nobody gave %v", err)
	}
	for _, p := range theirs {
		eventually(t, "its partitions are at the next epoch", func() bool {
			rec, ok := ldr.tb.Partition(p.ID)
			return ok && (rec.Epoch == p.Epoch+1 || rec.Retired)
		})
	}
	// The incarnation does not come back.
	n.restart()
	eventually(t, "the removed incarnation is refused", func() bool { return len(n.fatals()) == 2 })
}

// TestThePartitionsOfAGoneNodeFindAnOwner: a node is removed at a moment when
// nobody is fit to inherit. As soon as somebody is, its partitions have an owner
// again: a gone node never comes back for them.
func TestThePartitionsOfAGoneNodeFindAnOwner(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	lead := leaderOf(t, nodes...)
	rest := without(nodes, lead)
	gone, other := rest[0], rest[1]
	sicken := func(sick bool) {
		for _, n := range []*testNode{lead, other} {
			n.mu.Lock()
			n.sick = sick
			n.mu.Unlock()
		}
		eventually(t, "the leader knows how the bots are", func() bool {
			l := lead.leading.Load()
			if l == nil {
				return false
			}
			fit := l.Leases.Fitness(time.Now())
			return fit[lead.id].Bot != sick && fit[other.id].Bot != sick
		})
	}
	sicken(true)
	if err := lead.Remove(soon(t), gone.id); err != nil {
		t.Fatal(err)
	}
	if n := len(lead.tb.PartitionsOf(gone.id)); n == 0 {
		t.Fatal("somebody inherited, so the test shows nothing")
	}
	sicken(false)
	eventually(t, "owners for the partitions of the gone node", func() bool { return len(lead.tb.PartitionsOf(gone.id)) == 0 })
}

func TestTheLastVoterCannotLeave(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	n := r.form(1)[0]
	if err := n.Leave(soon(t)); !errors.Is(err, ownership.ErrConflict) {
		t.Errorf("the last voter left with %v", err)
	}
	if err := n.Remove(soon(t), n.id); !errors.Is(err, ownership.ErrConflict) {
		t.Errorf("the last voter was removed with %v", err)
	}
	claim(t, n, 1)
}

// TestALeaderThatCannotHandOnStays: its leave has failed, and it is an owner as before.
func TestALeaderThatCannotHandOnStays(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	ldr.Cluster.deps.Memory = func(ownership.PartitionID) []byte { cancel(); return nil } // all but the hand-on is done by then
	if err := ldr.Leave(ctx); err == nil {
		t.Fatal("it has left without handing on the lead")
	}
	for _, n := range nodes {
		n.ready()
	}
	eventually(t, "it acts", func() bool {
		mine := ldr.tb.PartitionsOf(ldr.id)
		return len(mine) > 0 && ldr.HoldsPartition(mine[0].ID, mine[0].Epoch)
	})
	if n, _ := ldr.tb.Node(ldr.id); n.State != ownership.NodeActive {
		t.Errorf("the node that stays is %s", n.State)
	}
}

func TestTheLeaderCanLeave(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	if err := ldr.Leave(soon(t)); err != nil {
		t.Fatal(err)
	}
	rest := without(nodes, ldr)
	leaderOf(t, rest...)
	claim(t, rest[0], 1)
	if got := len(rest[0].votersHere()); got != 2 {
		t.Errorf("%d voters after the leader left, want 2", got)
	}
}

// TestANodeThatLeavesRestsFirst: the table hears what the node did of each of its
// partitions, after the node has stopped and before others get them.
func TestANodeThatLeavesRestsFirst(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	n := without(nodes, ldr)[0]
	theirs := n.tb.PartitionsOf(n.id)
	var rested atomic.Int32
	n.mu.Lock()
	n.rest = func(id ownership.PartitionID) {
		rested.Add(1)
		if p, _ := ldr.tb.Partition(id); p.Owner != n.id || n.HoldsPartition(p.ID, p.Epoch) {
			t.Errorf("partition %s rests while its owner is %s, and acts: %v", id, p.Owner, n.HoldsPartition(p.ID, p.Epoch))
		}
	}
	n.mu.Unlock()
	if err := n.Leave(soon(t)); err != nil {
		t.Fatal(err)
	}
	if got := int(rested.Load()); got != len(theirs) {
		t.Errorf("%d of its %d partitions rested", got, len(theirs))
	}
}

func TestTransferLeaderFromAnyNode(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	for range 2 {
		ldr := leaderOf(t, nodes...)
		for _, to := range without(nodes, ldr) {
			asked := without(without(nodes, to), ldr)[0]
			if err := asked.TransferLeader(soon(t), to.id); err != nil {
				t.Fatalf("handing the lead from %s to %s through %s: %v", ldr.id, to.id, asked.id, err)
			}
			eventually(t, "the chosen node leads", func() bool { return leaderOf(t, nodes...) == to })
			break
		}
	}
	for _, n := range nodes {
		ldr := leaderOf(t, nodes...)
		if err := n.TransferLeader(soon(t), ""); err != nil {
			t.Fatalf("handing the lead on from %s through %s: %v", ldr.id, n.id, err)
		}
		if id, _, ok := n.Leader(); !ok || id == ldr.id {
			t.Errorf("after handing it on the leader is %s, %v, was %s", id, ok, ldr.id)
		}
	}
	if err := nodes[0].TransferLeader(soon(t), "nobody"); !errors.Is(err, ownership.ErrUnknown) {
		t.Errorf("handing the lead to nobody gave %v", err)
	}
}

func TestF27_JoinStormIsSerialised(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	first := r.start("a")
	first.ready()
	var all []*testNode
	all = append(all, first)
	for i := range 4 { // at the same time
		all = append(all, r.start(ownership.NodeID(fmt.Sprintf("n%d", i))))
	}
	for _, n := range all {
		n.ready()
	}
	eventually(t, "all five vote", func() bool { return len(leaderOf(t, all...).votersHere()) == 5 })
	if ldr := leaderOf(t, all...); len(ldr.tb.Partitions()) != 5*births {
		t.Errorf("%d voters and %d partitions after five joins, want 5 and 40", len(ldr.votersHere()), len(ldr.tb.Partitions()))
	}
	converge(t, all)
}

func TestStopIsCleanAndKeepsTheNode(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	rest := without(nodes, ldr)
	term := ldr.raft.CurrentTerm()
	ldr.stop()
	// The lead was handed on, so nobody had to time out first.
	next := leaderOf(t, rest...)
	if got := next.raft.CurrentTerm(); got != term+1 {
		t.Errorf("after a clean stop the term went from %d to %d, want one election", term, got)
	}
	if rec, ok := next.tb.Node(ldr.id); !ok || rec.State != ownership.NodeActive {
		t.Errorf("a stopped node is %+v", rec)
	}
	if _, err := ldr.Claim(soon(t), claimOf(5)); !errors.Is(err, ErrStopped) {
		t.Errorf("a claim on a stopped node gave %v", err)
	}
	ldr.restart()
	ldr.ready()
	claim(t, ldr, 6)
}
