package ownership

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// onTrial is a region in which node c alone has another version.
func onTrial(turn Turn) (*smallTable, *Placer) {
	t := newTable().add("a", "east", 5000, 8).add("b", "east", 5000, 8).add("c", "west", 5000, 8)
	t.format = FormatRollouts
	turn.App, turn.Version, turn.Nodes = "app", "2", []NodeID{"c"}
	return t, NewPlacer(t, noon, t.fit).Turns([]Turn{turn})
}

func calls(t *testing.T, table *smallTable, p *Placer, n int, change func(*Claim)) map[NodeID]int {
	t.Helper()
	went := map[NodeID]int{}
	for i := range n {
		c := Claim{Call: CallID(fmt.Sprintf("%032x", i)), App: "app"}
		if change != nil {
			change(&c)
		}
		pl, err := p.Place(c)
		if err != nil {
			t.Fatalf("call %d: %v: %+v", i, err, pl.Candidates)
		}
		table.record(c, pl, noon)
		went[pl.Owner]++
	}
	return went
}

func TestAVersionGetsItsShareAndNoMoreThanIsLeft(t *testing.T) {
	for name, tt := range map[string]struct {
		turn        Turn
		change      func(*Claim)
		before      func(*smallTable)
		least, most int // of 2000 calls
	}{
		"one in a hundred":                    {turn: Turn{Share: 100, Left: -1}, least: 8, most: 40},
		"half":                                {turn: Turn{Share: 5000, Left: -1}, least: 900, most: 1100},
		"all":                                 {turn: Turn{Share: WholeShare, Left: -1}, least: 2000, most: 2000},
		"five calls are left":                 {turn: Turn{Share: WholeShare, Left: 5}, least: 5, most: 5},
		"none is left":                        {turn: Turn{Share: 5000, Left: 0}},
		"halted":                              {turn: Turn{Share: WholeShare, Left: -1, Halted: true}},
		"another app's":                       {turn: Turn{Share: 100, Left: -1}, change: func(c *Claim) { c.App = "other" }, least: 600, most: 700},
		"a pin goes before the share":         {turn: Turn{Share: 100, Left: -1}, change: func(c *Claim) { c.Pin.Node = "c" }, least: 2000, most: 2000},
		"a pin goes not before the limit":     {turn: Turn{Share: 100, Left: 5}, change: func(c *Claim) { c.Pin.Node = "c" }, least: 5, most: 5},
		"a pin goes not before a halt":        {turn: Turn{Share: 100, Left: -1, Halted: true}, change: func(c *Claim) { c.Pin.Node = "c" }},
		"only it is fit, and it is halted":    {turn: Turn{Share: 100, Left: -1, Halted: true}, before: sickBots("a", "b"), least: 2000, most: 2000},
		"only it is fit, and nothing is left": {turn: Turn{Share: 100, Left: 0}, before: sickBots("a", "b"), least: 2000, most: 2000},
		"it is sick":                          {turn: Turn{Share: WholeShare, Left: -1}, before: sickBots("c")},
	} {
		t.Run(name, func(t *testing.T) {
			table, _ := onTrial(tt.turn)
			if tt.before != nil {
				tt.before(table)
			}
			tt.turn.App, tt.turn.Version, tt.turn.Nodes = "app", "2", []NodeID{"c"}
			p := NewPlacer(table, noon, table.fit).Turns([]Turn{tt.turn})
			if got := calls(t, table, p, 2000, tt.change)["c"]; got < tt.least || got > tt.most {
				t.Errorf("the version got %d of 2000 calls, want %d to %d", got, tt.least, tt.most)
			}
		})
	}
}

func sickBots(ids ...NodeID) func(*smallTable) {
	return func(t *smallTable) {
		for _, id := range ids {
			t.refit(id, func(f *Fitness) { f.Bot = false })
		}
	}
}

// TestAMeetingStaysTogetherBesideShares: its calls go where it lives, but for a halt.
func TestAMeetingStaysTogetherBesideShares(t *testing.T) {
	for name, tt := range map[string]struct {
		turn Turn
		want int // of 50 calls, at c
	}{
		"a small share": {Turn{Share: 1, Left: -1}, 50},
		"the limit":     {Turn{Share: 1, Left: 5}, 5},
		"a halt":        {Turn{Share: 1, Left: -1, Halted: true}, 0},
	} {
		table, p := onTrial(tt.turn)
		table.put(Call{ID: "first", App: "app", Partition: 17, Epoch: 1, Groups: []GroupKey{"thread:x"}, State: CallAnswered})
		if got := calls(t, table, p, 50, func(c *Claim) { c.Groups = []GroupKey{"thread:x"} })["c"]; got != tt.want {
			t.Errorf("%s: %d of the meeting's 50 calls went to its node, want %d", name, got, tt.want)
		}
	}
}

