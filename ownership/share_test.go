package ownership

import (
	"fmt"
	"testing"
	"time"
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

// TestD4_AnOverdueCallTakesNoPlace: calls that were claimed and never answered take
// places of the node and of their app's share while they ring, and none after that.
func TestD4_AnOverdueCallTakesNoPlace(t *testing.T) {
	for _, test := range []struct {
		name  string
		table func() *smallTable
	}{
		{"one bot for all apps", threeNodes},
		{"each app its bot", twoApps},
	} {
		t.Run(test.name, func(t *testing.T) {
			table := test.table()
			table.nodes = table.nodes[1:2] // b
			table.node("b").Capacity = 20
			for i := range 15 { // beside the five that it has
				app := AppID("app")
				if i < 5 {
					app = "other"
				}
				table.put(Call{ID: CallID(fmt.Sprint("ringing", i)), App: app, Partition: 9, Epoch: 1, State: CallClaimed, Deadline: noon})
			}
			placed := func(at time.Time, app AppID) (got int) {
				p := NewPlacer(table, at, table.fit)
				for i := range 100 {
					if _, err := p.Place(Claim{Call: CallID(fmt.Sprint("new", i)), App: app}); err == nil {
						got++
					}
				}
				return got
			}
			if got := placed(noon, "app"); got != 0 {
				t.Errorf("%d places were found while all ring", got)
			}
			late := noon.Add(2 * time.Second)
			// Of two apps, each leaves the other a quarter of its share of ten.
			want := 15
			if test.name != "one bot for all apps" {
				want -= 3
			}
			for _, app := range []AppID{"app", "other"} {
				if got := placed(late, app); got != want {
					t.Errorf("when none rings any more, %d places were found for %q, want %d", got, app, want)
				}
			}
		})
	}
}
