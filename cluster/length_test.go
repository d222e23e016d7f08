package cluster

import (
	"errors"
	"sync"
	"testing"
	"time"

	"tandem/ownership"
)

// cluster.lease is being changed node by node: one node's file says four seconds
// already, the others' one. Whatever the files say, one length holds for all, so
// that a node that is cut off has stopped before anybody takes its partitions.
func TestANodeWithAnotherLeaseInItsFileFollowsTheRegion(t *testing.T) {
	long(t)
	r := newRegion(t, func(c *Config) {
		if c.Node.ID == "c" {
			c.Timings.Lease = 4 * time.Second
		}
	})
	nodes := r.form(3)
	c := nodes[2]
	if err := c.TransferLeader(soon(t), "a"); err != nil {
		t.Fatal(err)
	}
	leaderOf(t, nodes...)
	p := c.tb.PartitionsOf("c")[0]
	eventually(t, "it acts as owner", func() bool { return c.HoldsPartition(p.ID, p.Epoch) })
	c.cut()
	eventually(t, "an heir acts", func() bool {
		for _, heir := range nodes[:2] {
			if heir.HoldsPartition(p.ID, p.Epoch+1) {
				if c.HoldsPartition(p.ID, p.Epoch) {
					t.Fatalf("I5: %s and c both act as owner of partition %s", heir.id, p.ID)
				}
				return true
			}
		}
		return false
	})
}

// The length of leases is changed for the region, from any node, and every node
// follows with its next renewal.
func TestTheLengthOfLeasesIsTheRegions(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	n := without(nodes, ldr)[0]
	eventually(t, "the founder's length is the region's", func() bool {
		now, _ := n.tb.Lease()
		return now == fast.Lease
	})
	if err := n.SetLease(soon(t), 3*time.Second); err != nil {
		t.Fatal(err)
	}
	for _, o := range nodes {
		eventually(t, "its lease lasts longer", func() bool { return o.Status().LeaseLeft > 2*time.Second })
		if now, before := o.tb.Lease(); now != 3*time.Second || before != fast.Lease {
			t.Errorf("%s's table says %v, before %v", o.id, now, before)
		}
	}
	for _, length := range []time.Duration{0, fast.Heartbeat, 2 * time.Minute} {
		if err := n.SetLease(soon(t), length); !errors.Is(err, ownership.ErrConflict) {
			t.Errorf("a length of %v gave %v", length, err)
		}
	}
}

// O34: a node that gave partitions away at a stop has as many as it should have once
// it takes calls again.
func TestO34_ANodeThatComesBackHasItsPartitionsAgain(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	n := without(nodes, leaderOf(t, nodes...))[0]
	kept := claimOn(t, n, 1, pinned)
	if err := n.Drain(soon(t), n.id, time.Time{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it keeps the one with the call that cannot move", func() bool {
		_, _ = n.HandOff(soon(t), HandingOff{Ringing: true, Empty: true})
		return len(n.tb.PartitionsOf(n.id)) == 1
	})
	n.restart()
	n.ready()
	if err := n.Undrain(soon(t), n.id); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has its partitions", func() bool { return len(n.tb.PartitionsOf(n.id)) == births })
	eventually(t, "it acts for its call", func() bool { return n.Holds(claimOf(1).Call, kept.Partition, kept.Epoch) })
}

// V13: what owners report of their calls goes to the log in batches, and each caller
// hears what became of its own.
func TestV13_RecordsGoToTheLogInBatches(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	n := without(nodes, ldr)[0]
	const calls = 300
	placed := make([]ownership.Placement, calls)
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() { placed[i] = claim(t, n, i) })
	}
	wg.Wait()
	if err := n.ReadBarrier(soon(t)); err != nil {
		t.Fatal(err)
	}
	before := ldr.tb.Applied()
	for i := range calls {
		wg.Go(func() {
			epoch := placed[i].Epoch
			if i == 0 {
				epoch += 7
			}
			ctx := soon(t)
			release := ownership.Release{Call: claimOf(i).Call, Epoch: epoch, Why: "done"}
			_, err := n.Do(ctx, release)
			for errors.Is(err, ownership.ErrNoLeader) && ctx.Err() == nil { // a busy machine may lose its leader
				_, err = n.Do(ctx, release)
			}
			if i == 0 && !errors.Is(err, ownership.ErrFutureEpoch) || i > 0 && err != nil {
				t.Errorf("releasing call %d gave %v", i, err)
			}
		})
	}
	wg.Wait()
	if took := ldr.tb.Applied() - before; took > calls/4 {
		t.Errorf("%d records took %d entries of the log", calls, took)
	}
	for i := 1; i < calls; i++ {
		if k, ok := ldr.Find(claimOf(i).Call); !ok || k.State != ownership.CallEnded {
			t.Errorf("call %d is %+v", i, k)
		}
	}
}
