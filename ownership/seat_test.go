package ownership

import (
	"errors"
	"testing"
)

// twoApps is a region of three nodes whose bots of two apps are all well.
func twoApps() *smallTable {
	t := threeNodes()
	for _, id := range []NodeID{"a", "b", "c"} {
		t.refit(id, func(f *Fitness) {
			f.Bot = false // what older leaders say of all apps together
			f.Apps = map[AppID]AppFitness{"app": {Bot: true}, "other": {Bot: true}}
		})
	}
	return t
}

func (t *smallTable) refitApp(id NodeID, app AppID, f AppFitness) { t.fit[id].Apps[app] = f }

// TestO3EachAppStandsForItself: a sick, full or busy bot keeps away the calls of
// its own app and of no other.
func TestO3EachAppStandsForItself(t *testing.T) {
	tests := []struct {
		name  string
		table func(*smallTable)
		owner NodeID // of a call of "app"
		why   string // b does not get it; empty: it does
	}{
		{"all are well", func(*smallTable) {}, "b", ""},
		{"the other app's bots are sick", func(t *smallTable) {
			for id := range t.fit {
				t.refitApp(id, "other", AppFitness{})
			}
		}, "b", ""},
		{"the other app's bot is busy", func(t *smallTable) { t.refitApp("b", "other", AppFitness{Bot: true, Load: 1, Room: 1}) }, "b", ""},
		{"its own bot is sick", func(t *smallTable) { t.refitApp("b", "app", AppFitness{}) }, "a", whySickBot},
		{"it has no bot there", func(t *smallTable) { delete(t.fit["b"].Apps, "app") }, "a", whyNoBot},
		{"its own bot is busy", func(t *smallTable) { t.refitApp("b", "app", AppFitness{Bot: true, Load: 1}) }, "a", whyBusyBot},
		{"its own bot is full", func(t *smallTable) {
			t.refitApp("b", "app", AppFitness{Bot: true, Room: 1})
			t.put(Call{ID: "x", App: "app", Partition: 10})
		}, "a", whyFullBot},
		{"calls of the other app do not fill its bot", func(t *smallTable) { t.refitApp("b", "app", AppFitness{Bot: true, Room: 40}) }, "b", ""},
		{"the node's capacity binds all apps together", func(t *smallTable) { t.node("b").Capacity = 5 }, "a", whyFull},
		{"load is the app's own", func(t *smallTable) { t.refitApp("b", "app", AppFitness{Bot: true, Load: 0.5}) }, "a", "(by score)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := twoApps()
			tt.table(table)
			got, err := Place(table, Claim{Call: "new", App: "app"}, noon, table.fit)
			if err != nil || got.Owner != tt.owner {
				t.Fatalf("placed on %q (%v), want %q; candidates %+v", got.Owner, err, tt.owner, got.Candidates)
			}
			for _, c := range got.Candidates {
				if c.Node == "b" && tt.why != "(by score)" && c.Rejected != tt.why {
					t.Errorf("b was rejected for %q, want %q", c.Rejected, tt.why)
				}
			}
		})
	}
}

// TestO3NoBotIsNotFull: more nodes would not help an app without a bot.
func TestO3NoBotIsNotFull(t *testing.T) {
	sick := func(t *smallTable) {
		for id := range t.fit {
			t.refitApp(id, "app", AppFitness{})
		}
	}
	tests := []struct {
		name  string
		table func(*smallTable)
		want  error
	}{
		{"every bot of the app is sick", sick, ErrNoBot},
		{"no node has one", func(t *smallTable) {
			for id := range t.fit {
				delete(t.fit[id].Apps, "app")
			}
		}, ErrNoBot},
		{"one is well, its node has no lease", func(t *smallTable) {
			sick(t)
			t.fit["b"] = Fitness{Apps: map[AppID]AppFitness{"app": {Bot: true}}}
		}, ErrNoBot},
		{"one is well and full", func(t *smallTable) {
			sick(t)
			t.refitApp("b", "app", AppFitness{Bot: true, Load: 1})
		}, ErrFull},
		{"no node has a lease", func(t *smallTable) { clear(t.fit) }, ErrFull},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := twoApps()
			tt.table(table)
			got, err := Place(table, Claim{Call: "new", App: "app"}, noon, table.fit)
			if !errors.Is(err, tt.want) || len(got.Candidates) != 3 || got.Candidates[0].Rejected == "" {
				t.Errorf("gave %+v and %v, want %v with three reasons", got, err, tt.want)
			}
		})
	}
}

// TestSeatsFillWithinABatch: what a batch places counts for the app and the node.
func TestSeatsFillWithinABatch(t *testing.T) {
	table := newTable().add("a", "", 5, 2)
	table.fit["a"] = Fitness{Leased: true, Apps: map[AppID]AppFitness{"app": {Bot: true, Room: 2}, "other": {Bot: true}}}
	p := NewPlacer(table, noon, table.fit)
	place := func(id CallID, app AppID) string {
		got, err := p.Place(Claim{Call: id, App: app})
		if err != nil {
			return got.Candidates[0].Rejected
		}
		return ""
	}
	for i, want := range []struct {
		app AppID
		why string
	}{{"app", ""}, {"other", ""}, {"app", ""}, {"app", whyFullBot}, {"other", ""}, {"other", ""}, {"other", whyFull}, {"app", whyFull}} {
		if got := place(CallID(rune('a'+i)), want.app); got != want.why {
			t.Errorf("claim %d of %q was refused for %q, want %q", i, want.app, got, want.why)
		}
	}
}

