package index

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tandem/ownership"
)

// TestBundles has calls of few kinds join, change and leave groups, and counts
// afterwards those that are alike.
func TestBundles(t *testing.T) {
	keys := []ownership.GroupKey{"chain:1", "chain:2", "thread:1"}
	rapid.Check(t, func(t *rapid.T) {
		x := New()
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
				ref, e := x.Add(callID(i))
				e.Partition, e.App = rapid.Uint32Range(1, 2).Draw(t, "partition"), rapid.Uint32Range(0, 1).Draw(t, "app")
				e.State, e.Epoch, e.Rings = ownership.CallClaimed, Shorten(1), rapid.Uint32Range(7, 8).Draw(t, "rings")
				e.Flags |= rapid.SampledFrom([]uint8{0, Pinned, Paired, Pinned | Paired}).Draw(t, "flags")
				observed := rapid.SampledFrom([]string{"", "ann"}).Draw(t, "observed")
				if observed != "" {
					e.Flags |= Observes
				}
				held[ref] = map[uint64]bool{}
				mine := rapid.SliceOfN(rapid.SampledFrom(keys), 0, 3).Draw(t, "keys")
				for _, k := range mine {
					held[ref][groupHash(k, "")] = true
					if observed != "" && k.IsChain() {
						held[ref][groupHash(k, observed)] = true
					}
				}
				x.JoinGroups(ref, mine, observed)
				live = append(live, ref)
			case do < 5:
				epoch := Shorten(ownership.Epoch(rapid.Uint64Range(1, 2).Draw(t, "epoch")))
				x.Regroup(live[at], func(e *Entry) { e.State, e.Epoch = ownership.CallAnswered, epoch })
			default:
				x.LeaveGroups(live[at])
				x.Drop(live[at])
				delete(held, live[at])
				live = append(live[:at], live[at+1:]...)
			}
		}
		members := 0
		for _, k := range keys {
			for _, observed := range []string{"", "ann"} {
				hash := groupHash(k, observed)
				got, want := map[likeness]int{}, map[likeness]int{}
				x.Bundles(k, observed, func(e *Entry, size int) { got[e.likeness(hash)] += size })
				for ref, groups := range held {
					if groups[hash] {
						want[x.calls.at(ref).likeness(hash)]++
						members++
					}
				}
				if diff := cmp.Diff(want, got, cmp.AllowUnexported(likeness{})); diff != "" {
					t.Fatalf("the bundles of %q of %q (-want +got):\n%s", k, observed, diff)
				}
				if firsts := bundleCount(x, k, observed); firsts != len(want) {
					t.Fatalf("%q of %q has %d bundles for %d kinds of calls", k, observed, firsts, len(want))
				}
			}
		}
		if used := int(x.members.used) - len(x.members.free); used != members {
			t.Fatalf("%d memberships are kept for %d", used, members)
		}
	})
}

func bundleCount(x *Index, key ownership.GroupKey, observed string) (n int) {
	x.Bundles(key, observed, func(*Entry, int) { n++ })
	return n
}

// TestLeavingAMeetingIsShort: a meeting of many calls ends one by one.
func TestLeavingAMeetingIsShort(t *testing.T) {
	x := New()
	const calls = 100_000
	refs := make([]uint32, calls)
	for i := range refs {
		ref, e := x.Add(callID(i + 1))
		e.Partition, e.State = uint32(i%8), ownership.CallClaimed
		x.JoinGroups(ref, []ownership.GroupKey{"thread:town hall"}, "")
		refs[i] = ref
	}
	begun := time.Now()
	for _, ref := range refs {
		x.LeaveGroups(ref)
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("%d calls leave their meeting one by one in %v", calls, took)
	}
}
