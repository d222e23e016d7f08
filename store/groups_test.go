package store

import (
	"fmt"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tandem/ownership"
)

// TestBundles has calls of few kinds join, change and leave groups, and counts
// afterwards those that are alike.
func TestBundles(t *testing.T) {
	keys := []ownership.GroupKey{"chain:1", "chain:2", "thread:1"}
	rapid.Check(t, func(t *rapid.T) {
		x := newIndex()
		var live []uint32
		held := map[uint32]map[uint64]bool{}
		for i := range rapid.IntRange(1, 150).Draw(t, "steps") {
			do := rapid.IntRange(0, 5).Draw(t, "do")
			if len(live) == 0 {
				do = 0
			}
			at := 0
			if do > 2 {
				at = rapid.IntRange(0, len(live)-1).Draw(t, "which")
			}
			switch {
			case do < 3:
				ref, e := x.add(callID(i))
				e.partition, e.app = rapid.Uint32Range(1, 2).Draw(t, "partition"), rapid.Uint32Range(0, 1).Draw(t, "app")
				e.state, e.epoch, e.rings = ownership.CallClaimed, shorten(1), rapid.Uint32Range(7, 8).Draw(t, "rings")
				e.flags |= rapid.SampledFrom([]uint8{0, flagPinned, flagPaired, flagPinned | flagPaired}).Draw(t, "flags")
				observed := rapid.SampledFrom([]string{"", "ann"}).Draw(t, "observed")
				if observed != "" {
					e.flags |= flagObserves
				}
				held[ref] = map[uint64]bool{}
				mine := rapid.SliceOfN(rapid.SampledFrom(keys), 0, 3).Draw(t, "keys")
				for _, k := range mine {
					held[ref][groupHash(k, "")] = true
					if observed != "" && k.IsChain() {
						held[ref][groupHash(k, observed)] = true
					}
				}
				x.joinGroups(ref, mine, observed)
				live = append(live, ref)
			case do < 5:
				epoch := shorten(ownership.Epoch(rapid.Uint64Range(1, 2).Draw(t, "epoch")))
				x.regroup(live[at], func(e *entry) { e.state, e.epoch = ownership.CallAnswered, epoch })
			default:
				x.leaveGroups(live[at])
				x.drop(live[at])
				delete(held, live[at])
				live = append(live[:at], live[at+1:]...)
			}
		}
		members := 0
		for _, k := range keys {
			for _, observed := range []string{"", "ann"} {
				hash := groupHash(k, observed)
				got, want := map[likeness]int{}, map[likeness]int{}
				x.bundles(hash, func(e *entry, size int) { got[e.likeness(hash)] += size })
				for ref, groups := range held {
					if groups[hash] {
						want[x.calls.at(ref).likeness(hash)]++
						members++
					}
				}
				if diff := gocmp.Diff(want, got, gocmp.AllowUnexported(likeness{})); diff != "" {
					t.Fatalf("the bundles of %q of %q (-want +got):\n%s", k, observed, diff)
				}
				if firsts := bundleCount(x, hash); firsts != len(want) {
					t.Fatalf("%q of %q has %d bundles for %d kinds of calls", k, observed, firsts, len(want))
				}
			}
		}
		if used := int(x.members.used) - len(x.members.free); used != members {
			t.Fatalf("%d memberships are kept for %d", used, members)
		}
	})
}

func bundleCount(x *index, hash uint64) (n int) {
	x.bundles(hash, func(*entry, int) { n++ })
	return n
}

// bigMeeting makes a meeting of n live calls, each with a thread and a chain.
func bigMeeting(r *rig, n int) (batch func(int) ownership.Claims) {
	next := 1
	keys := []ownership.GroupKey{ownership.ThreadKey("19:townhall"), ownership.ChainKey("townhall")}
	batch = func(size int) ownership.Claims {
		a := ownership.Claims{At: at(1), Fitness: fit("a", "b", "c")}
		for range size {
			a.Claims = append(a.Claims, claim(callID(next), func(c *ownership.Claim) {
				c.Groups, c.Pinned = keys, true
				if next%3 == 0 {
					c.Observed = fmt.Sprintf("person %d", next)
				}
			}))
			next++
		}
		return a
	}
	for n > 0 {
		r.must(batch(min(n, 500)))
		n -= 500
	}
	return batch
}

// TestABatchDoesNotGrowWithItsMeeting: the table is locked for a batch of claims,
// renewals wait for it, and a lease lasts two seconds.
func TestABatchDoesNotGrowWithItsMeeting(t *testing.T) {
	r := newRig(t)
	for _, id := range []string{"a", "b", "c"} {
		n := node(id)
		n.Capacity = 100_000
		r.must(ownership.Join{At: at(0), Node: n, Partitions: 8})
	}
	r.table.st.format = ownership.FormatReservations
	batch := bigMeeting(r, 4000)
	if err := r.table.Flush(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	r.must(batch(512))
	if took := time.Since(begun); took > 500*time.Millisecond {
		t.Errorf("a batch of 512 claims into a meeting of 4000 calls takes %v", took)
	}
}

// TestLeavingAMeetingIsShort: a meeting of many calls ends one by one.
func TestLeavingAMeetingIsShort(t *testing.T) {
	x := newIndex()
	const calls = 100_000
	refs := make([]uint32, calls)
	for i := range refs {
		ref, e := x.add(callID(i + 1))
		e.partition, e.state = uint32(i%8), ownership.CallClaimed
		x.joinGroups(ref, []ownership.GroupKey{"thread:town hall"}, "")
		refs[i] = ref
	}
	begun := time.Now()
	for _, ref := range refs {
		x.leaveGroups(ref)
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("%d calls leave their meeting one by one in %v", calls, took)
	}
}
