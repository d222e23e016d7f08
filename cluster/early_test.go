package cluster

import (
	"errors"
	"testing"

	"tandem/ownership"
)

// TestAnEndBeforeItsClaim: whoever claims a call after its end was told, anywhere in
// the region, hears that it has ended; a call that lives is left to its owner.
func TestAnEndBeforeItsClaim(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	lead := leaderOf(t, nodes...)
	rest := without(nodes, lead)
	for i, n := range []*testNode{lead, rest[0]} {
		early, lives := claimOf(10*i+1), claimOf(10*i+2)
		claim(t, rest[1], 10*i+2)
		if err := n.Ended(soon(t), unclaimed(early), unclaimed(lives)); err != nil {
			t.Fatal(err)
		}
		if k, ok := n.Find(early.Call); !ok || k.State != ownership.CallEnded || k.App != early.App {
			t.Errorf("%s knows %+v", n.id, k)
		}
		if k, ok := n.Find(lives.Call); !ok || k.State != ownership.CallClaimed {
			t.Errorf("%s knows of the call that lives %+v", n.id, k)
		}
		for _, at := range nodes {
			if p, err := at.Claim(soon(t), early); err != nil || p.Reason != ownership.ReasonEnded {
				t.Errorf("%s: the claim after the end got %+v, %v", at.id, p, err)
			}
		}
	}
	lone := rest[0]
	lone.cut()
	eventually(t, "a node that knows that it is alone", func() bool { return lone.Status().Leader == "" })
	if err := lone.Ended(soon(t), unclaimed(claimOf(99))); !errors.Is(err, ownership.ErrNoLeader) {
		t.Errorf("alone: %v", err)
	}
}

func unclaimed(c ownership.Claim) ownership.Unclaimed {
	return ownership.Unclaimed{Call: c.Call, App: c.App, Tenant: c.Tenant, Chain: "chain"}
}
