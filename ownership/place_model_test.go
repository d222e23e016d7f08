package ownership

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var (
	someKeys = []GroupKey{"chain:1", "chain:2", "thread:1", "transferor:1"}
	someApps = []AppID{"app", "other app"}
)

// drawTable makes a region in any condition: sick, full, draining, gone nodes,
// partitions that moved, groups spread over several nodes, tombstones.
func drawTable(t *rapid.T) *smallTable {
	table := newTable()
	table.format = rapid.SampledFrom([]uint32{FormatTokens, FormatReservations}).Draw(t, "format")
	ids := rapid.Permutation([]NodeID{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}).Draw(t, "ids")
	for _, id := range ids[:rapid.IntRange(0, len(ids)).Draw(t, "nodes")] {
		table.add(id, rapid.SampledFrom([]string{"", "east", "west"}).Draw(t, "zone"),
			rapid.IntRange(0, 12).Draw(t, "capacity"), rapid.IntRange(0, 3).Draw(t, "partitions"))
		n := table.node(id)
		n.State = rapid.SampledFrom([]NodeState{NodeActive, NodeActive, NodeActive, NodeDraining, NodeGone}).Draw(t, "state")
		n.Version = rapid.SampledFrom([]string{"1.0", "1.0", "2.0"}).Draw(t, "version")
		table.fit[id] = Fitness{
			Leased: rapid.IntRange(0, 3).Draw(t, "leased") > 0, Bot: rapid.IntRange(0, 3).Draw(t, "bot") > 0,
			Load: rapid.SampledFrom([]float64{0, 0, 0.3, 1}).Draw(t, "load"),
			Room: rapid.SampledFrom([]int{0, 0, 5}).Draw(t, "room"), Recent: rapid.IntRange(0, 4).Draw(t, "recent"),
			Apps: drawApps(t),
		}
	}
	for p := range PartitionID(len(table.parts)) {
		part := table.parts[p+1]
		if rapid.IntRange(0, 4).Draw(t, "moved") == 0 {
			part.Owner, part.Epoch = rapid.SampledFrom(table.nodes).Draw(t, "to").ID, 2
			if table.format >= FormatReservations && rapid.Bool().Draw(t, "reserved") {
				part.Reserved = []Reservation{{Node: part.BornOn, Epoch: 1, Lapsed: rapid.SampledFrom([][]AppID{nil, nil, {"app"}, {AllApps}}).Draw(t, "lapsed")}}
			}
		}
		part.Retired = rapid.IntRange(0, 9).Draw(t, "retired") == 0
	}
	if len(table.parts) > 0 {
		for i := range rapid.IntRange(0, 25).Draw(t, "calls") {
			c := drawCall(t, CallID(fmt.Sprintf("old%d", i)), len(table.parts))
			if part := table.parts[c.Partition]; table.format >= FormatReservations {
				c.Pinned, c.Epoch = rapid.Bool().Draw(t, "own media"), Epoch(rapid.IntRange(1, int(part.Epoch)).Draw(t, "epoch"))
			}
			table.put(c)
		}
	}
	return table
}

// drawApps says how well the apps' bots are; often nothing.
func drawApps(t *rapid.T) map[AppID]AppFitness {
	if rapid.Bool().Draw(t, "by app") {
		return nil
	}
	apps := map[AppID]AppFitness{}
	for _, app := range rapid.SliceOfDistinct(rapid.SampledFrom(someApps), rapid.ID[AppID]).Draw(t, "apps") {
		apps[app] = AppFitness{
			Bot:  rapid.IntRange(0, 3).Draw(t, "app's bot") > 0,
			Load: rapid.SampledFrom([]float64{0, 0, 0.3, 1}).Draw(t, "app's load"),
			Room: rapid.SampledFrom([]int{0, 0, 3}).Draw(t, "app's room"),
		}
	}
	return apps
}

func drawCall(t *rapid.T, id CallID, partitions int) Call {
	return Call{
		ID: id, App: rapid.SampledFrom(someApps).Draw(t, "app"), Epoch: 1,
		Partition: PartitionID(rapid.IntRange(1, partitions).Draw(t, "partition")),
		Groups:    rapid.SliceOfNDistinct(rapid.SampledFrom(someKeys), 0, 2, rapid.ID).Draw(t, "groups"),
		State:     rapid.SampledFrom([]CallState{CallClaimed, CallAnswered, CallOrphaned, CallEnded}).Draw(t, "state"),
		Paired:    rapid.Bool().Draw(t, "paired"),
		Observed:  rapid.SampledFrom([]string{"", "ann", "bob"}).Draw(t, "observed"),
		Deadline:  noon.Add(time.Duration(rapid.IntRange(-2, 2).Draw(t, "deadline")) * time.Second),
	}
}