// TestAHaltSaysWhyAndFullIsNotStarved: the candidates name the reason, and a region whose other nodes are
// full is full: a halted version is not the way out.
func TestAHaltSaysWhyAndFullIsNotStarved(t *testing.T) {
	table, _ := onTrial(Turn{})
	for _, id := range []NodeID{"a", "b"} {
		table.node(id).Capacity = 1
	}
	p := NewPlacer(table, noon, table.fit).Turns([]Turn{{App: "app", Version: "2", Nodes: []NodeID{"c"}, Share: WholeShare, Left: -1, Halted: true}})
	calls(t, table, p, 2, nil)
	pl, err := p.Place(Claim{Call: "third", App: "app"})
	if !errors.Is(err, ErrFull) {
		t.Fatalf("it went to %+v, %v", pl, err)
	}
	why := map[NodeID]string{}
	for _, c := range pl.Candidates {
		why[c.Node] = c.Rejected
	}
	if why["c"] != whyHalted || why["a"] != whyFull {
		t.Errorf("the candidates say %q", why)
	}
	// A share is no halt: what no other node can take goes to the version all the same.
	p = NewPlacer(table, noon, table.fit).Turns([]Turn{{App: "app", Version: "2", Nodes: []NodeID{"c"}, Share: 1, Left: -1}})
	if pl, err := p.Place(Claim{Call: "third", App: "app"}); err != nil || pl.Owner != "c" {
		t.Errorf("it went to %+v, %v", pl, err)
	}
}

// TestTurnsNeverLoseACall: whatever the turns are, a call that could be placed without them and without
// fullness is placed with them, and never more than is left goes to a version while another is fit.
func TestTurnsNeverLoseACall(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		table := newTable().add("a", "east", 5000, 4).add("b", "east", 5000, 4).add("c", "west", 5000, 4)
		table.format = FormatRollouts
		var turns []Turn
		left := map[string]int{}
		for k, nodes := range rapid.SampledFrom([][][]NodeID{{{"c"}}, {{"b", "c"}}, {{"b"}, {"c"}}, {{"a"}, {"b"}, {"c"}}}).Draw(rt, "nodes") {
			tn := Turn{App: "app", Version: fmt.Sprint(k), Nodes: nodes, Share: rapid.IntRange(1, WholeShare).Draw(rt, "share"), Left: rapid.IntRange(-1, 9).Draw(rt, "left"), Halted: rapid.Bool().Draw(rt, "halted")}
			turns = append(turns, tn)
			left[tn.Version] = tn.Left
			if tn.Halted {
				left[tn.Version] = 0
			}
		}
		for _, id := range []NodeID{"a", "b", "c"} {
			if rapid.IntRange(0, 3).Draw(rt, "sick") == 0 {
				sickBots(id)(table)
			}
		}
		p := NewPlacer(table, noon, table.fit).Turns(turns)
		for i := range 40 {
			c := Claim{Call: CallID(fmt.Sprintf("%032x", i)), App: "app"}
			bare, bareErr := NewPlacer(table, noon, table.fit).Place(c)
			pl, err := p.Place(c)
			if (err == nil) != (bareErr == nil) {
				rt.Fatalf("call %d goes to %+v, %v; without turns to %+v, %v", i, pl, err, bare, bareErr)
			}
			if err != nil {
				continue
			}
			table.record(c, pl, noon)
			free := func(id NodeID) bool {
				for _, tn := range turns {
					for _, n := range tn.Nodes {
						if n == id {
							return left[tn.Version] != 0
						}
					}
				}
				return true
			}
			another := false
			for _, id := range []NodeID{"a", "b", "c"} {
				another = another || table.fit[id].Bot && free(id)
			}
			if another && !free(pl.Owner) {
				rt.Fatalf("call %d went to %s, whose version takes none: %+v", i, pl.Owner, turns)
			}
			for _, tn := range turns {
				for _, n := range tn.Nodes {
					if n == pl.Owner && left[tn.Version] > 0 {
						left[tn.Version]--
					}
				}
			}
		}
	})
}

// TestAHaltedVersionsNodesAreNoRoom for new calls, unless they are all that is left.
func TestAHaltedVersionsNodesAreNoRoom(t *testing.T) {
	turn := Turn{App: "app", Version: "2", Nodes: []NodeID{"c"}, Share: WholeShare, Left: -1, Halted: true}
	for _, tt := range []struct {
		sick []NodeID
		want int
	}{{nil, 2000}, {[]NodeID{"a", "b"}, 1000}} {
		table := newTable().add("a", "east", 1000, 4).add("b", "east", 1000, 4).add("c", "west", 1000, 4)
		table.format = FormatRollouts
		for _, id := range []NodeID{"a", "b", "c"} {
			table.refit(id, func(f *Fitness) { f.Apps = map[AppID]AppFitness{"app": {Bot: true}} })
		}
		for _, id := range tt.sick {
			table.refit(id, func(f *Fitness) { f.Apps = map[AppID]AppFitness{"app": {}} })
		}
		if got := NewPlacer(table, noon, table.fit).Turns([]Turn{turn}).Rooms(); len(got) != 1 || got[0].Room != tt.want {
			t.Errorf("with the bots of %v sick there is room for %+v, want %d", tt.sick, got, tt.want)
		}
	}
}
