package cluster

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"tandem/ownership"
)

// TestB51_ClaimsOfAnotherApp: whichever node is asked, and whether it knows the
// call already or asks the leader, another app's claim is told nothing.
func TestB51_ClaimsOfAnotherApp(t *testing.T) {
	r := newRegion(t, nil)
	nodes := r.form(3)
	leaderOf(t, nodes...)
	for i := range 20 {
		want := claim(t, nodes[i%3], i)
		theirs := claimOf(i)
		theirs.App = "other"
		for _, n := range nodes {
			if p, err := n.Claim(soon(t), theirs); !errors.Is(err, ownership.ErrOtherApp) || p.Owner != "" {
				t.Fatalf("call %d on %s gave another app %+v, %v", i, n.id, p, err)
			}
			if k, ok := n.Find(theirs.Call); ok && k.App != "app" {
				t.Fatalf("call %d on %s is %+v after another app's claim", i, n.id, k)
			}
			if p, err := n.WhatIf(soon(t), theirs); !errors.Is(err, ownership.ErrOtherApp) || p.Owner != "" {
				t.Fatalf("what if of call %d on %s gave another app %+v, %v", i, n.id, p, err)
			}
			if p, err := n.Claim(soon(t), claimOf(i)); err != nil || p.Partition != want.Partition {
				t.Fatalf("call %d on %s: %+v, %v, want %+v", i, n.id, p, err, want)
			}
		}
	}
}

func TestConcurrentClaimsOfOneCallGetOneOwner(t *testing.T) {
	r := newRegion(t, nil)
	nodes := r.form(3)
	leaderOf(t, nodes...)
	const calls = 60
	type got struct {
		call int
		p    ownership.Placement
	}
	var mu sync.Mutex
	var all []got
	var wg sync.WaitGroup
	for call := range calls {
		for _, n := range nodes {
			wg.Go(func() {
				p, err := n.Claim(soon(t), claimOf(call))
				if err != nil {
					t.Errorf("claiming call %d on %s: %v", call, n.id, err)
					return
				}
				// At once, on the node that asked.
				if k, ok := n.Find(claimOf(call).Call); !ok || k.Partition != p.Partition {
					t.Errorf("call %d on %s: Find gives %+v, %v right after the claim gave %+v", call, n.id, k, ok, p)
				}
				if o, ok := n.Owner(p.Partition); !ok || o.Node != p.Owner || o.Epoch != p.Epoch || o.Here != (o.Node == n.id) {
					t.Errorf("call %d on %s: Owner gives %+v, %v right after the claim gave %+v", call, n.id, o, ok, p)
				}
				mu.Lock()
				defer mu.Unlock()
				all = append(all, got{call, p})
			})
		}
	}
	wg.Wait()
	first := make(map[int]ownership.Placement)
	owners := make(map[ownership.NodeID]int)
	for _, g := range all {
		if f, ok := first[g.call]; ok && (f.Partition != g.p.Partition || f.Owner != g.p.Owner || f.Epoch != g.p.Epoch) {
			t.Errorf("call %d has two owners: %+v and %+v", g.call, f, g.p)
		}
		if _, ok := first[g.call]; !ok {
			owners[g.p.Owner]++
		}
		first[g.call] = g.p
	}
	if len(owners) != 3 {
		t.Errorf("60 calls went to %v, want all three nodes", owners)
	}
	converge(t, nodes)
}

// converge waits until all nodes show the same table (I7).
func converge(t *testing.T, nodes []*testNode) {
	t.Helper()
	eventually(t, "the same table on every node", func() bool {
		h, at := nodes[0].tb.Hash()
		for _, n := range nodes[1:] {
			if h2, at2 := n.tb.Hash(); h2 != h || at2 != at {
				return false
			}
		}
		return true
	})
}

