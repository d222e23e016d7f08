package cluster

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tandem/cluster/leader"
	"tandem/ownership"
	"tandem/store"
)

// claimOn claims a call for a node.
func claimOn(t *testing.T, n *testNode, i int, shape func(*ownership.Claim)) ownership.Placement {
	t.Helper()
	cl := claimOf(i)
	cl.Pin = ownership.Pin{Node: n.id}
	shape(&cl)
	p, err := n.Claim(soon(t), cl)
	if err != nil || p.Owner != n.id {
		t.Fatalf("call %d went to %s (%v), want %s", i, p.Owner, err, n.id)
	}
	if err := n.ReadBarrier(soon(t)); err != nil {
		t.Fatal(err)
	}
	return p
}

func movable(cl *ownership.Claim) { cl.Answered = true }
func pinned(cl *ownership.Claim)  { cl.Answered, cl.Pinned = true, true }
func ringing(cl *ownership.Claim) { cl.Deadline = time.Now().Add(time.Hour) }

func ownerOf(n *testNode, p ownership.Placement) ownership.NodeID {
	id, _ := n.ownerOf(p.Partition, 0)
	return id
}

func TestHandOffMovesWhatMayMove(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	n := without(nodes, leaderOf(t, nodes...))[0]
	free, kept, rings := claimOn(t, n, 1, movable), claimOn(t, n, 2, pinned), claimOn(t, n, 3, ringing)
	eventually(t, "the node acts", func() bool { return n.HoldsPartition(kept.Partition, kept.Epoch) })

	given, err := n.HandOff(soon(t), HandingOff{})
	if want := (HandedOff{Moved: 1, Pinned: 1, Ringing: 1}); err != nil || given != want {
		t.Fatalf("gave %+v (%v), want %+v", given, err, want)
	}
	if ownerOf(n, free) == n.id || n.HoldsPartition(free.Partition, free.Epoch) {
		t.Error("the movable call is still this node's")
	}
	if c, _ := n.tb.Call(claimOf(1).Call); c.Epoch != free.Epoch+1 || c.State != ownership.CallAnswered {
		t.Errorf("the movable call is %s at epoch %s", c.State, c.Epoch)
	}

	given, err = n.HandOff(soon(t), HandingOff{Ringing: true, Empty: true})
	if want := (HandedOff{Moved: births - 2, Pinned: 1}); err != nil || given != want {
		t.Fatalf("gave %+v (%v), want %+v", given, err, want)
	}
	if ownerOf(n, rings) == n.id {
		t.Error("the ringing call is still this node's")
	}
	if !n.HoldsPartition(kept.Partition, kept.Epoch) {
		t.Error("the node no longer acts for the call whose media it has")
	}
	if c, _ := n.tb.Call(claimOf(2).Call); c.State != ownership.CallAnswered {
		t.Errorf("the pinned call is %s", c.State)
	}
}

// A partition stays where it is as long as an action of its owner is under way.
func TestMoveWaitsForTheOwnersEffects(t *testing.T) {
	long(t)
	r := newRegion(t, calm)
	nodes := r.form(3)
	n, to := without(nodes, leaderOf(t, nodes...))[0], leaderOf(t, nodes...)
	p := claimOn(t, n, 1, movable)
	eventually(t, "the node acts", func() bool { return n.HoldsPartition(p.Partition, p.Epoch) })
	var held atomic.Bool
	n.Cluster.deps.Quiesce = func(ctx context.Context, id ownership.PartitionID) error {
		held.Store(n.HoldsPartition(id, p.Epoch))
		<-ctx.Done()
		return ctx.Err()
	}
	if err := n.Move(soon(t), p.Partition, to.id); !errors.Is(err, ownership.ErrConflict) {
		t.Errorf("%v, want ErrConflict", err)
	}
	if held.Load() {
		t.Error("the owner was asked to rest while it still acted")
	}
	if ownerOf(n, p) != n.id || !n.HoldsPartition(p.Partition, p.Epoch) {
		t.Error("the owner no longer acts on what it kept")
	}
	n.Cluster.deps.Quiesce = nil
	if err := n.Move(soon(t), p.Partition, to.id); err != nil || ownerOf(n, p) != to.id {
		t.Errorf("it stayed with %s: %v", ownerOf(n, p), err)
	}
}

