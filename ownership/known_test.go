package ownership

import (
	"testing"
	"time"
)

// reservedView holds one call that is reserved for a node that fell silent.
type reservedView struct{ View }

func (v reservedView) Known(id CallID) (Known, bool) {
	if id != "kept" {
		return v.View.Known(id)
	}
	return Known{App: "app", Partition: 3, Owner: "b", Epoch: 1, State: CallAnswered, Pinned: true}, true
}

// TestO22_ARepeatHearsWhoActsForTheCall: not who owns its partition by now.
func TestO22_ARepeatHearsWhoActsForTheCall(t *testing.T) {
	table := threeNodes()
	table.parts[3].Owner, table.parts[3].Epoch = "c", 2
	got, err := Place(reservedView{table}, Claim{Call: "kept", App: "app"}, time.Unix(1, 0), table.fit)
	if err != nil || got.Owner != "b" || got.Epoch != 1 || got.Partition != 3 || got.Reason != ReasonKnown {
		t.Errorf("%+v, %v", got, err)
	}
}
