package cluster

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"tandem/cluster/leader"
	"tandem/ownership"
)

func TestF31_PartitionsOfADeadNodeAreAdoptedAfterItsLease(t *testing.T) {
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	dead := without(nodes, ldr)[1]
	rest := without(nodes, dead)
	theirs := dead.tb.PartitionsOf(dead.id)
	for _, p := range theirs {
		eventually(t, "the owner holds its partitions", func() bool { return dead.HoldsPartition(p.ID, p.Epoch) })
	}
	for i := range 30 {
		claim(t, nodes[i%3], i)
	}

	// I5: at no moment may two nodes act. The new owner is asked first: when it
	// acts, the old one must have stopped.
	ctx, stopSampling := context.WithCancel(context.Background())
	var sampling sync.WaitGroup
	for _, heir := range rest {
		sampling.Go(func() {
			for ctx.Err() == nil {
				for _, p := range theirs {
					if heir.HoldsPartition(p.ID, p.Epoch+1) && dead.HoldsPartition(p.ID, p.Epoch) {
						t.Errorf("I5: partition %s is held by %s and %s", p.ID, heir.id, dead.id)
						return
					}
				}
			}
		})
	}
	died := time.Now()
	dead.cut()
	for _, p := range theirs {
		eventually(t, "partition "+p.ID.String()+" has a new owner that acts", func() bool {
			for _, heir := range rest {
				if heir.HoldsPartition(p.ID, p.Epoch+1) {
					return true
				}
			}
			return false
		})
	}
	took := time.Since(died)
	t.Logf("adopted within %v", took)
	stopSampling()
	sampling.Wait()
	if dead.Status().Leased {
		t.Error("the dead node still believes in its lease")
	}
	converge(t, rest)
	got := make(map[ownership.PartitionID]ownership.Reassignment)
	for _, heir := range rest {
		eventually(t, "the heir was told of all it got", func() bool {
			heir.mu.Lock()
			defer heir.mu.Unlock()
			n := 0
			for _, ch := range heir.moved {
				n += len(ch.Got)
			}
			return n == len(heir.tb.PartitionsOf(heir.id))
		})
		heir.mu.Lock()
		for _, ch := range heir.moved {
			for _, m := range ch.Got {
				if m.Epoch > 1 {
					got[m.Partition] = m
				}
			}
		}
		heir.mu.Unlock()
	}
	for _, p := range theirs {
		if m := got[p.ID]; m.From != dead.id || m.Epoch != p.Epoch+1 {
			t.Errorf("of partition %s the heirs were told %+v", p.ID, m)
		}
	}
}

func TestF13_SilentLeaderIsFencedBeforeItsPartitionsMove(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	rest := without(nodes, ldr)
	theirs := ldr.tb.PartitionsOf(ldr.id)
	claim(t, ldr, 1)
	ldr.cut()
	for _, p := range theirs {
		eventually(t, "partition "+p.ID.String()+" of the lost leader is adopted", func() bool {
			for _, heir := range rest {
				if heir.HoldsPartition(p.ID, p.Epoch+1) {
					if ldr.HoldsPartition(p.ID, p.Epoch) {
						t.Fatalf("I5: partition %s is held twice", p.ID)
					}
					return true
				}
			}
			return false
		})
	}
	if err := ldr.ReadBarrier(soon(t)); err == nil {
		t.Error("the lost leader is sure that it leads")
	}
	if _, err := ldr.Claim(soon(t), claimOf(2)); !errors.Is(err, ownership.ErrNoLeader) {
		t.Errorf("the lost leader answered a claim with %v", err)
	}
}

func TestRenewalPausedFencesTheNodeAndItComesBack(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	n := without(nodes, ldr)[0]
	own := n.tb.PartitionsOf(n.id)[0]
	eventually(t, "the node acts", func() bool { return n.HoldsPartition(own.ID, own.Epoch) })
	// The renewals are paused, while raft and everything else go on.
	resume := n.pause()
	eventually(t, "the lease ends", func() bool { return !n.HoldsPartition(own.ID, own.Epoch) })
	eventually(t, "others own all of it", func() bool { return len(ldr.tb.PartitionsOf(n.id)) == 0 })
	resume()
	eventually(t, "it comes back, and new partitions are born on it", func() bool {
		ps := n.tb.PartitionsOf(n.id)
		return len(ps) == births && n.HoldsPartition(ps[0].ID, ps[0].Epoch)
	})
	if n.HoldsPartition(own.ID, own.Epoch) {
		t.Error("the node acts on a partition at an epoch that has passed")
	}
}

func TestMoveStopsTheOwnerFirst(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	// The leader applies the move some milliseconds before the former owner
	// does: an owner that had not stopped would still act then.
	to := leaderOf(t, nodes...)
	from, third := without(nodes, to)[0], without(nodes, to)[1]
	p := from.tb.PartitionsOf(from.id)[0]
	eventually(t, "the owner acts, and the third node knows", func() bool {
		_, ok := third.tb.Partition(p.ID)
		return ok && from.HoldsPartition(p.ID, p.Epoch)
	})
	ctx, stopSampling := context.WithCancel(context.Background())
	var sampling sync.WaitGroup
	sampling.Go(func() {
		for ctx.Err() == nil {
			if _, e := to.ownerOf(p.ID, 0); e == p.Epoch+1 && from.HoldsPartition(p.ID, p.Epoch) {
				t.Error("I5: the former owner acts although the move is done")
				return
			}
		}
	})
	if err := third.Move(soon(t), p.ID, to.id); err != nil {
		t.Fatal(err)
	}
	stopSampling()
	sampling.Wait()
	if from.HoldsPartition(p.ID, p.Epoch) {
		t.Error("the former owner still acts")
	}
	eventually(t, "the new owner acts", func() bool { return to.HoldsPartition(p.ID, p.Epoch+1) })
	if err := to.Move(soon(t), p.ID, from.id); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first owner acts again, at a later epoch", func() bool { return from.HoldsPartition(p.ID, p.Epoch+2) })
	if err := from.Move(soon(t), p.ID, "nobody"); !errors.Is(err, ownership.ErrUnknown) {
		t.Errorf("a move to nobody gave %v", err)
	}
	if !from.HoldsPartition(p.ID, p.Epoch+2) {
		t.Error("after a refused move the owner no longer acts")
	}
	if err := from.Move(soon(t), 9999, to.id); !errors.Is(err, ownership.ErrUnknown) {
		t.Errorf("a move of an unknown partition gave %v", err)
	}
}

func TestVerifyRefusesWhenAVoterIsAtANewerTerm(t *testing.T) {
	long(t)
	r := newRegion(t, calm)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	l := ldr.leading.Load()
	if err := l.Sure(soon(t)); err != nil {
		t.Fatalf("the leader cannot make sure of its lead: %v", err)
	}
	// As if this leadership were of the term before: what a leader finds that was
	// paused while the others elected another.
	old := leader.New(t.Context(), ldr.needs())
	defer old.End()
	old.Term = l.Term - 1
	if err := old.Sure(soon(t)); err == nil {
		t.Error("a leader of a past term is sure of its lead")
	}
}
