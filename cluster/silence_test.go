package cluster

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"tandem/ownership"
)

// frozen is a region in which one node has answered calls with media of its own, a
// movable one and one that rings, and then falls silent.
type frozen struct {
	nodes          []*testNode
	ldr, n         *testNode
	rest           []*testNode
	kept           []ownership.Placement // of calls 1 and 2: pinned
	moves, ringing ownership.Placement   // of calls 3 and 4
	resume         func()
}

func freeze(t *testing.T, silence time.Duration) *frozen { return freezeAnnounced(t, silence, 0) }

// freezeAnnounced lets the nodes say before that they may be away for so long.
func freezeAnnounced(t *testing.T, silence, away time.Duration) *frozen {
	t.Helper()
	long(t)
	r := newRegion(t, func(c *Config) {
		c.Apps = []ownership.AppID{"app"}
		c.Silence = func(ownership.AppID) time.Duration { return silence }
	})
	f := &frozen{nodes: r.form(3)}
	for _, n := range f.nodes {
		n.mu.Lock()
		n.away = away
		n.mu.Unlock()
	}
	f.ldr = leaderOf(t, f.nodes...)
	f.rest = without(f.nodes, without(f.nodes, f.ldr)[0])
	f.n = without(f.nodes, f.ldr)[0]
	f.kept = []ownership.Placement{claimOn(t, f.n, 1, pinned), claimOn(t, f.n, 2, pinned)}
	f.moves, f.ringing = claimOn(t, f.n, 3, movable), claimOn(t, f.n, 4, ringing)
	for i, p := range f.kept {
		eventually(t, "the node acts for its calls", func() bool { return f.n.Holds(claimOf(i+1).Call, p.Partition, p.Epoch) })
	}
	f.resume = f.n.pause()
	t.Cleanup(f.resume)
	eventually(t, "others own its partitions", func() bool { return len(f.ldr.tb.PartitionsOf(f.n.id)) == 0 })
	return f
}

// heir returns the node that owns a partition now.
func (f *frozen) heir(p ownership.Placement) *testNode {
	q, _ := f.ldr.tb.Partition(p.Partition)
	return f.nodes[slices.IndexFunc(f.nodes, func(n *testNode) bool { return n.id == q.Owner })]
}

