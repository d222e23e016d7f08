package index

import (
	"fmt"
	"slices"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"tandem/ownership"
)

// TestIndex runs the index against maps: calls and groups come and go, with ids
// of both kinds, enough of them for its tables to grow and shrink.
func TestIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := New()
		refs := map[ownership.CallID]uint32{}
		groups := map[ownership.GroupKey]map[ownership.CallID]bool{}
		for range rapid.IntRange(1, 600).Draw(t, "steps") {
			n := rapid.IntRange(0, 200).Draw(t, "call")
			id := callID(n * 7919)
			if n%9 == 0 {
				id = ownership.CallID(fmt.Sprintf("odd%d", n))
			}
			key := ownership.GroupKey(fmt.Sprintf("thread:%d", rapid.IntRange(0, 20).Draw(t, "group")))
			ref, there := refs[id]
			switch {
			case !there:
				refs[id], _ = x.Add(id)
			case rapid.IntRange(0, 2).Draw(t, "do") == 0:
				x.LeaveGroups(ref)
				x.Drop(ref)
				delete(refs, id)
				for _, g := range groups {
					delete(g, id)
				}
			default:
				x.joinGroup(ref, groupHash(key, ""))
				if groups[key] == nil {
					groups[key] = map[ownership.CallID]bool{}
				}
				groups[key][id] = true
			}
		}
		for n := range 201 {
			for _, id := range []ownership.CallID{callID(n * 7919), ownership.CallID(fmt.Sprintf("odd%d", n))} {
				if got := x.Find(id); got != refs[id] {
					t.Fatalf("call %s is at %d, want %d", id, got, refs[id])
				}
				if ref := refs[id]; ref != 0 && x.ID(ref) != id {
					t.Fatalf("the id at %d is %s, want %s", ref, x.ID(ref), id)
				}
			}
		}
		for n := range 21 {
			key := ownership.GroupKey(fmt.Sprintf("thread:%d", n))
			var got, want []ownership.CallID
			x.InGroup(key, func(ref uint32) { got = append(got, x.ID(ref)) })
			for id := range groups[key] {
				want = append(want, id)
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Fatalf("group %s has %v, want %v", key, got, want)
			}
		}
	})
}

func TestGuidKey(t *testing.T) {
	for id, want := range map[ownership.CallID]bool{
		callID(5): true, "57dab8b1894c409ab240bd8beae78896": true,
		"57DAB8B1894C409AB240BD8BEAE78896": false, "57dab8b1894c409ab240bd8beae7889": false,
		"57dab8b1894c409ab240bd8beae7889g": false, "": false,
	} {
		if _, ok := guidKey(id); ok != want {
			t.Errorf("%q counts as a GUID: %v", id, ok)
		}
	}
}

func TestShortEpoch(t *testing.T) {
	for _, e := range []ownership.Epoch{0, 1, 1<<16 + 2, 1<<32 + 3, 1<<48 - 1} {
		if got := Shorten(e).Long(); got != e {
			t.Errorf("epoch %d came back as %d", e, got)
		}
	}
	if size := unsafe.Sizeof(Entry{}); size != 52 {
		t.Errorf("an entry has %d bytes, want 52", size)
	}
}

// callID makes a GUID-like id.
func callID(n int) ownership.CallID { return ownership.CallID(fmt.Sprintf("%032x", n)) }