// A drained node whose removal came to nothing gets its lease back under the same
// leader.
func TestANodeOfRevokedLeasesWithoutPartitionsIsReinstated(t *testing.T) {
	long(t)
	r := newRegion(t, calm)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	n := without(nodes, ldr)[0]
	if err := n.Drain(soon(t), n.id, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.HandOff(soon(t), HandingOff{Ringing: true, Empty: true}); err != nil || len(n.tb.PartitionsOf(n.id)) != 0 {
		t.Fatalf("it keeps %d partitions: %v", len(n.tb.PartitionsOf(n.id)), err)
	}
	l := ldr.leading.Load()
	removal := l.Leases.Revoke(n.id)
	eventually(t, "the lease ends while the removal is under way", func() bool { return !n.Status().Leased })
	if !l.Leases.Revoked(n.id) {
		t.Error("it was reinstated in the middle of its removal")
	}
	l.Leases.Settle(removal, false)
	eventually(t, "the node has a lease again", func() bool { return n.Status().Leased })
}

func TestHandOffWithNobodyToTakeIt(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	n := r.form(1)[0]
	p := claimOn(t, n, 1, movable)
	eventually(t, "the node acts", func() bool { return n.HoldsPartition(p.Partition, p.Epoch) })
	given, err := n.HandOff(soon(t), HandingOff{Ringing: true, Empty: true})
	if !errors.Is(err, ownership.ErrFull) || given.Failed != 1 {
		t.Errorf("gave %+v and %v, want %v", given, err, ownership.ErrFull)
	}
	if !n.HoldsPartition(p.Partition, p.Epoch) {
		t.Error("the node stopped acting although nobody took over")
	}
}

func TestDrainHandsOverWhatCanMoveWhenItsTimeIsUp(t *testing.T) {
	long(t)
	r := newRegion(t, calm)
	nodes := r.form(3)
	n, other := without(nodes, leaderOf(t, nodes...))[0], leaderOf(t, nodes...)
	free, kept := claimOn(t, n, 1, movable), claimOn(t, n, 2, pinned)
	if err := other.Drain(soon(t), n.id, time.Now().Add(fast.Renew)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the movable call has another owner", func() bool { return ownerOf(n, free) != n.id })
	eventually(t, "the table of the drained node shows what is left", func() bool { return n.tb.Live(n.id) == 1 })
	if !n.HoldsPartition(kept.Partition, kept.Epoch) {
		t.Error("the node no longer acts for the call whose media it has")
	}
	if left := len(n.tb.PartitionsOf(n.id)); left != births-1 {
		t.Errorf("%d partitions are left, want %d: the empty ones stay for undrain", left, births-1)
	}
	if err := other.Undrain(soon(t), n.id); err != nil {
		t.Fatal(err)
	}
}

func TestCommandFormatIsRaisedWhenEveryNodeReadsIt(t *testing.T) {
	long(t)
	// Software of tomorrow reads format 2; the founder is still of today, so that
	// at no time everybody can read it.
	r := newRegion(t, func(c *Config) {
		c.Node.Format = 2
		if c.Node.ID == "a" {
			c.Node.Format = 1
		}
	})
	nodes := r.form(3)
	leaderOf(t, nodes...)
	a, c := nodes[1], nodes[0]
	if err := a.TransferLeader(soon(t), a.id); err != nil {
		t.Fatal(err)
	}
	leaderOf(t, nodes...)
	l := a.leading.Load()
	l.RaiseFormat()
	if got := a.tb.Format(); got != 1 {
		t.Fatalf("the region writes format %d, which node a cannot read", got)
	}
	if err := a.Remove(soon(t), c.id); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes[1:] {
		eventually(t, "the gate opens on "+string(n.id), func() bool { return n.tb.Format() == 2 })
	}
	old := ownership.Node{ID: "d", Region: "emea", ClusterAddr: "127.0.0.1:1", Incarnation: "new", Format: 1}
	stamp := store.Stamp{Deployment: testDeployment, Region: "emea", Node: "d", Incarnation: "new"}
	_, err := leaderOf(t, nodes[1:]...).leading.Load().Admit(soon(t), leader.JoinRequest{Node: old, Stamp: stamp})
	if !errors.Is(err, ownership.ErrConflict) || !strings.Contains(err.Error(), "upgrade its software first") {
		t.Errorf("a node of old software was let in with %v", err)
	}
}

func TestSafeToStop(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	one, two := without(nodes, ldr)[0], without(nodes, ldr)[1]
	claimOn(t, one, 1, pinned)
	eventually(t, "every node may be stopped", func() bool {
		for _, n := range nodes {
			if got, err := two.SafeToStop(soon(t), n.id); err != nil || len(got.Against) > 0 {
				return false
			}
		}
		return true
	})
	eventually(t, "the pinned call is known", func() bool {
		got, err := two.SafeToStop(soon(t), one.id)
		return err == nil && got.Pinned == 1 && got.Live == 1 && got.Voters == 3 && got.Well == 2 && got.Voter && !got.Leader
	})
	if _, err := two.SafeToStop(soon(t), "nobody"); !errors.Is(err, ownership.ErrUnknown) {
		t.Errorf("asked about a node that is not there it gave %v", err)
	}

	two.cut()
	got, err := ldr.SafeToStop(soon(t), one.id)
	if err != nil || len(got.Against) != 2 {
		t.Errorf("with %s down it says %+v (%v), want two reasons against", two.id, got, err)
	}
	if got, err := ldr.SafeToStop(soon(t), two.id); err != nil || len(got.Against) > 0 {
		t.Errorf("of the node that is down it says %+v (%v), want nothing against", got, err)
	}
}

func TestSafeToStopNeedsSomebodyToTakeTheCalls(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	rest := without(nodes, ldr)
	for _, n := range rest {
		if err := ldr.Drain(soon(t), n.id, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ldr.SafeToStop(soon(t), ldr.id)
	if err != nil || len(got.Against) == 0 || !got.Leader {
		t.Errorf("with all others draining it says %+v (%v)", got, err)
	}
}
