package store

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/ownership"
	"tandem/ownership/history"
)

func TestClaims(t *testing.T) {
	r := newRig(t)
	r.join("a", "b")
	odd := ownership.CallID("call17") // no GUID
	out := r.claimOn(1, fit("a"), claim(callID(1)), claim(callID(1)), claim(odd, pinned),
		claim(callID(2), func(c *ownership.Claim) { c.Answered = true }))
	if out.Index != r.index {
		t.Errorf("the outcome is of entry %d, want %d", out.Index, r.index)
	}
	first, second := out.Placements[0], out.Placements[1]
	if first.Reason != ownership.ReasonLeastLoaded || first.Owner != "a" || len(first.Candidates) != 2 {
		t.Errorf("the placement is %+v", first)
	}
	if second.Reason != ownership.ReasonKnown || second.Partition != first.Partition {
		t.Errorf("the repeat got %+v", second)
	}
	want := ownership.Call{
		ID: callID(1), RawCall: string(callID(1)), App: "app-1", Tenant: "tenant-1", Partition: first.Partition, Owner: "a", Epoch: 1,
		State: ownership.CallClaimed, Thread: "19:meeting", Organizer: "o-1", Modalities: []string{"audio"},
		Deadline: at(15), ClaimedAt: at(1), SeenAt: at(1), Via: "emea-1", Placement: first,
	}
	for _, when := range []string{"before", "after"} {
		if diff := cmp.Diff(want, r.call(callID(1))); diff != "" {
			t.Errorf("%s the flush (-want +got):\n%s", when, diff)
		}
		if k, ok := r.table.Known(odd); !ok || !k.Pinned || k.State != ownership.CallClaimed {
			t.Errorf("%s the flush the odd call is %+v", when, k)
		}
		if c := r.call(callID(2)); c.State != ownership.CallAnswered || !c.AnsweredAt.Equal(at(1)) {
			t.Errorf("%s the flush the established call is %+v", when, c)
		}
		if r.table.Live("a") != 3 || r.table.Live("b") != 0 {
			t.Errorf("%s the flush a has %d live calls, b %d", when, r.table.Live("a"), r.table.Live("b"))
		}
		if err := r.table.Flush(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestB51_ClaimsOfAnotherApp: a call keeps the app that it was claimed for, in
// memory and through a start and a snapshot; a claim of another app changes
// nothing and learns nothing.
func TestB51_ClaimsOfAnotherApp(t *testing.T) {
	r := newRig(t)
	r.join("a")
	other := func(c *ownership.Claim) { c.App = "app-2" }
	r.claimOn(1, fit("a"), claim(callID(1)), claim(callID(2), other), claim("odd", other))
	r.must(ownership.Release{At: at(2), Call: callID(2), Why: "over"})
	check := func(when string) {
		t.Helper()
		before, _ := r.table.Hash()
		out := r.do(ownership.Claims{At: at(3), Fitness: fit("a"), Claims: []ownership.Claim{claim(callID(1), other), claim(callID(2)), claim("odd")}})
		for i, err := range out.Errors {
			if !errors.Is(err, ownership.ErrOtherApp) || out.Placements[i].Partition != 0 {
				t.Errorf("%s claim %d gave %+v, %v", when, i, out.Placements[i], err)
			}
		}
		if after, _ := r.table.Hash(); after != before {
			t.Errorf("%s refused claims changed the table", when)
		}
		for id, want := range map[ownership.CallID]ownership.AppID{callID(1): "app-1", callID(2): "app-2", "odd": "app-2"} {
			if k, ok := r.table.Known(id); !ok || k.App != want {
				t.Errorf("%s call %s is %+v, want one of %s", when, id, k, want)
			}
		}
	}
	check("before the flush")
	r.reopen()
	check("after a start")
	r.passSnapshot()
	check("after a snapshot")
}

func TestClaimsRefused(t *testing.T) {
	r := newRig(t)
	r.join("a")
	out := r.do(ownership.Claims{At: at(1), Fitness: nil, Claims: []ownership.Claim{claim(callID(1))}})
	if !errors.Is(out.Errors[0], ownership.ErrFull) || out.Err != nil {
		t.Errorf("with no fit node the claim gave %v", out.Errors[0])
	}
	for _, id := range []ownership.CallID{"", "with-dash", "UPPER", "a/b", ownership.CallID(make([]byte, 200))} {
		out := r.do(ownership.Claims{At: at(1), Fitness: fit("a"), Claims: []ownership.Claim{claim(id), claim(callID(2))}})
		if !errors.Is(out.Errors[0], ownership.ErrConflict) || out.Errors[1] != nil {
			t.Errorf("claiming %q gave %v, and the claim beside it %v", id, out.Errors[0], out.Errors[1])
		}
	}
	if err := r.table.Flush(); err != nil {
		t.Error(err)
	}
}

func TestGroups(t *testing.T) {
	r := newRig(t)
	r.join("a", "b")
	grouped := func(c *ownership.Claim) { c.Groups = []ownership.GroupKey{"thread:x", "chain:y", "thread:x"} }
	r.claimOn(1, fit("a"), claim(callID(1), grouped))
	out := r.claimOn(2, fit("a", "b"), claim(callID(2), func(c *ownership.Claim) { c.Groups = []ownership.GroupKey{"thread:x"} }))
	if p := out.Placements[0]; p.Reason != ownership.ReasonTogether || p.Owner != "a" {
		t.Errorf("a call of a live group was placed %+v", p)
	}
	legs := r.table.Legs("thread:x")
	if len(legs) != 2 || legs[0].Call != callID(1) || legs[1].Call != callID(2) || !legs[0].Deadline.Equal(at(15)) {
		t.Errorf("the legs are %+v", legs)
	}
	r.must(ownership.Release{At: at(3), Call: callID(1), Epoch: 1, Why: "over"})
	if legs := r.table.Legs("thread:x"); len(legs) != 1 || legs[0].Call != callID(2) {
		t.Errorf("after the release the legs are %+v", legs)
	}
	if legs := r.table.Legs("chain:y"); len(legs) != 0 {
		t.Errorf("an ended group still has %+v", legs)
	}
}

func TestAnsweredAndRelease(t *testing.T) {
	r := newRig(t)
	r.join("a", "b")
	r.claimOn(1, fit("a"), claim(callID(1)), claim(callID(2)))
	r.refused(ownership.Answered{At: at(2), Call: callID(9), Epoch: 1}, ownership.ErrUnknown, "not in the table")
	r.refused(ownership.Answered{At: at(2), Call: callID(1), Epoch: 0}, ownership.ErrStaleEpoch, "epoch 0 is named")
	r.refused(ownership.Answered{At: at(2), Call: callID(1), Epoch: 2}, ownership.ErrFutureEpoch, "is at epoch 1")
	r.must(ownership.Answered{At: at(2), Call: callID(1), Epoch: 1})
	r.must(ownership.Answered{At: at(3), Call: callID(1), Epoch: 1})
	if c := r.call(callID(1)); c.State != ownership.CallAnswered || !c.AnsweredAt.Equal(at(2)) {
		t.Errorf("the answered call is %+v", c)
	}

	r.must(ownership.Failover{At: at(4), Node: "a", Fitness: fit("b")})
	r.refused(ownership.Release{At: at(5), Call: callID(1), Epoch: 1}, ownership.ErrStaleEpoch, "the call is at epoch 2")
	r.refused(ownership.Answered{At: at(5), Call: callID(2), Epoch: 1}, ownership.ErrStaleEpoch, "the call is at epoch 2")
	r.refused(ownership.Release{At: at(5), Call: callID(1), Epoch: 3}, ownership.ErrFutureEpoch, "is at epoch 2")
	r.refused(ownership.Release{At: at(5), Call: callID(9), Epoch: 1}, ownership.ErrUnknown, "not in the table")
	r.must(ownership.Release{At: at(6), Call: callID(1), Epoch: 2, Why: "hung up"})
	r.must(ownership.Release{At: at(7), Call: callID(1), Epoch: 2, Why: "again"})
	if c := r.call(callID(1)); c.State != ownership.CallEnded || !c.EndedAt.Equal(at(6)) || c.Ending != "hung up" {
		t.Errorf("the tombstone is %+v", c)
	}
	r.refused(ownership.Answered{At: at(8), Call: callID(1), Epoch: 2}, ownership.ErrConflict, "it is ended")
	r.must(ownership.Release{At: at(8), Call: callID(2), Why: "by an operator"})

	out := r.claimOn(9, fit("b"), claim(callID(1)))
	if p := out.Placements[0]; p.Reason != ownership.ReasonEnded || p.Owner != "b" {
		t.Errorf("a late repeat of an ended call was placed %+v", p)
	}
}

func TestSeen(t *testing.T) {
	r := newRig(t)
	r.join("a")
	r.claimOn(1, fit("a"), claim(callID(1)), claim(callID(2)))
	r.must(ownership.Release{At: at(2), Call: callID(2)})
	last := r.lastEvent()
	r.must(ownership.Seen{At: at(50), Calls: []ownership.CallID{callID(1), callID(2), callID(7)}})
	r.must(ownership.Seen{At: at(40), Calls: []ownership.CallID{callID(1)}})
	if c := r.call(callID(1)); !c.SeenAt.Equal(at(50)) {
		t.Errorf("the call was last seen at %s", c.SeenAt)
	}
	if c := r.call(callID(2)); !c.SeenAt.Equal(at(1)) {
		t.Errorf("an ended call was seen at %s", c.SeenAt)
	}
	if got := r.kinds(last); len(got) != 0 {
		t.Errorf("keepAlives are in the history: %v", got)
	}
}

func TestForget(t *testing.T) {
	r := newRig(t)
	r.join("a")
	r.claimOn(1, fit("a"), claim(callID(1)), claim(callID(2)), claim(callID(3)), claim("odd9"))
	for i, id := range []ownership.CallID{callID(1), callID(2), "odd9"} {
		r.must(ownership.Release{At: at(10 + i).Add(500 * time.Millisecond), Call: id})
	}
	r.must(ownership.Forget{At: at(20), Before: at(11).Add(500 * time.Millisecond)})
	for id, want := range map[ownership.CallID]bool{callID(1): false, callID(2): true, callID(3): true, "odd9": true} {
		if _, ok := r.table.Call(id); ok != want {
			t.Errorf("call %s is there: %v, want %v", id, ok, want)
		}
	}
	r.must(ownership.Forget{At: at(30), Before: at(30)})
	r.reopen()
	if n := r.table.Counts(); n.Calls != 1 || n.Live != 1 {
		t.Errorf("after all tombstones went the table counts %+v", n)
	}
	out := r.claimOn(31, fit("a"), claim(callID(1)), claim("odd9"))
	if p := out.Placements; p[0].Reason != ownership.ReasonLeastLoaded || p[1].Reason != ownership.ReasonLeastLoaded {
		t.Errorf("forgotten calls were placed %+v", p)
	}
}

// TestAnEndBeforeItsCall: the end of a call that the table does not know leaves a
// tombstone, so that a claim which comes later rings nowhere. It counts nowhere, and
// goes like any other.
func TestAnEndBeforeItsCall(t *testing.T) {
	r := newRegion(t, "a", "b")
	early := func(n int, app ownership.AppID) ownership.Release {
		return ownership.Release{At: at(5), Call: callID(n), Why: "the cloud ended it", Told: true, App: app}
	}
	r.refused(ownership.Release{At: at(5), Call: callID(1), Epoch: 1, Told: true}, ownership.ErrUnknown, "not in the table") // an owner's
	r.refused(ownership.Release{At: at(5), Call: callID(1), App: "app-1"}, ownership.ErrUnknown, "not in the table")
	r.refused(ownership.Release{At: at(5), Call: "A-B", Told: true, App: "app-1"}, ownership.ErrConflict, "no normalised call id")
	last := r.lastEvent()
	r.must(early(1, "app-1"))
	r.must(early(1, "app-1"))
	if got := r.kinds(last); !slices.Equal(got, []history.Kind{history.Ended}) {
		t.Errorf("the history has %v", got)
	}
	for _, when := range []string{"at once", "after a start"} {
		r.stands(when, map[int]stand3{1: {"a", 1, ownership.CallEnded}})
		if c := r.call(callID(1)); c.App != "app-1" || !c.EndedAt.Equal(at(5)) || c.Ending != "the cloud ended it" {
			t.Errorf("%s the tombstone is %+v", when, c)
		}
		if c := r.table.Counts(); c.Live != 0 || c.Calls != 1 {
			t.Errorf("%s the table counts %+v", when, c)
		}
		if line, err := r.table.Timeline(callID(1)); err != nil || len(line) != 1 || line[0].Kind != history.Ended {
			t.Errorf("%s its timeline is %+v, %v", when, line, err)
		}
		r.reopen()
	}
	r.passSnapshot()
	out := r.claimOn(6, fit("a", "b"), claim(callID(1)), claim(callID(2)))
	if got := out.Placements[0]; got.Reason != ownership.ReasonEnded {
		t.Errorf("its claim got %+v", got)
	}
	if got := out.Placements[1]; got.Reason != ownership.ReasonLeastLoaded {
		t.Errorf("another's claim got %+v", got)
	}
	// One that lives by now is its owner's to end.
	r.refused(early(2, "app-1"), ownership.ErrConflict, "it is claimed")
	r.refused(early(2, "other"), ownership.ErrConflict, "it is claimed")
	r.must(ownership.Forget{At: at(100), Before: at(99)})
	if _, known := r.table.Known(callID(1)); known {
		t.Error("the tombstone is never forgotten")
	}
}

// TestAnEndKeepsNoPartition: a partition that is to go takes no tombstone of a call
// that was never in it.
func TestAnEndKeepsNoPartition(t *testing.T) {
	r := newRegion(t, "a", "b")
	r.must(ownership.Depart{At: at(1), Node: "a", Fitness: fit("b")})
	r.must(ownership.Release{At: at(2), Call: callID(1), Told: true, App: "app-1"})
	if c := r.call(callID(1)); c.Partition != 3 {
		t.Errorf("the tombstone is in partition %d", c.Partition)
	}
	r.must(ownership.Forget{At: at(3), Before: at(0)})
	r.must(ownership.Release{At: at(4), Call: callID(2), Told: true, App: "app-1"})
	if p, _ := r.table.Partition(1); !p.Retired || r.call(callID(2)).Partition != 3 {
		t.Errorf("%+v", p)
	}
	none := newRegion(t)
	none.refused(ownership.Release{At: at(5), Call: callID(1), Told: true, App: "app-1"}, ownership.ErrUnknown, "no partition")
}
