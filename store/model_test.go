package store

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"tandem/ownership"
)

// model is the table as simply as it can be said: maps of whole records, looked
// through from end to end for every question.
type model struct {
	nodes map[ownership.NodeID]ownership.Node
	parts map[ownership.PartitionID]ownership.Partition
	calls map[ownership.CallID]ownership.Call
	next  ownership.PartitionID
}

func newModel() *model {
	return &model{
		nodes: map[ownership.NodeID]ownership.Node{}, parts: map[ownership.PartitionID]ownership.Partition{},
		calls: map[ownership.CallID]ownership.Call{}, next: 1,
	}
}

func (m *model) Known(id ownership.CallID) (ownership.Known, bool) {
	c, ok := m.calls[id]
	return ownership.Known{Partition: c.Partition, Epoch: c.Epoch, State: c.State, Pinned: c.Pinned}, ok
}

func (m *model) Legs(key ownership.GroupKey) (legs []ownership.Leg) {
	for _, c := range m.calls {
		if c.State.Live() && slices.Contains(c.Groups, key) {
			legs = append(legs, ownership.Leg{Call: c.ID, App: c.App, Partition: c.Partition, State: c.State,
				Paired: c.Paired, Observed: c.Observed, ClaimedAt: c.ClaimedAt, Deadline: c.Deadline})
		}
	}
	slices.SortFunc(legs, func(a, b ownership.Leg) int {
		return cmp.Or(a.ClaimedAt.Compare(b.ClaimedAt), cmp.Compare(a.Call, b.Call))
	})
	return legs
}

func (m *model) Partition(id ownership.PartitionID) (ownership.Partition, bool) {
	p, ok := m.parts[id]
	p.Live = 0
	for _, c := range m.calls {
		if c.Partition == id && c.State.Live() {
			p.Live++
		}
	}
	return p, ok
}

func (m *model) PartitionsOf(id ownership.NodeID) (out []ownership.Partition) {
	for p := ownership.PartitionID(1); p < m.next; p++ {
		if rec, ok := m.Partition(p); ok && rec.Owner == id && !rec.Retired {
			out = append(out, rec)
		}
	}
	return out
}

func (m *model) Node(id ownership.NodeID) (ownership.Node, bool) { n, ok := m.nodes[id]; return n, ok }