func drawClaim(t *rapid.T, id CallID) Claim {
	c := drawCall(t, id, 1)
	claim := Claim{Call: id, App: c.App, Groups: c.Groups, Paired: c.Paired, Observed: c.Observed, Deadline: c.Deadline}
	if rapid.IntRange(0, 2).Draw(t, "pinned") == 0 {
		claim.Pin = Pin{
			Node:    rapid.SampledFrom([]NodeID{"", "a", "b"}).Draw(t, "pin node"),
			Zone:    rapid.SampledFrom([]string{"", "east"}).Draw(t, "pin zone"),
			Version: rapid.SampledFrom([]string{"", "2.0"}).Draw(t, "pin version"),
		}
	}
	return claim
}

// mayTakeNew says it in other words than the code does: a node that may get a
// call which nothing ties to it.
func mayTakeNew(table *smallTable, id NodeID, app AppID) bool {
	n, f := table.node(id), table.fit[id]
	return n.State == NodeActive && f.Leased && hasBot(table, id, app) && hasRoom(table, id, app) && hasHome(table, id)
}

// byApp reports whether the region listens to what a node tells app by app.
func byApp(table *smallTable, id NodeID) bool {
	return table.format >= FormatReservations && table.fit[id].Apps != nil
}

// hasBot says whether a bot of the app is well there; "" stands for any app.
func hasBot(table *smallTable, id NodeID, app AppID) bool {
	f := table.fit[id]
	if !byApp(table, id) {
		return f.Bot
	}
	for other, a := range f.Apps {
		if a.Bot && (app == "" || app == other) {
			return true
		}
	}
	return false
}

func hasRoom(table *smallTable, id NodeID, app AppID) bool {
	limit, f := table.node(id).Capacity, table.fit[id]
	if byApp(table, id) {
		a := f.Apps[app]
		switch {
		case limit == 0 && a.Room == 0, a.Load >= 1, limit > 0 && taken(table, id) >= limit:
			return false
		case len(f.Apps) > 1 && limit > 0 && takenOf(table, id, app) >= limit/len(f.Apps) && limit-taken(table, id) <= owedToOthers(table, id, app):
			return false
		}
		return a.Room == 0 || takenOf(table, id, app) < a.Room
	}
	if f.Room > 0 && (limit == 0 || f.Room < limit) {
		limit = f.Room
	}
	return taken(table, id) < limit && f.Load < 1
}

// taken and takenOf count the calls that take a place at noon: those overdue do not.
func taken(table *smallTable, id NodeID) int {
	n := table.Live(id)
	if table.format >= FormatReservations {
		for _, late := range table.Overdue(id, noon) {
			n -= late
		}
	}
	return n
}

func takenOf(table *smallTable, id NodeID, app AppID) int {
	return table.LiveOf(id, app) - table.Overdue(id, noon)[app]
}

// owedToOthers is how many places of a node an app leaves free that has had its share:
// until each other app with a bot there has a quarter of its own, rounded up.
func owedToOthers(table *smallTable, id NodeID, app AppID) (places int) {
	f := table.fit[id]
	quarter := int(math.Ceil(float64(table.node(id).Capacity/len(f.Apps)) / 4))
	for other, a := range f.Apps {
		if other != app && a.Bot && takenOf(table, id, other) < quarter {
			places += quarter - takenOf(table, id, other)
		}
	}
	return places
}

func hasHome(table *smallTable, id NodeID) bool {
	return slices.ContainsFunc(table.PartitionsOf(id), func(p Partition) bool { return !p.Retired })
}

