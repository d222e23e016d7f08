package ownership

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestBirths(t *testing.T) {
	want := []Partition{
		{ID: 9, Owner: "b", Epoch: 1, BornOn: "b"},
		{ID: 10, Owner: "b", Epoch: 1, BornOn: "b"},
	}
	if diff := cmp.Diff(want, Births("b", 9, 2)); diff != "" {
		t.Error(diff)
	}
	for _, k := range []int{0, -1} {
		if got := Births("b", 9, k); got != nil {
			t.Errorf("%d births gave %v", k, got)
		}
	}
}

func TestHeir(t *testing.T) {
	tests := []struct {
		name  string
		table func(*smallTable)
		want  NodeID
	}{
		{"the one that is loaded least", func(t *smallTable) { t.fill(9, 3) }, "c"},
		{"not one that drains", func(t *smallTable) { t.fill(9, 3).node("c").State = NodeDraining }, "b"},
		{"not one without a lease", func(t *smallTable) { t.fill(9, 3); delete(t.fit, "c") }, "b"},
		{"not one with a sick bot", func(t *smallTable) { t.fill(9, 3).refit("c", func(f *Fitness) { f.Bot = false }) }, "b"},
		{"nobody, where all others drain", func(t *smallTable) {
			t.node("b").State, t.node("c").State = NodeDraining, NodeDraining
		}, ""},
		{"over capacity rather than not at all", func(t *smallTable) {
			t.node("b").Capacity, t.node("c").Capacity = 1, 1
		}, "b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := newTable().add("a", "", 10, 8).add("b", "", 10, 1).add("c", "", 10, 1)
			tt.table(v)
			got, ok := Heir(v, *v.parts[1], v.fit)
			if got != tt.want || ok != (tt.want != "") {
				t.Errorf("gave %q (%v), want %q", got, ok, tt.want)
			}
		})
	}
}

func TestReassign(t *testing.T) {
	tests := []struct {
		name  string
		table func(*smallTable)
		want  map[NodeID]int // partitions inherited before FormatReservations
		now   map[NodeID]int // and since; nil: the same
	}{
		{"by load: the heavy one to b, until c carries less", func(t *smallTable) { t.fill(1, 3).fill(2, 3) },
			map[NodeID]int{"b": 4, "c": 4}, map[NodeID]int{"b": 6, "c": 2}},
		{"one gets the heavy one, the other the rest", func(t *smallTable) {
			t.fill(9, 15) // level with c
		}, map[NodeID]int{"b": 1, "c": 7}, map[NodeID]int{"b": 2, "c": 6}},
		{"a heir twice as big gets more", func(t *smallTable) {
			t.fill(9, 15)
			t.node("b").Capacity = 100
		}, map[NodeID]int{"b": 8}, nil},
		{"over capacity rather than without an owner", func(t *smallTable) {
			t.node("b").Capacity, t.node("c").Capacity = 1, 1
		}, map[NodeID]int{"b": 7, "c": 1}, map[NodeID]int{"b": 6, "c": 2}},
		{"not to a draining node while another lives", func(t *smallTable) { t.node("b").State = NodeDraining }, map[NodeID]int{"c": 8}, nil},
		{"not to a node without a lease", func(t *smallTable) { delete(t.fit, "b") }, map[NodeID]int{"c": 8}, nil},
		{"not to a node with a sick bot", func(t *smallTable) { t.refit("b", func(f *Fitness) { f.Bot = false }) }, map[NodeID]int{"c": 8}, nil},
		{"to a draining node if there is no other", func(t *smallTable) {
			t.node("b").State, t.node("c").State = NodeDraining, NodeGone
		}, map[NodeID]int{"b": 8}, nil},
		{"to nobody if there is nobody", func(t *smallTable) {
			delete(t.fit, "b")
			t.node("c").State = NodeGone
		}, nil, nil},
		{"retired partitions stay", func(t *smallTable) {
			t.fill(9, 15)
			for p := range PartitionID(6) {
				t.parts[p+1].Retired = true
			}
		}, map[NodeID]int{"b": 1, "c": 1}, nil},
	}
	for _, tt := range tests {
		for _, format := range []uint32{FormatTokens, FormatReservations} {
			want := tt.want
			if format == FormatReservations && tt.now != nil {
				want = tt.now
			}
			t.Run(fmt.Sprintf("%s/format=%d", tt.name, format), func(t *testing.T) {
				table := threeNodes()
				table.format = format
				tt.table(table)
				got := map[NodeID]int{}
				for _, m := range Reassign(table, "a", table.fit) {
					if m.From != "a" || m.Epoch != 2 {
						t.Errorf("the move is %+v, want it from a to epoch 2", m)
					}
					got[m.To]++
				}
				if len(got) != len(want) || !maps.Equal(got, want) && want != nil {
					t.Errorf("the heirs got %v, want %v", got, want)
				}
			})
		}
	}
}