func (m *model) Nodes() (out []ownership.Node) {
	for _, n := range m.nodes {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b ownership.Node) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

func (m *model) Live(id ownership.NodeID) (n int) {
	for _, p := range m.PartitionsOf(id) {
		n += p.Live
	}
	return n
}

// apply does one act; the error is the act's own.
func (m *model) apply(act ownership.Act) error {
	switch a := act.(type) {
	case ownership.Claims:
		placer := ownership.NewPlacer(m, a.At, a.Fitness)
		for _, c := range a.Claims {
			if _, known := m.calls[c.Call]; known {
				continue
			}
			p, err := placer.Place(c)
			if err != nil {
				continue
			}
			call := ownership.Call{ID: c.Call, Partition: p.Partition, Epoch: p.Epoch, State: ownership.CallClaimed, Pinned: c.Pinned,
				Paired: c.Paired, Groups: c.Groups, App: c.App, Deadline: c.Deadline, ClaimedAt: a.At, SeenAt: a.At, Placement: p}
			if c.Answered {
				call.State, call.AnsweredAt = ownership.CallAnswered, a.At
			}
			m.calls[c.Call] = call
		}
	case ownership.Answered:
		c, err := m.check(a.Call, a.Epoch, false)
		if err != nil || c.State == ownership.CallAnswered {
			return err
		}
		if c.State != ownership.CallClaimed {
			return ownership.ErrConflict
		}
		c.State, c.AnsweredAt, c.SeenAt = ownership.CallAnswered, a.At, a.At
		m.calls[c.ID] = c
	case ownership.Seen:
		for _, id := range a.Calls {
			if c, ok := m.calls[id]; ok && c.State != ownership.CallEnded {
				c.SeenAt = a.At
				m.calls[id] = c
			}
		}
	case ownership.Release:
		c, err := m.check(a.Call, a.Epoch, true)
		if err != nil || c.State == ownership.CallEnded {
			return err
		}
		c.State, c.EndedAt, c.Ending = ownership.CallEnded, a.At, a.Why
		m.calls[c.ID] = c
	case ownership.Forget:
		m.forget(a)
	default:
		return m.applyToNodes(act)
	}
	return nil
}

func (m *model) check(id ownership.CallID, epoch ownership.Epoch, operator bool) (ownership.Call, error) {
	c, ok := m.calls[id]
	switch {
	case !ok:
		return c, ownership.ErrUnknown
	case epoch == 0 && operator:
		return c, nil
	case epoch < c.Epoch:
		return c, ownership.ErrStaleEpoch
	case epoch > m.parts[c.Partition].Epoch:
		return c, ownership.ErrFutureEpoch
	}
	return c, nil
}

func (m *model) forget(a ownership.Forget) {
	used := map[ownership.PartitionID]bool{}
	for id, c := range m.calls {
		if c.State == ownership.CallEnded && c.EndedAt.Before(a.Before) {
			delete(m.calls, id)
		} else {
			used[c.Partition] = true
		}
	}
	for id := ownership.PartitionID(1); id < m.next; id++ {
		p := m.parts[id]
		back := p.Owner != p.BornOn && len(m.PartitionsOf(p.BornOn)) > 0
		if !used[id] && (m.nodes[p.BornOn].State == ownership.NodeGone || back) {
			p.Retired = true
			m.parts[id] = p
		}
	}
}

func (m *model) applyToNodes(act ownership.Act) error {
	switch a := act.(type) {
	case ownership.Join:
		have, known := m.nodes[a.Node.ID]
		n := a.Node
		n.State, n.JoinedAt = ownership.NodeActive, a.At
		if known && (have.State == ownership.NodeGone) == (have.Incarnation == n.Incarnation) {
			return ownership.ErrConflict
		}
		if known && have.State != ownership.NodeGone {
			n.State, n.JoinedAt, n.DrainBy = have.State, have.JoinedAt, have.DrainBy
		}
		m.nodes[n.ID] = n
		if len(m.PartitionsOf(n.ID)) == 0 || !known || have.State == ownership.NodeGone {
			for range a.Partitions {
				m.parts[m.next] = ownership.Partition{ID: m.next, Owner: n.ID, Epoch: 1, BornOn: n.ID}
				m.next++
			}
		}
	case ownership.Drain:
		return m.setState(a.Node, ownership.NodeDraining)
	case ownership.Undrain:
		return m.setState(a.Node, ownership.NodeActive)
	case ownership.Depart:
		if _, ok := m.nodes[a.Node]; !ok {
			return ownership.ErrUnknown
		}
		m.reassign(ownership.Reassign(m, a.Node, a.Fitness))
		n := m.nodes[a.Node]
		n.State = ownership.NodeGone
		m.nodes[a.Node] = n
	case ownership.Failover:
		if _, ok := m.nodes[a.Node]; !ok {
			return ownership.ErrUnknown
		}
		m.reassign(ownership.Reassign(m, a.Node, a.Fitness))
	case ownership.Move:
		return m.move(a)
	}
	return nil
}

func (m *model) setState(id ownership.NodeID, to ownership.NodeState) error {
	n, ok := m.nodes[id]
	switch {
	case !ok:
		return ownership.ErrUnknown
	case n.State == ownership.NodeGone:
		return ownership.ErrConflict
	}
	n.State = to
	m.nodes[id] = n
	return nil
}

func (m *model) move(a ownership.Move) error {
	p, ok := m.parts[a.Partition]
	to, known := m.nodes[a.To]
	switch {
	case !ok:
		return ownership.ErrUnknown
	case a.Epoch < p.Epoch:
		return ownership.ErrStaleEpoch
	case a.Epoch > p.Epoch:
		return ownership.ErrFutureEpoch
	case p.Retired:
		return ownership.ErrConflict
	case !known:
		return ownership.ErrUnknown
	case to.State == ownership.NodeGone, p.Owner == a.To:
		return ownership.ErrConflict
	}
	for _, c := range m.calls {
		if c.Partition == p.ID && c.State == ownership.CallAnswered && c.Pinned {
			return ownership.ErrConflict
		}
	}
	m.reassign([]ownership.Reassignment{{Partition: p.ID, To: a.To, Epoch: p.Epoch + 1}})
	return nil
}

func (m *model) reassign(moves []ownership.Reassignment) {
	for _, mv := range moves {
		p := m.parts[mv.Partition]
		p.Owner, p.Epoch = mv.To, mv.Epoch
		m.parts[mv.Partition] = p
		for id, c := range m.calls {
			if c.Partition != mv.Partition || !c.State.Live() {
				continue
			}
			if c.State == ownership.CallAnswered && c.Pinned {
				c.State = ownership.CallOrphaned
			} else {
				c.Epoch = mv.Epoch
			}
			m.calls[id] = c
		}
	}
}

// anyAct draws an act over few names, so that acts meet.
func anyAct(t *rapid.T, m *model, now time.Time) ownership.Act {
	nodeID := func() string { return rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "node") }
	call := func() ownership.CallID {
		n := rapid.IntRange(1, 30).Draw(t, "call")
		if n%5 == 0 {
			return ownership.CallID(fmt.Sprintf("odd%d", n))
		}
		return callID(n)
	}
	epoch := func() ownership.Epoch { return ownership.Epoch(rapid.IntRange(0, 3).Draw(t, "epoch")) }
	fitness := func() map[ownership.NodeID]ownership.Fitness {
		return fit(rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d"}), rapid.ID[string]).Draw(t, "fit")...)
	}
	switch rapid.SampledFrom([]string{
		"claims", "claims", "claims", "answered", "answered", "release", "release", "seen", "forget",
		"join", "join", "drain", "undrain", "depart", "failover", "move",
	}).Draw(t, "act") {
	case "claims":
		a := ownership.Claims{At: now, Fitness: fitness()}
		for range rapid.IntRange(1, 6).Draw(t, "claims") {
			c := ownership.Claim{Call: call(), App: "app", Deadline: now.Add(15 * time.Second)}
			c.Pinned, c.Answered = rapid.Bool().Draw(t, "pinned"), rapid.Bool().Draw(t, "answered")
			c.Paired = rapid.IntRange(0, 3).Draw(t, "paired") == 0
			for _, g := range rapid.SliceOfN(rapid.SampledFrom([]string{"thread:1", "thread:2", "chain:1", "chain:2"}), 0, 2).Draw(t, "groups") {
				c.Groups = append(c.Groups, ownership.GroupKey(g))
			}
			a.Claims = append(a.Claims, c)
		}
		return a
	case "answered":
		return ownership.Answered{At: now, Call: call(), Epoch: epoch()}
	case "release":
		return ownership.Release{At: now, Call: call(), Epoch: epoch(), Why: "over"}
	case "seen":
		return ownership.Seen{At: now, Calls: []ownership.CallID{call(), call()}}
	case "forget":
		return ownership.Forget{At: now, Before: now.Add(-time.Duration(rapid.IntRange(0, 20).Draw(t, "age")) * time.Second)}
	case "join":
		n := node(nodeID())
		n.Capacity = rapid.IntRange(1, 20).Draw(t, "capacity")
		n.Incarnation = rapid.SampledFrom([]string{"one", "two"}).Draw(t, "incarnation")
		return ownership.Join{At: now, Node: n, Partitions: rapid.IntRange(0, 3).Draw(t, "partitions")}
	case "drain":
		return ownership.Drain{At: now, Node: ownership.NodeID(nodeID())}
	case "undrain":
		return ownership.Undrain{At: now, Node: ownership.NodeID(nodeID())}
	case "depart":
		return ownership.Depart{At: now, Node: ownership.NodeID(nodeID()), Fitness: fitness()}
	case "failover":
		return ownership.Failover{At: now, Node: ownership.NodeID(nodeID()), Fitness: fitness()}
	default:
		return ownership.Move{At: now, Partition: ownership.PartitionID(rapid.IntRange(1, int(m.next)).Draw(t, "partition")),
			Epoch: epoch(), To: ownership.NodeID(nodeID())}
	}
}

// TestModel runs random acts through the table, with clean restarts, kills and
// restored snapshots anywhere between, and compares it with the model after
// each, and with a table that was never restarted at the end: the histories too
// must be the same.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		slow := func(o *Options) { o.FlushEvery = time.Hour } // so that kills lose what was not flushed
		r, twin := newRig(t, slow), newRig(t, slow)
		defer func() {
			r.close()
			twin.close()
		}()
		m := newModel()
		for step := range rapid.IntRange(1, 40).Draw(rt, "steps") {
			act := anyAct(rt, m, at(step))
			want := m.apply(act)
			got := r.do(act).Err
			twin.do(act)
			if want == nil && got != nil || want != nil && !errors.Is(got, want) {
				rt.Fatalf("step %d, %T: the table says %v, the model %v", step, act, got, want)
			}
			switch rapid.SampledFrom([]string{"", "", "", "", "flush", "restart", "kill", "snapshot"}).Draw(rt, "then") {
			case "flush":
				if err := r.table.Flush(); err != nil {
					rt.Fatal(err)
				}
			case "restart":
				r.reopen()
			case "kill":
				r.kill()
			case "snapshot":
				r.passSnapshot()
			}
			compare(rt, r.table, m)
		}
		sum, index := r.table.Hash()
		if twinSum, twinIndex := twin.table.Hash(); sum != twinSum || index != twinIndex {
			rt.Fatalf("I7: the hashes differ: %s at %d, %s at %d", sum, index, twinSum, twinIndex)
		}
		mine, err := r.table.Events(0, 0)
		if err != nil {
			rt.Fatal(err)
		}
		others, err := twin.table.Events(0, 0)
		if err != nil {
			rt.Fatal(err)
		}
		if diff := gocmp.Diff(others, mine); diff != "" {
			rt.Fatalf("the histories differ (-never restarted +restarted):\n%s", diff)
		}
	})
}