// TestPlaceModel checks every placement in a region in any condition.
func TestPlaceModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := drawTable(t)
		for i := range rapid.IntRange(1, 8).Draw(t, "claims") {
			claim := drawClaim(t, CallID(fmt.Sprintf("new%d", i)))
			got, err := Place(table, claim, noon, table.fit)
			if err != nil {
				checkFull(t, table, claim, got, err)
				continue
			}
			checkPlaced(t, table, claim, got)
			table.record(claim, got, noon)
			again, err := Place(table, claim, noon, nil)
			if err != nil || again.Reason != ReasonKnown || again.Partition != got.Partition || again.Owner != got.Owner {
				t.Fatalf("the repeat of %+v went to %+v, %v", got, again, err)
			}
		}
		for id, c := range table.calls {
			got, err := Place(table, Claim{Call: id, App: c.App, Groups: someKeys}, noon, table.fit)
			if err != nil || got.Partition != c.Partition || (got.Reason == ReasonEnded) != (c.State == CallEnded) {
				t.Fatalf("the known call %+v went to %+v, %v", c, got, err)
			}
			got, err = Place(table, Claim{Call: id, App: c.App + "2", Groups: someKeys}, noon, table.fit)
			if !errors.Is(err, ErrOtherApp) || got.Owner != "" || got.Partition != 0 {
				t.Fatalf("B51: the known call %+v went to %+v, %v for another app", c, got, err)
			}
		}
	})
}

func checkFull(t *rapid.T, table *smallTable, claim Claim, got Placement, err error) {
	want, reason := ErrFull, ReasonFull
	if noBotOf(table, claim.App) {
		want, reason = ErrNoBot, ReasonNoBot
	}
	if !errors.Is(err, want) || got.Reason != reason || got.Partition != 0 || got.Owner != "" {
		t.Fatalf("the refusal is %+v, %v, want %v", got, err, want)
	}
	if len(got.Candidates) != min(len(table.nodes), MaxCandidates) {
		t.Fatalf("the refusal lists %d candidates of %d nodes", len(got.Candidates), len(table.nodes))
	}
	for _, c := range got.Candidates {
		if c.Rejected == "" {
			t.Fatalf("the region is full, and yet %s was not rejected", c.Node)
		}
		if c.Rejected != whyOtherLeg && mayTakeNew(table, c.Node, claim.App) {
			t.Fatalf("the region is full, and yet %s could have taken %+v (it says %q)", c.Node, claim, c.Rejected)
		}
	}
}

// noBotOf reports whether there are fit nodes, and none with a bot of the app.
func noBotOf(table *smallTable, app AppID) bool {
	fit := 0
	for _, n := range table.nodes {
		if n.State != NodeActive || !table.fit[n.ID].Leased {
			continue
		}
		if fit++; hasBot(table, n.ID, app) {
			return false
		}
	}
	return fit > 0 && table.format >= FormatReservations
}

func checkPlaced(t *rapid.T, table *smallTable, claim Claim, got Placement) {
	part := table.parts[got.Partition]
	if part == nil || part.Owner != got.Owner || part.Epoch != got.Epoch || part.Retired {
		t.Fatalf("the placement %+v contradicts its partition %+v", got, part)
	}
	if !hasRoom(table, got.Owner, claim.App) {
		t.Fatalf("%s has no room for %+v", got.Owner, claim)
	}
	if len(got.Candidates) == 0 || len(got.Candidates) > MaxCandidates || got.Candidates[0].Node != got.Owner {
		t.Fatalf("the candidates of %+v do not start with the winner, or are too many", got)
	}
	if claim.Paired {
		for _, key := range claim.Groups {
			for _, leg := range table.Legs(key) {
				rings := leg.State == CallAnswered || !noon.After(leg.Deadline)
				same := leg.Observed == claim.Observed || leg.Observed == "" || claim.Observed == ""
				at := table.stands(table.calls[leg.Call]) // an orphan is on no node
				if key.IsChain() && rings && same && at.State.Live() && at.Owner == got.Owner && !table.parts[leg.Partition].Retired {
					t.Fatalf("the paired claim %+v is on the node of %+v", claim, leg)
				}
			}
		}
	}
	switch got.Reason {
	case ReasonTogether:
		if n, f := table.node(got.Owner), table.fit[got.Owner]; n.State == NodeGone || f.Leased && !hasBot(table, got.Owner, claim.App) {
			t.Fatalf("%s got a call of its group: state %s, fitness %+v", got.Owner, n.State, f)
		}
		checkTogether(t, table, claim, got)
	case ReasonLeastLoaded, ReasonApart, ReasonPinned:
		if !mayTakeNew(table, got.Owner, claim.App) {
			t.Fatalf("%s got %+v: state %s, fitness %+v", got.Owner, claim, table.node(got.Owner).State, table.fit[got.Owner])
		}
		for _, c := range got.Candidates[1:] {
			if c.Rejected == "" && (!mayTakeNew(table, c.Node, claim.App) || got.Reason != ReasonPinned && c.Score < got.Candidates[0].Score) {
				t.Fatalf("%+v was not rejected and lost to %+v", c, got.Candidates[0])
			}
		}
	default:
		t.Fatalf("a new call has the reason %q", got.Reason)
	}
}

