package admin

import (
	"strings"
	"testing"

	"tandem/ownership"
	"tandem/ownership/history"
)

// TestANodeThatLeftSaysSo, for all else that it tells sounds as if its region were unwell.
func TestANodeThatLeftSaysSo(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	const said = "This node is out of its region"
	if a := r.ask("GET", "/v1/status", ""); strings.Contains(a.text, said) {
		t.Errorf("a member says %s", a.text)
	}
	r.fake.set(func() {
		self := r.fake.nodes["emea-1"]
		self.State = ownership.NodeGone
		r.fake.nodes["emea-1"] = self
	})
	for _, path := range []string{"/v1/status", "/console/"} {
		if a := r.ask("GET", path, "").want(t, 200); !strings.Contains(a.text, said) {
			t.Errorf("%s: a node that left says %s", path, a.text)
		}
	}
}

// TestWhoActsForACallOfASilentNode: API and console name the node that a call is
// reserved for, and say what became of it, not who owns its partition.
func TestWhoActsForACallOfASilentNode(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	part := func(v ownership.Reservation) {
		v.Node, v.Epoch, v.Since, v.Live = "emea-1", 1, start, 1
		r.fake.set(func() {
			r.fake.partitions[2] = ownership.Partition{ID: 2, Owner: "emea-2", Epoch: 2, BornOn: "emea-1", Reserved: []ownership.Reservation{v}}
		})
	}
	stands := func(owner ownership.NodeID, epoch ownership.Epoch, state ownership.CallState) {
		r.fake.set(func() {
			c := r.fake.calls["57dab8b1"]
			c.Owner, c.Epoch, c.State = owner, epoch, state
			r.fake.calls["57dab8b1"] = c
		})
	}
	r.fake.add(ownership.Call{ID: "57dab8b1", Partition: 2, State: ownership.CallAnswered, Pinned: true, Via: "emea-3", ClaimedAt: start,
		Placement: ownership.Placement{Partition: 2, Epoch: 1, Owner: "emea-1", Reason: ownership.ReasonLeastLoaded}})
	r.fake.tell(history.Event{Kind: "answered", Call: "57dab8b1", Partition: 2, Node: "emea-1", Epoch: 1})
	look := func(what, says string, pages ...string) {
		t.Helper()
		x, err := r.client("").ExplainCall(t.Context(), "57dab8b1")
		if err != nil || !strings.Contains(x.Why[len(x.Why)-1], says) {
			t.Errorf("%s: %q (%v) does not say %q", what, x.Why, err, says)
		}
		for _, path := range []string{"/console/calls", "/console/calls/57dab8b1"} {
			a := r.ask("GET", path, "").want(t, 200)
			for _, want := range pages {
				if !strings.Contains(a.text, want) {
					t.Errorf("%s: %s does not show %q", what, path, want)
				}
			}
			if strings.Contains(a.text, "pill reserved") != (what == "reserved") {
				t.Errorf("%s: %s shows a reservation, or none", what, path)
			}
		}
	}
	part(ownership.Reservation{})
	stands("emea-1", 1, ownership.CallAnswered)
	look("reserved", "it is reserved for that node at epoch 1", "emea-1", "<span class=\"pill reserved\"")
	part(ownership.Reservation{Lapsed: []ownership.AppID{ownership.AllApps}})
	stands("emea-2", 2, ownership.CallOrphaned)
	look("lapsed", "If emea-1 is back before that bot takes it up", "emea-2", "pill orphaned")
	part(ownership.Reservation{Final: true})
	look("removed", "which was removed: the bot beside emea-2", "emea-2")
	r.fake.tell(history.Event{Kind: "taken-up", Call: "57dab8b1", Partition: 2, Node: "emea-2", Epoch: 2})
	look("taken up", "the bot beside emea-2 has taken it up", "emea-2")
}