func compare(t *rapid.T, table *Table, m *model) {
	equal := func(what string, want, got any) {
		if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s differ (-model +table):\n%s", what, diff)
		}
	}
	equal("the nodes", m.Nodes(), table.Nodes())
	var parts []ownership.Partition
	for id := ownership.PartitionID(1); id < m.next; id++ {
		p, _ := m.Partition(id)
		parts = append(parts, p)
	}
	equal("the partitions", parts, table.Partitions())
	var calls []ownership.Call
	for _, c := range m.calls {
		calls = append(calls, c)
	}
	slices.SortFunc(calls, func(a, b ownership.Call) int { return cmp.Compare(a.ID, b.ID) })
	var got []ownership.Call
	for cursor := ""; ; {
		page, next, err := table.Calls(Filter{}, cursor, 4)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, page...)
		if cursor = next; next == "" {
			break
		}
	}
	equal("the calls", calls, got)
	for _, c := range calls {
		k, _ := table.Known(c.ID)
		want, _ := m.Known(c.ID)
		equal("the index of call "+string(c.ID), want, k)
	}
	for _, n := range m.Nodes() {
		equal("the live calls of "+string(n.ID), m.Live(n.ID), table.Live(n.ID))
		equal("the partitions of "+string(n.ID), m.PartitionsOf(n.ID), table.PartitionsOf(n.ID))
	}
	for _, g := range []ownership.GroupKey{"thread:1", "thread:2", "chain:1", "chain:2"} {
		equal("the legs of "+string(g), m.Legs(g), table.Legs(g))
	}
}

// kill abandons the store as a crash would: its directory is copied as it is,
// and the copy is opened.
func (r *rig) kill() {
	r.Helper()
	dir := filepath.Join(r.TempDir(), "data")
	r.table.flushMu.Lock() // or the copy would be taken in the middle of a write
	err := os.CopyFS(dir, os.DirFS(r.dir))
	r.table.flushMu.Unlock()
	if err != nil {
		r.Fatal(err)
	}
	r.close()
	r.dir = dir
	r.open()
	r.replay()
}