// checkTogether: there is a key by which calls of the claim's group live where it
// went, and no key that binds more has a place that would have done. By that key
// no other such place has more of the calls; in older regions none has an older.
func checkTogether(t *rapid.T, table *smallTable, claim Claim, got Placement) {
	type place struct {
		node      NodeID
		partition PartitionID
	}
	keys := slices.Clone(claim.Groups)
	slices.SortStableFunc(keys, func(a, b GroupKey) int { return a.rank() - b.rank() })
	for _, key := range keys {
		calls := map[place]int{}
		for _, leg := range table.Legs(key) {
			at, part := table.stands(table.calls[leg.Call]), table.parts[leg.Partition]
			n, f := table.node(at.Owner), table.fit[at.Owner]
			deadline := leg.Deadline
			if table.format >= FormatReservations {
				deadline = RingsUntil(deadline)
			}
			if other, _ := otherLeg(&claim, &leg, noon.Add(leg.Deadline.Sub(deadline))); other && key.IsChain() {
				continue
			}
			if part.Retired || !at.State.Live() || n.State == NodeGone || f.Leased && !hasBot(table, n.ID, claim.App) || !hasRoom(table, n.ID, claim.App) {
				continue
			}
			if part.Owner != n.ID && (!f.Leased || !hasHome(table, n.ID)) {
				continue
			}
			calls[place{n.ID, leg.Partition}]++
		}
		if len(calls) == 0 {
			continue
		}
		chosen := 0
		for at, n := range calls {
			if at.node == got.Owner && (at.partition == got.Partition || table.parts[at.partition].Owner != got.Owner) {
				chosen = max(chosen, n)
			}
		}
		for at, n := range calls {
			if chosen == 0 || table.format >= FormatReservations && n > chosen {
				t.Fatalf("of %q %d calls are in %+v, and where %+v went %d", key, n, at, claim, chosen)
			}
		}
		return
	}
	t.Fatalf("nothing ties %+v to partition %d", claim, got.Partition)
}

// TestPlaceDoesNotSeeOrder places the same claims over the same facts in another
// order of nodes and maps.
func TestPlaceDoesNotSeeOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := drawTable(t)
		other := *table
		other.nodes = rapid.Permutation(table.nodes).Draw(t, "order")
		other.fit = map[NodeID]Fitness{}
		for _, n := range other.nodes {
			other.fit[n.ID] = table.fit[n.ID]
		}
		p, q := NewPlacer(table, noon, table.fit), NewPlacer(&other, noon, other.fit)
		for i := range rapid.IntRange(1, 8).Draw(t, "claims") {
			claim := drawClaim(t, CallID(fmt.Sprintf("new%d", i)))
			a, errA := p.Place(claim)
			b, errB := q.Place(claim)
			if diff := cmp.Diff(a, b); diff != "" || !errors.Is(errB, errA) {
				t.Fatalf("the verdict depends on the order (%v, %v):\n%s", errA, errB, diff)
			}
		}
	})
}

// TestPlacerIsPlace places a batch through one Placer, and one by one with what
// was placed counted in the table and in the fitness.
func TestPlacerIsPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := drawTable(t)
		p := NewPlacer(table, noon, table.fit)
		fit := map[NodeID]Fitness{}
		for id, f := range table.fit {
			fit[id] = f
		}
		for i := range rapid.IntRange(1, 30).Draw(t, "claims") {
			claim := drawClaim(t, CallID(fmt.Sprintf("new%d", i%25)))
			want, errWant := Place(table, claim, noon, fit)
			got, errGot := p.Place(claim)
			if diff := cmp.Diff(want, got); diff != "" || !errors.Is(errGot, errWant) {
				t.Fatalf("claim %d: one by one it is %v, in a batch %v:\n%s", i, errWant, errGot, diff)
			}
			if errGot == nil && got.Reason != ReasonKnown {
				table.record(claim, got, noon)
				f := fit[got.Owner]
				f.Recent++
				fit[got.Owner] = f
			}
		}
	})
}