func TestF02_ClaimsOutliveTheLeader(t *testing.T) {
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	rest := without(nodes, ldr)

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var mu sync.Mutex
	acked := make(map[int]ownership.Placement)
	var wg sync.WaitGroup
	next := make(chan int)
	wg.Go(func() {
		for i := 1000; ; i++ {
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	})
	for _, n := range rest {
		for range 4 {
			wg.Go(func() {
				for {
					select {
					case i := <-next:
						if p, err := n.Claim(ctx, claimOf(i)); err == nil {
							mu.Lock()
							acked[i] = p
							mu.Unlock()
						} else if !errors.Is(err, ownership.ErrNoLeader) {
							t.Errorf("claiming while the leader dies: %v", err)
						}
					case <-ctx.Done():
						return
					}
				}
			})
		}
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(acked) }
	eventually(t, "claims before the leader dies", func() bool { return count() > 50 })
	killed := time.Now()
	ldr.cut()
	newLdr := leaderOf(t, rest...)
	at := count()
	eventually(t, "claims after the leader died", func() bool { return count() > at+50 })
	t.Logf("claims resumed within %v", time.Since(killed))
	cancel()
	wg.Wait()
	converge(t, rest)
	for i, p := range acked {
		k, ok := newLdr.tb.Known(claimOf(i).Call)
		if !ok || k.Partition != p.Partition {
			t.Errorf("I3: the acknowledged claim of call %d (%+v) is %+v, %v in the table", i, p, k, ok)
		}
	}
}

func TestI8_NoLeaderIsSaidWithinASecond(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	rest := without(nodes, ldr)
	lone := rest[1]
	known := claim(t, lone, 1)
	ldr.cut()
	rest[0].cut()
	eventually(t, "the last node knows no leader", func() bool { _, _, ok := lone.Leader(); return !ok })
	began := time.Now()
	_, err := lone.Claim(soon(t), claimOf(77))
	if !errors.Is(err, ownership.ErrNoLeader) {
		t.Errorf("claiming without a leader gave %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("claiming without a leader took %v", took)
	}
	if p, err := lone.Claim(soon(t), claimOf(1)); err != nil || p.Partition != known.Partition || p.Reason != ownership.ReasonKnown {
		t.Errorf("a known call without a leader gave %+v, %v", p, err)
	}
	if _, err := lone.Do(soon(t), ownership.Seen{}); !errors.Is(err, ownership.ErrNoLeader) {
		t.Errorf("another act without a leader gave %v", err)
	}
	if err := lone.ReadBarrier(soon(t)); !errors.Is(err, ownership.ErrNoLeader) {
		t.Errorf("a barrier without a leader gave %v", err)
	}
	eventually(t, "the lease ends", func() bool { return !lone.Status().Leased })
	// F58: who posts to a node that is cut off has only so much time to post elsewhere.
	eventually(t, "the node says no at once", func() bool {
		began := time.Now()
		_, err := lone.Claim(soon(t), claimOf(78))
		return errors.Is(err, ownership.ErrNoLeader) && time.Since(began) < lone.cfg.Timings.Decide/2
	})
}

func TestDoFromAnyNodeAndBarrier(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	for i, n := range nodes {
		p := claim(t, n, i)
		if _, err := n.Do(soon(t), ownership.Answered{Call: claimOf(i).Call, Epoch: p.Epoch}); err != nil {
			t.Fatal(err)
		}
		for _, o := range nodes {
			if err := o.ReadBarrier(soon(t)); err != nil {
				t.Fatal(err)
			}
			if k, ok := o.tb.Known(claimOf(i).Call); !ok || k.State != ownership.CallAnswered {
				t.Errorf("after a barrier on %s call %d is %+v, %v", o.id, i, k, ok)
			}
		}
		if out, err := n.Do(soon(t), ownership.Release{Call: claimOf(i).Call, Epoch: p.Epoch, Why: "test"}); err != nil || out.Index == 0 {
			t.Errorf("a release gave %+v, %v", out, err)
		}
		if _, err := n.Do(soon(t), ownership.Drain{Node: "nobody"}); !errors.Is(err, ownership.ErrUnknown) {
			t.Errorf("draining an unknown node from %s gave %v", n.id, err)
		}
	}
	if _, err := ldr.Do(soon(t), ownership.Claims{}); err == nil {
		t.Error("Do took a batch of claims")
	}
}

func TestDrainedAndSickNodesGetNoCalls(t *testing.T) {
	long(t)
	r := newRegion(t, calm)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	a, b, c := nodes[0], nodes[1], nodes[2]
	if err := c.Drain(soon(t), a.id, time.Time{}); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	b.sick = true
	b.mu.Unlock()
	eventually(t, "the leader hears of the sick bot", func() bool { l, _ := ldr.leading.Load().Leases.Last(b.id); return !l.Bot })
	for i := range 10 {
		if p := claim(t, nodes[i%3], i); p.Owner != c.id {
			t.Errorf("call %d went to %s (%s), want %s", i, p.Owner, p.Reason, c.id)
		}
	}
	if err := a.Undrain(soon(t), a.id); err != nil {
		t.Fatal(err)
	}
	if err := a.Drain(soon(t), c.id, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if p := claim(t, a, 100); p.Owner != a.id {
		t.Errorf("after the drain ended a call went to %s, want %s", p.Owner, a.id)
	}
	if err := a.Drain(soon(t), a.id, time.Time{}); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if p, err := n.Claim(soon(t), claimOf(101)); !errors.Is(err, ownership.ErrNoBot) || len(p.Candidates) == 0 {
			t.Errorf("a claim when nobody takes calls gave %+v, %v on %s", p, err, n.id)
		}
	}
}
