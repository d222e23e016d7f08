package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/ownership"
	"tandem/ownership/history"
)

// TestThePastIsAsItWas: of every call and partition, at every index that the history still
// tells of, what is read from the history is what the table held then. Where it does not
// say who acted for a call, it says so.
func TestThePastIsAsItWas(t *testing.T) {
	t.Parallel()
	r := newRegion(t, "a", "b", "c")
	dice := rand.New(rand.NewPCG(3, 3))
	type then struct {
		calls map[ownership.CallID]ownership.Call
		parts []ownership.Partition
		nodes []ownership.Node
		at    time.Time
	}
	was := map[uint64]then{}
	const calls = 25
	for i := range 600 {
		id := callID(dice.IntN(calls))
		switch node := []ownership.NodeID{"b", "c"}[dice.IntN(2)]; dice.IntN(20) {
		case 0:
			r.do(ownership.Drain{At: at(i), Node: node})
		case 1, 2:
			r.do(ownership.Undrain{At: at(i), Node: node})
		}
		switch c, known := r.table.Call(id); {
		case !known || c.State == ownership.CallEnded:
			r.do(ownership.Forget{At: at(i), Before: at(i - 100)})
			if _, there := r.table.Call(id); !there {
				r.claimOn(i, fit("a", "b", "c"), claim(id, func(c *ownership.Claim) { c.Pinned = dice.IntN(3) == 0 }))
			}
		case dice.IntN(2) == 0 && c.State == ownership.CallClaimed:
			r.do(ownership.Answered{At: at(i), Call: id, Epoch: c.Epoch})
		case dice.IntN(5) == 0:
			r.do(ownership.Release{At: at(i), Call: id, Epoch: c.Epoch, Why: fmt.Sprint("end ", i), Told: true})
		case dice.IntN(6) == 0:
			r.do(ownership.Failover{At: at(i), Node: c.Owner, Fitness: fit("a", "b", "c")})
		case dice.IntN(8) == 0:
			r.do(ownership.Lapse{At: at(i), Node: "a"})
		default:
			p, _ := r.table.Partition(c.Partition)
			r.do(ownership.Move{At: at(i), Partition: p.ID, Epoch: p.Epoch, To: []ownership.NodeID{"a", "b", "c"}[dice.IntN(3)]})
		}
		now := then{calls: map[ownership.CallID]ownership.Call{}, parts: slices.Clone(r.table.Partitions()), nodes: r.table.Nodes(), at: at(i)}
		for k := range calls {
			if c, ok := r.table.Call(callID(k)); ok {
				now.calls[c.ID] = c
			}
		}
		was[r.table.Applied()] = now
	}
	events, err := r.table.Events(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	owning := slices.DeleteFunc(slices.Clone(events), func(e history.Event) bool { return !e.Owning() })
	members := slices.DeleteFunc(slices.Clone(events), func(e history.Event) bool { return !e.Owning() && !e.Member() })
	told, open, others := 0, 0, 0
	for index, then := range was {
		for _, m := range []history.Moment{{Index: index}, {At: then.at}} {
			got := history.PartitionsAt(r.table.Partitions(), owning, m)
			for i := range then.parts {
				p := then.parts[i]
				want := ownership.Partition{ID: p.ID, Owner: p.Owner, Epoch: p.Epoch, BornOn: p.BornOn, Retired: p.Retired, RetiredAt: p.RetiredAt}
				if diff := cmp.Diff(want, got[i]); diff != "" {
					t.Fatalf("at %+v, partition %d:\n%s", m, p.ID, diff)
				}
			}
			if index%25 != 0 { // of the rest, what follows is enough
				continue
			}
			living, err := r.table.LivingAt(m)
			if err != nil {
				t.Fatal(err)
			}
			for id, c := range then.calls {
				if c.State == ownership.CallEnded {
					continue
				}
				if _, listed := slices.BinarySearch(living, id); !listed {
					t.Fatalf("at %+v call %s was %s, and is not among the %d that may have lived", m, id, c.State, len(living))
				}
				others--
			}
			others += len(living)
			for i, n := range history.NodesAt(r.table.Nodes(), members, m) {
				if want := then.nodes[i]; n.ID != want.ID || n.State != want.State {
					t.Fatalf("at %+v node %s was %s, and it tells that %s was %s", m, want.ID, want.State, n.ID, n.State)
				}
			}
		}
		for k := range calls {
			id := callID(k)
			line, err := r.table.Timeline(id)
			if err != nil {
				t.Fatal(err)
			}
			today, known := r.table.Call(id)
			got, there := history.CallAt(today, known, line, history.Moment{Index: index})
			want, stood := then.calls[id]
			if stood && want.State != ownership.CallEnded && len(line) > 0 && line[0].Kind != history.Claimed && !there {
				continue // of an earlier life, which the timeline leaves out
			}
			if stood != there && stood {
				t.Fatalf("at %d call %s stood: %+v, and it tells %+v of %v", index, id, want, got, line)
			}
			if !stood {
				continue // forgotten by then, or not there yet
			}
			if got.Owner == "" {
				open++
				continue
			}
			told++
			if got.State != want.State && !(want.Pinned && want.State == ownership.CallOrphaned) || want.State.Live() && (got.Owner != want.Owner || got.Epoch != want.Epoch) {
				t.Fatalf("at %d call %s was %+v, and it tells %+v of %+v", index, id, want, got, line)
			}
		}
	}
	if others > told/2 {
		t.Errorf("%d calls more are listed than lived", others)
	}
	if told < 1000 || open > told {
		t.Errorf("%d are told, %d are open", told, open)
	}
}
