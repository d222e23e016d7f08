package ownership

import (
	"errors"
	"fmt"
	"testing"
)

// TestPlaceTellsWhyNot reads each reason of rejection where explain shows it.
func TestPlaceTellsWhyNot(t *testing.T) {
	observed := func(c *Call) { c.Observed = "person" }
	tests := []struct {
		name  string
		table func(*smallTable)
		claim Claim
		node  NodeID
		want  string
	}{
		{"draining", func(t *smallTable) { t.node("c").State = NodeDraining }, Claim{}, "c", whyDraining},
		{"gone", func(t *smallTable) { t.node("c").State = NodeGone }, Claim{}, "c", whyGone},
		{"no lease", func(t *smallTable) { delete(t.fit, "c") }, Claim{}, "c", whyNoLease},
		{"sick bot", func(t *smallTable) { t.refit("c", func(f *Fitness) { f.Bot = false }) }, Claim{}, "c", whySickBot},
		{"full", func(t *smallTable) { t.node("c").Capacity = 20 }, Claim{}, "c", whyFull},
		{"no capacity at all", func(t *smallTable) { t.node("c").Capacity = 0 }, Claim{}, "c", whyFull},
		{"busy bot", func(t *smallTable) { t.refit("c", func(f *Fitness) { f.Load = 1 }) }, Claim{}, "c", whyBusyBot},
		{"no partition", func(t *smallTable) { t.add("d", "", 50, 0) }, Claim{}, "d", whyNoHome},
		{"retired partitions only", func(t *smallTable) {
			for _, p := range t.parts {
				p.Retired = p.Owner == "c"
			}
		}, Claim{}, "c", whyNoHome},
		{"pinned node", nil, Claim{Pin: Pin{Node: "a"}}, "c", whyPinNode},
		{"pinned zone", nil, Claim{Pin: Pin{Zone: "east"}}, "c", whyPinZone},
		{"pinned version", func(t *smallTable) { t.node("a").Version = "2" }, Claim{Pin: Pin{Version: "2"}}, "c", whyPinVer},
		{"other leg", func(t *smallTable) { t.put(leg("l", 17, observed)) }, Claim{App: "app", Observed: "person", Groups: []GroupKey{chain}}, "c", whyOtherLeg},
		{"other leg's zone", func(t *smallTable) { t.put(leg("l", 1, observed)) }, Claim{App: "app", Observed: "person", Groups: []GroupKey{chain}}, "b", whyOtherZone},
		{"group elsewhere", func(t *smallTable) { t.put(leg("l", 1, func(c *Call) { c.State = CallAnswered })) },
			Claim{App: "app", Groups: []GroupKey{chain}}, "c", whyElsewhere},
		{"outgoing from elsewhere", nil, Claim{Answered: true, Pin: Pin{Node: "a"}}, "c", whyPinNode},
		{"lost only by score", nil, Claim{}, "c", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := threeNodes()
			if tt.table != nil {
				tt.table(table)
			}
			tt.claim.Call = "new"
			got, err := Place(table, tt.claim, noon, table.fit)
			if err != nil {
				t.Fatal(err)
			}
			if got.Candidates[0].Node != got.Owner || got.Candidates[0].Rejected != "" {
				t.Errorf("the first candidate is %+v, want the winner %q", got.Candidates[0], got.Owner)
			}
			for _, c := range got.Candidates {
				if c.Node == tt.node {
					if c.Rejected != tt.want {
						t.Errorf("%s was rejected for %q, want %q", c.Node, c.Rejected, tt.want)
					}
					return
				}
			}
			t.Errorf("%s is not among %+v", tt.node, got.Candidates)
		})
	}
}

func TestPlaceKeepsTheBestCandidates(t *testing.T) {
	table := newTable()
	for i := range 12 {
		table.add(NodeID("abcdefghijkl"[i:i+1]), "", 50, 1).fill(PartitionID(i+1), 20-i)
	}
	table.node("l").State = NodeDraining
	got, err := Place(table, Claim{Call: "new"}, noon, table.fit)
	if err != nil {
		t.Fatal(err)
	}
	var ids NodeID
	for _, c := range got.Candidates {
		ids += c.Node
	}
	if want := NodeID("kjihgfed"); ids != want {
		t.Errorf("the candidates are %q, want the %d best, %q", ids, MaxCandidates, want)
	}
}

func TestFullTellsWhyNot(t *testing.T) {
	table := threeNodes()
	for i := range table.nodes {
		table.nodes[i].Capacity = 1
	}
	got, err := Place(table, Claim{Call: "new"}, noon, table.fit)
	if !errors.Is(err, ErrFull) || len(got.Candidates) != 3 {
		t.Fatalf("got %+v and %v, want ErrFull with three candidates", got, err)
	}
	for _, c := range got.Candidates {
		if c.Rejected != whyFull {
			t.Errorf("%s was rejected for %q, want %q", c.Node, c.Rejected, whyFull)
		}
	}
}

// TestTiesSpread: equal nodes share the calls by rendezvous, so a node that is
// added takes its part and no call changes between the others.
func TestTiesSpread(t *testing.T) {
	two, three := newTable().add("a", "", 50, 1).add("b", "", 50, 1), newTable().add("a", "", 50, 1).add("b", "", 50, 1).add("c", "", 50, 1)
	count := map[NodeID]int{}
	for i := range 300 {
		claim := Claim{Call: CallID(fmt.Sprintf("call%d", i))}
		before, errBefore := Place(two, claim, noon, two.fit)
		after, errAfter := Place(three, claim, noon, three.fit)
		if err := errors.Join(errBefore, errAfter); err != nil {
			t.Fatal(err)
		}
		if after.Owner != before.Owner && after.Owner != "c" {
			t.Errorf("%s went from %s to %s when c was added", claim.Call, before.Owner, after.Owner)
		}
		count[after.Owner]++
	}
	for _, id := range []NodeID{"a", "b", "c"} {
		if count[id] < 70 {
			t.Errorf("%s got %d of 300 calls, expected about 100", id, count[id])
		}
	}
}

// TestPlacerLeavesTheViewAlone: a view may hand out its own slices.
func TestPlacerLeavesTheViewAlone(t *testing.T) {
	view, fit := benchView(3)
	p := NewPlacer(view, noon, fit)
	for i := range 20 {
		if _, err := p.Place(Claim{Call: CallID(fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
	}
	for id, parts := range view.parts {
		for _, part := range parts {
			if part.Live != 0 {
				t.Errorf("partition %d of %s was changed to %d live calls", part.ID, id, part.Live)
			}
		}
	}
}