// watch reports any moment at which two nodes act for one of the pinned calls, until
// over is called.
func (f *frozen) watch(t *testing.T) (over func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	look := func(call ownership.CallID, p ownership.Placement, a, b *testNode) {
		// Asked in turn: who acts at both ends acted in between.
		if a.holdsAnyhow(call, p) && b.holdsAnyhow(call, p) && a.holdsAnyhow(call, p) {
			t.Errorf("I1: %s and %s act for call %s", a.id, b.id, call)
		}
	}
	wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			for i, p := range f.kept {
				for _, heir := range f.rest {
					look(claimOf(i+1).Call, p, f.n, heir)
					look(claimOf(i+1).Call, p, heir, f.n)
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	over = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(over)
	return over
}

// holdsAnyhow reports whether the node acts for the call at the epoch at which it
// was placed, or the next one.
func (n *testNode) holdsAnyhow(call ownership.CallID, p ownership.Placement) bool {
	return n.Holds(call, p.Partition, p.Epoch) || n.Holds(call, p.Partition, p.Epoch+1)
}

func (n *testNode) looked(p ownership.PartitionID) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	times := 0
	for _, ch := range n.moved {
		if slices.Contains(ch.Look, p) {
			times++
		}
	}
	return times
}

// What can move has moved; what cannot is still the silent node's, and when it is
// back it goes on as if nothing had been.
func TestO22_CallsThatCannotMoveWaitForASilentNode(t *testing.T) {
	f := freeze(t, time.Hour)
	for i, p := range []ownership.Placement{f.moves, f.ringing} {
		call := claimOf(i + 3).Call
		eventually(t, "the heir acts for what can move", func() bool { return f.heir(p).Holds(call, p.Partition, p.Epoch+1) })
	}
	over := f.watch(t)
	for i, p := range f.kept {
		call := claimOf(i + 1).Call
		for _, n := range f.rest {
			k, ok := n.Find(call)
			if want := (ownership.Known{App: "app", Partition: p.Partition, Owner: f.n.id, Epoch: p.Epoch, State: ownership.CallAnswered, Pinned: true}); !ok || k != want {
				t.Errorf("%s knows of the call that waits: %+v", n.id, k)
			}
			if n.holdsAnyhow(call, p) {
				t.Errorf("%s acts for the call that waits", n.id)
			}
		}
		if f.n.Holds(call, p.Partition, p.Epoch) {
			t.Error("the silent node acts")
		}
	}
	f.resume()
	for i, p := range f.kept {
		call := claimOf(i + 1).Call
		eventually(t, "the node acts for its calls again", func() bool { return f.n.Holds(call, p.Partition, p.Epoch) })
		if o, ok := f.ldr.OwnerOf(call, p.Partition); !ok || o.Node != f.n.id || o.Epoch != p.Epoch {
			t.Errorf("the leader sends its notifications to %+v", o)
		}
		eventually(t, "it was told to look at what is reserved for it", func() bool { return f.n.looked(p.Partition) > 0 })
	}
	over()
	if f.n.Holds(claimOf(3).Call, f.moves.Partition, f.moves.Epoch) {
		t.Error("it acts for a call that has moved")
	}
}

// When the waiting is over the calls are orphans of the new owner. A node that comes
// back after that gets what nobody has taken up.
func TestO22_ANodeThatComesBackLateGetsWhatNobodyTookUp(t *testing.T) {
	f := freeze(t, 300*time.Millisecond)
	over := f.watch(t)
	for i, p := range f.kept {
		call, heir := claimOf(i+1).Call, f.heir(p)
		eventually(t, "the heir has the orphan", func() bool {
			k, _ := heir.Find(call)
			return k.State == ownership.CallOrphaned && heir.Holds(call, p.Partition, p.Epoch+1)
		})
		eventually(t, "the heir was told to look", func() bool { return heir.looked(p.Partition) > 0 })
	}
	taken, left := f.kept[0], f.kept[1]
	if _, err := f.heir(taken).Do(soon(t), ownership.TakeUp{Call: claimOf(1).Call, Epoch: taken.Epoch + 1}); err != nil {
		t.Fatal(err)
	}
	f.resume()
	eventually(t, "the node has the other call again", func() bool { return f.n.Holds(claimOf(2).Call, left.Partition, left.Epoch) })
	for _, n := range f.nodes {
		eventually(t, "all know who acts for which", func() bool {
			one, _ := n.Find(claimOf(1).Call)
			two, _ := n.Find(claimOf(2).Call)
			return one.State == ownership.CallOrphaned && one.Owner == f.heir(taken).id && two.State == ownership.CallAnswered && two.Owner == f.n.id
		})
	}
	over()
	if f.n.holdsAnyhow(claimOf(1).Call, taken) {
		t.Error("it acts for the call that was taken up")
	}
	if f.heir(left).holdsAnyhow(claimOf(2).Call, left) {
		t.Error("the heir acts for the call that went back")
	}
}

// An app that waits for nobody: its calls are orphans with the failover itself.
func TestO22_AnAppThatWaitsForNobody(t *testing.T) {
	f := freeze(t, 0)
	k, _ := f.ldr.Find(claimOf(1).Call)
	if heir := f.heir(f.kept[0]); k.State != ownership.CallOrphaned || k.Owner != heir.id {
		t.Errorf("once its partition has another owner, %s, the call is %+v", heir.id, k)
	}
	f.resume()
}

// An absence that was announced is waited for, longer than the app would, and no longer.
func TestO22_AnAnnouncedAbsenceIsWaitedFor(t *testing.T) {
	const away = 4 * time.Second
	f := freezeAnnounced(t, 50*time.Millisecond, away)
	frozen := time.Now() // the last renewal was earlier, by the lease at most
	heard := f.ldr.leading.Load().Leases.AwayTo(f.n.id)
	if until := heard.Sub(frozen); until <= 0 || until > away {
		t.Fatalf("the leader waits for another %s", until)
	}
	lapsed := func() bool {
		k, _ := f.ldr.Find(claimOf(1).Call)
		return k.State == ownership.CallOrphaned
	}
	eventually(t, "it has lapsed", lapsed)
	if time.Now().Before(heard) {
		t.Errorf("it lapsed %s before the announced time was over", time.Until(heard))
	}
	f.resume()
}

// Nobody waits for a node that was taken out of the region.
func TestO22_ARemovedNodeIsNotWaitedFor(t *testing.T) {
	f := freeze(t, time.Hour)
	if err := f.ldr.Remove(soon(t), f.n.id); err != nil {
		t.Fatal(err)
	}
	for i, p := range f.kept {
		eventually(t, "the call is an orphan", func() bool {
			k, _ := f.ldr.Find(claimOf(i + 1).Call)
			return k.State == ownership.CallOrphaned && k.Owner == f.heir(p).id
		})
	}
	f.resume()
}

// TestANewLeaderCountsASilenceAnew: it cannot know how long the node has been silent
// before its time. What is reserved lapses late then, never early.
func TestANewLeaderCountsASilenceAnew(t *testing.T) {
	const silence = 4 * time.Second
	f := freeze(t, silence)
	lapsed := func() bool {
		return slices.ContainsFunc(f.ldr.tb.Reserved(), func(p ownership.Partition) bool {
			return slices.ContainsFunc(p.Reserved, func(r ownership.Reservation) bool { return r.Node == f.n.id && len(r.Lapsed) > 0 })
		})
	}
	next := without(f.rest, f.ldr)[0]
	before := time.Now()
	for leaderOf(t, f.rest...) != next {
		before = time.Now()
		if err := f.ldr.TransferLeader(soon(t), next.id); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "it has lapsed", lapsed)
	if took := time.Since(before); took < silence {
		t.Errorf("it lapsed %v after the new leader came, want %v at least", took, silence)
	}
}

func TestANodeWhoseProcessEndedGetsNoNewCallsLongBeforeItsLeaseEnds(t *testing.T) {
	long(t)
	const lease = 20 * time.Second
	r := newRegion(t, func(c *Config) { calm(c); c.Timings.Lease = lease })
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	dead := without(nodes, ldr)[0]
	leases := ldr.leading.Load().Leases
	eventually(t, "the node gets calls", func() bool { return leases.Fitness(time.Now())[dead.id].Leased })
	died := time.Now()
	dead.cut()
	eventually(t, "the node gets no calls", func() bool { return !leases.Fitness(time.Now())[dead.id].Leased })
	if took := time.Since(died); took > lease/2 {
		t.Errorf("it was avoided %v later", took)
	}
	if !leases.Leased(dead.id, time.Now()) {
		t.Error("its lease does not run on")
	}
}
