package ownership

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// smallTable is the View of the tests: plain maps, and nodes in the order in
// which they were added, so that nothing can rely on a sorted view.
type smallTable struct {
	nodes []Node
	parts map[PartitionID]*Partition
	calls map[CallID]*Call
	rung  []*Call // those of which it is known until when they ring
	keys  map[GroupKey][]CallID
	fit   map[NodeID]Fitness
	next  PartitionID

	format uint32
}

func newTable() *smallTable {
	return &smallTable{
		parts: map[PartitionID]*Partition{}, calls: map[CallID]*Call{},
		keys: map[GroupKey][]CallID{}, fit: map[NodeID]Fitness{}, next: 1,
		format: FormatReservations,
	}
}

// add puts in an active node with a lease and a healthy bot.
func (t *smallTable) add(id NodeID, zone string, capacity, partitions int) *smallTable {
	t.nodes = append(t.nodes, Node{ID: id, Zone: zone, Capacity: capacity, State: NodeActive, Version: "1.0"})
	t.fit[id] = Fitness{Leased: true, Bot: true}
	for _, p := range Births(id, t.next, partitions) {
		t.parts[p.ID] = &p
		t.next++
	}
	return t
}

func (t *smallTable) node(id NodeID) *Node {
	return &t.nodes[slices.IndexFunc(t.nodes, func(n Node) bool { return n.ID == id })]
}

func (t *smallTable) refit(id NodeID, change func(*Fitness)) {
	f := t.fit[id]
	change(&f)
	t.fit[id] = f
}

// put records a live call.
func (t *smallTable) put(c Call) {
	if c.State == 0 {
		c.State = CallAnswered
	}
	if c.ClaimedAt.IsZero() {
		c.ClaimedAt = noon
	}
	t.calls[c.ID] = &c
	if !c.Deadline.IsZero() {
		t.rung = append(t.rung, &c)
	}
	for _, k := range c.Groups {
		t.keys[k] = append(t.keys[k], c.ID)
	}
	t.parts[c.Partition].Live += t.weight(&c)
}

// stands returns who acts for a call, and weight what it adds to its partition.
func (t *smallTable) stands(c *Call) Standing {
	return t.parts[c.Partition].Stands(c.State, c.Pinned, c.App, c.Epoch)
}

func (t *smallTable) weight(c *Call) int {
	if s := t.stands(c); s.State.Live() && s.Owner == t.parts[c.Partition].Owner {
		return 1
	}
	return 0
}

// fill puts n calls without groups into one partition.
func (t *smallTable) fill(p PartitionID, n int) *smallTable {
	for range n {
		t.put(Call{ID: CallID(fmt.Sprintf("fill%d", len(t.calls))), Partition: p})
	}
	return t
}

// record does what the store does with a placement.
func (t *smallTable) record(c Claim, pl Placement, at time.Time) {
	state := CallClaimed
	if c.Answered {
		state = CallAnswered
	}
	t.put(Call{
		ID: c.Call, App: c.App, Groups: c.Groups, Paired: c.Paired, Observed: c.Observed, Pinned: c.Pinned,
		Partition: pl.Partition, Epoch: pl.Epoch, State: state, Deadline: c.Deadline, ClaimedAt: at,
	})
}

// end makes a tombstone of a call.
func (t *smallTable) end(id CallID) {
	c := t.calls[id]
	t.parts[c.Partition].Live -= t.weight(c)
	c.State = CallEnded
}

func (t *smallTable) Known(id CallID) (Known, bool) {
	c, ok := t.calls[id]
	if !ok {
		return Known{}, false
	}
	return Known{App: c.App, Partition: c.Partition, Epoch: c.Epoch, State: c.State, Pinned: c.Pinned}, true
}

func (t *smallTable) Legs(k GroupKey) []Leg {
	var legs []Leg
	for _, id := range t.keys[k] {
		if c := t.calls[id]; c.State.Live() {
			legs = append(legs, Leg{
				Call: c.ID, App: c.App, Partition: c.Partition, State: c.State, Paired: c.Paired,
				Observed: c.Observed, ClaimedAt: c.ClaimedAt, Deadline: c.Deadline,
			})
		}
	}
	return legs
}

// Bundles sums nothing up: each call is a bundle of its own. The rules must not
// depend on how a view cuts them.
func (t *smallTable) Bundles(into []Bundle, k GroupKey, observed string) []Bundle {
	for _, id := range t.keys[k] {
		c := t.calls[id]
		at := t.stands(c)
		if !at.State.Live() || observed != "" && c.Observed != observed {
			continue
		}
		into = append(into, Bundle{
			Partition: c.Partition, Owner: at.Owner, Count: 1, State: at.State, Rings: RingsUntil(c.Deadline),
			App: c.App, Paired: c.Paired, Observes: c.Observed != "",
		})
	}
	return into
}

func (t *smallTable) Partition(id PartitionID) (Partition, bool) {
	p, ok := t.parts[id]
	if !ok {
		return Partition{}, false
	}
	return *p, true
}

func (t *smallTable) PartitionsOf(id NodeID) []Partition {
	var own []Partition
	for _, n := range slices.Sorted(maps.Keys(t.parts)) {
		if t.parts[n].Owner == id {
			own = append(own, *t.parts[n])
		}
	}
	return own
}

func (t *smallTable) Nodes() []Node { return t.nodes }

func (t *smallTable) Live(id NodeID) int {
	live, left := 0, false
	for _, p := range t.parts {
		if p.Owner == id {
			live += p.Live
		}
		left = left || len(p.Reserved) > 0
	}
	for _, c := range t.calls {
		if !left {
			break
		}
		if s := t.stands(c); s.State.Live() && s.Owner == id && t.weight(c) == 0 {
			live++
		}
	}
	return live
}

func (t *smallTable) LiveOf(id NodeID, app AppID) int {
	live := 0
	for _, c := range t.calls {
		if s := t.stands(c); c.App == app && s.State.Live() && s.Owner == id {
			live++
		}
	}
	return live
}

func (t *smallTable) Overdue(id NodeID, at time.Time) map[AppID]int {
	late := map[AppID]int{}
	for _, c := range t.rung {
		if s := t.stands(c); s.State == CallClaimed && s.Owner == id && at.After(RingsUntil(c.Deadline)) {
			late[c.App]++
		}
	}
	return late
}

func (t *smallTable) Format() uint32 { return t.format }