// TestV10InheritedPartitionsEmpty: a node that has partitions of its own puts no
// call into one that it inherited.
func TestV10InheritedPartitionsEmpty(t *testing.T) {
	for format, want := range map[uint32]PartitionID{FormatTokens: 1, FormatReservations: 9} {
		table := threeNodes()
		table.format = format
		table.parts[1].Owner, table.parts[1].Epoch = "b", 2
		for _, c := range table.calls {
			if c.Partition == 1 {
				table.end(c.ID)
			}
		}
		for p := PartitionID(10); p <= 16; p++ {
			table.fill(p, 6)
		}
		table.node("a").State, table.node("c").State = NodeDraining, NodeDraining
		got, err := Place(table, Claim{Call: "new"}, noon, table.fit)
		if err != nil || got.Partition != want {
			t.Errorf("format %d: placed in %d (%v), want %d", format, got.Partition, err, want)
		}
		if home, ok := Home(table, "b"); !ok || home.ID != want {
			t.Errorf("format %d: the home of b is %d (%v), want %d", format, home.ID, ok, want)
		}
	}
	table := threeNodes()
	for p := PartitionID(9); p <= 16; p++ {
		table.parts[p].Retired = true
	}
	table.parts[1].Owner = "b"
	if home, ok := Home(table, "b"); !ok || home.ID != 1 {
		t.Errorf("a node with an inherited partition only has the home %d (%v)", home.ID, ok)
	}
}

// TestAGroupWithASilentNode: calls reserved for a silent node tie nobody to who
// has their partition now; once the node is back the group goes on beside them.
func TestAGroupWithASilentNode(t *testing.T) {
	reserved := func() *smallTable {
		table := threeNodes()
		p := table.parts[1]
		p.Owner, p.Epoch, p.Reserved = "c", 2, []Reservation{{Node: "a", Epoch: 1}}
		for i := range 3 {
			table.put(leg(CallID(rune('x'+i)), 1, func(c *Call) { c.State, c.Pinned = CallAnswered, true }))
		}
		return table
	}
	claim := Claim{Call: "new", App: "app", Groups: []GroupKey{chain}}
	table := reserved()
	delete(table.fit, "a")
	if got, err := Place(table, claim, noon, table.fit); err != nil || got.Reason != ReasonLeastLoaded {
		t.Errorf("while the node is silent: %+v, %v", got, err)
	}
	table = reserved()
	if got, err := Place(table, claim, noon, table.fit); err != nil || got.Owner != "a" || got.Partition == 1 || got.Reason != ReasonTogether {
		t.Errorf("when the node is back: %+v, %v", got, err)
	}
	paired := claim
	paired.Paired = true
	if got, err := Place(table, paired, noon, table.fit); err != nil || got.Owner == "a" || got.Reason != ReasonApart {
		t.Errorf("the other leg of a pair: %+v, %v", got, err)
	}
}

// TestO34AnEstateIsShared: 12 calls in 8 partitions do not all go to one heir,
// though one of them came back empty a moment ago.
func TestO34AnEstateIsShared(t *testing.T) {
	for heirs := 2; heirs <= 7; heirs++ {
		table := newTable().add("dead", "", 500, 8)
		for i := range heirs {
			table.add(NodeID(rune('a'+i)), "", 500, 8)
			if i > 0 {
				table.fill(PartitionID(9+8*i), 40)
			}
		}
		for i := range 12 {
			table.fill(PartitionID(1+i%8), 1)
		}
		calls := map[NodeID]int{}
		for _, m := range Reassign(table, "dead", table.fit) {
			calls[m.To] += table.parts[m.Partition].Live
		}
		if len(calls) != heirs {
			t.Errorf("of %d heirs these got the calls: %v", heirs, calls)
		}
	}
}

// TestHeirsHaveTheAppsBots: a node whose only healthy bot is another app's gets
// partitions with calls only if no better one is there.
func TestHeirsHaveTheAppsBots(t *testing.T) {
	table := twoApps()
	table.put(Call{ID: "x", App: "app", Partition: 1})
	table.refitApp("b", "app", AppFitness{})
	to := func() NodeID {
		for _, m := range Reassign(table, "a", table.fit) {
			if m.Partition == 1 {
				return m.To
			}
		}
		return ""
	}
	if got := to(); got != "c" {
		t.Errorf("the calls went to %q, whose bot is sick", got)
	}
	if got, ok := Heir(table, *table.parts[1], table.fit); !ok || got != "c" {
		t.Errorf("the heir is %q (%v), want c", got, ok)
	}
	table.refitApp("c", "other", AppFitness{})
	table.refitApp("c", "app", AppFitness{})
	if got := to(); got != "b" {
		t.Errorf("the calls went to %q, want b: it has at least one healthy bot", got)
	}
}