// TestReassignModel: each partition of the dead node moves once, to somebody
// fit, one epoch up; before FormatReservations no heir ends above the others by
// more than one partition's weight, since then none gets more than its part while
// another has room; and the order of the view makes no difference.
func TestReassignModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := drawTable(t)
		dead := rapid.SampledFrom([]NodeID{"a", "b", "c"}).Draw(t, "dead")
		moves := Reassign(table, dead, table.fit)
		fitAs := func(id NodeID, s NodeState) bool {
			return id != dead && table.node(id).State == s && table.fit[id].Leased && hasBot(table, id, "")
		}
		var heirs []NodeID
		for _, s := range []NodeState{NodeDraining, NodeActive} {
			var some []NodeID
			for _, n := range table.nodes {
				if fitAs(n.ID, s) {
					some = append(some, n.ID)
				}
			}
			if len(some) > 0 {
				heirs = some
			}
		}
		var estate []PartitionID
		for _, p := range table.PartitionsOf(dead) {
			if !p.Retired && len(heirs) > 0 {
				estate = append(estate, p.ID)
			}
		}
		var moved []PartitionID
		for _, m := range moves {
			moved = append(moved, m.Partition)
			if !slices.Contains(heirs, m.To) || m.From != dead || m.Epoch != table.parts[m.Partition].Epoch+1 {
				t.Fatalf("the move is %+v, the heirs are %v", m, heirs)
			}
		}
		if !slices.Equal(moved, estate) {
			t.Fatalf("partitions %v moved, the estate is %v", moved, estate)
		}
		if table.format < FormatReservations {
			checkSpread(t, table, heirs, moves)
		} else {
			checkParts(t, table, heirs, moves)
		}
		other := *table
		other.nodes = rapid.Permutation(table.nodes).Draw(t, "order")
		if diff := cmp.Diff(moves, Reassign(&other, dead, table.fit)); diff != "" {
			t.Fatalf("the verdict depends on the order:\n%s", diff)
		}
	})
}

// checkSpread: no heir would carry less if its lightest gift were another's.
func checkSpread(t *rapid.T, table *smallTable, heirs []NodeID, moves []Reassignment) {
	byID := map[NodeID]*heir{}
	lightest := map[NodeID]int{}
	all := standings(table, table.fit)
	for i := range all {
		byID[all[i].id] = &heir{standing: all[i], seat: all[i].whole()}
	}
	for _, m := range moves {
		w := weight(*table.parts[m.Partition])
		byID[m.To].live += w
		if l, ok := lightest[m.To]; !ok || w < l {
			lightest[m.To] = w
		}
	}
	for _, h := range heirs {
		for _, other := range heirs {
			if l, ok := lightest[h]; ok && other != h && byID[h].scoreWith(0) > byID[other].scoreWith(l) {
				t.Fatalf("%s carries %d after the moves, %s only %d", h, byID[h].live, other, byID[other].live)
			}
		}
	}
}

// checkParts: who got more calls than its part, beyond a single partition, found
// no other heir that had room and had not got its own part.
func checkParts(t *rapid.T, table *smallTable, heirs []NodeID, moves []Reassignment) {
	calls, got, room := 0, map[NodeID]int{}, 0
	capacities := map[NodeID]int{}
	for i, s := range standings(table, table.fit) {
		if id := s.id; slices.Contains(heirs, id) {
			capacities[id] = max(standings(table, table.fit)[i].whole().capacity, 1)
			room += capacities[id]
		}
	}
	lightest, alone := map[NodeID]int{}, map[NodeID]int{}
	for _, m := range moves {
		live := table.parts[m.Partition].Live
		if calls += live; live > 0 {
			got[m.To] += live
			alone[m.To]++
			if l, ok := lightest[m.To]; !ok || live < l {
				lightest[m.To] = live
			}
		}
	}
	limit := func(id NodeID) int {
		return max(1, calls*capacities[id]*(len(heirs)+1)/(room*len(heirs)))
	}
	for _, h := range heirs {
		if got[h] <= limit(h) || alone[h] < 2 {
			continue
		}
		for _, other := range heirs {
			empty := 0
			for _, m := range moves {
				if m.To == other {
					empty++
				}
			}
			// Everything it was ever given counts against its room, empty ones too.
			if other != h && got[other]+lightest[h] <= limit(other) &&
				table.Live(other)+got[other]+empty+lightest[h]+1 <= capacities[other] && sameBots(table, h, other) {
				t.Fatalf("%s got %d calls of %d, its part is %d; %s only %d", h, got[h], calls, limit(h), other, got[other])
			}
		}
	}
}

// sameBots reports whether two nodes have healthy bots of the same apps.
func sameBots(table *smallTable, a, b NodeID) bool {
	return !slices.ContainsFunc(someApps, func(app AppID) bool { return hasBot(table, a, app) != hasBot(table, b, app) })
}
