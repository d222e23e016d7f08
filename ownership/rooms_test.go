package ownership

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestO28_RoomIsWhatPlacementFinds: an app's room is the number of its calls that find
// a place, whatever the other app and the bots hold; and an app whose bots are all
// sick has none.
func TestO28_RoomIsWhatPlacementFinds(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 28))
	for round := range 200 {
		table := twoApps()
		for _, id := range []NodeID{"a", "b", "c"} {
			table.node(id).Capacity = table.Live(id) + rnd.IntN(30)
			table.node(id).State = []NodeState{NodeActive, NodeActive, NodeActive, NodeDraining}[rnd.IntN(4)]
			for _, app := range []AppID{"app", "other"} {
				table.refitApp(id, app, AppFitness{Bot: rnd.IntN(4) > 0, Room: rnd.IntN(3) * 10, Load: float64(rnd.IntN(5)) / 4})
			}
			table.refit(id, func(f *Fitness) { f.Leased = rnd.IntN(5) > 0 })
		}
		for _, r := range NewPlacer(table, noon, table.fit).Rooms() {
			placed, p := 0, NewPlacer(table, noon, table.fit)
			for i := range 1000 {
				if _, err := p.Place(Claim{Call: CallID(fmt.Sprint("new", i)), App: r.App}); err == nil {
					placed++
				}
			}
			if placed != r.Room {
				t.Fatalf("round %d: %s is said to have room for %d calls, %d found a place", round, r.App, r.Room, placed)
			}
			if r.Room > 0 && !r.Healthy {
				t.Fatalf("round %d: %s has room and no healthy bot", round, r.App)
			}
		}
	}
	table := twoApps()
	for id := range table.fit {
		table.refitApp(id, "other", AppFitness{})
	}
	table.refit("b", func(f *Fitness) { f.Leased = false })
	p := NewPlacer(table, noon, table.fit)
	for _, r := range p.Rooms() {
		if sick := r.App == "other"; r.Healthy == sick || (r.Room == 0) != sick {
			t.Errorf("%+v", r)
		}
	}
}
