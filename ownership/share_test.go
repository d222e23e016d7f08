package ownership

import (
	"fmt"
	"testing"
)

// TestD4_OneAppLeavesRoomForOthers: an app that asks for more than all room gets what
// the others do not need, and leaves each a part of its share on every node; those of
// the others still find room, until the nodes are full. Nothing is lent to an app
// whose bot is not well.
func TestD4_OneAppLeavesRoomForOthers(t *testing.T) {
	table := twoApps()
	for _, id := range []NodeID{"a", "b", "c"} {
		table.node(id).Capacity = table.Live(id) + 40
	}
	placed := func(p *Placer, app AppID, n int) (got int) {
		for i := range n {
			if _, err := p.Place(Claim{Call: CallID(fmt.Sprint(app, i)), App: app}); err == nil {
				got++
			}
		}
		return got
	}
	p := NewPlacer(table, noon, table.fit)
	flood := placed(p, "other", 1000)
	room := 0
	for i := range p.nodes {
		free := p.nodes[i].capacity - p.nodes[i].live
		if free == 0 {
			t.Errorf("the flood has filled node %s", p.nodes[i].id)
		}
		room += free
	}
	if flood < 60 || flood+room != 120 {
		t.Errorf("the flood got %d places of 120, %d are left", flood, room)
	}
	if got := placed(p, "app", 1000); got != room {
		t.Errorf("the other app got %d places of the %d that are left", got, room)
	}
	for id := range table.fit {
		table.refitApp(id, "app", AppFitness{})
	}
	if got := placed(NewPlacer(table, noon, table.fit), "other", 1000); got != 120 {
		t.Errorf("beside an app without a bot the flood got %d places of 120", got)
	}
}
