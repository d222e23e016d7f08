package store

import (
	"cmp"
	"slices"

	"tandem/ownership"
)

// model is the table as simply as it can be said: maps of whole records, looked
// through from end to end for every question.
type model struct {
	nodes map[ownership.NodeID]ownership.Node
	parts map[ownership.PartitionID]ownership.Partition
	calls map[ownership.CallID]ownership.Call
	next  ownership.PartitionID

	format uint32
}

func newModel() *model {
	return &model{
		nodes: map[ownership.NodeID]ownership.Node{}, parts: map[ownership.PartitionID]ownership.Partition{},
		calls: map[ownership.CallID]ownership.Call{}, next: 1, format: 1,
	}
}

func (m *model) Known(id ownership.CallID) (ownership.Known, bool) {
	c, ok := m.calls[id]
	return ownership.Known{App: c.App, Partition: c.Partition, Epoch: c.Epoch, State: c.State, Pinned: c.Pinned}, ok
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

func (m *model) Bundles(into []ownership.Bundle, key ownership.GroupKey, observed string) []ownership.Bundle {
	for _, c := range m.calls {
		part := m.parts[c.Partition]
		at := part.Stands(c.State, c.Pinned, c.App, c.Epoch)
		if !at.State.Live() || !slices.Contains(c.Groups, key) || observed != "" && c.Observed != observed {
			continue
		}
		into = append(into, ownership.Bundle{
			Partition: c.Partition, Owner: at.Owner, Count: 1, State: at.State, Rings: ownership.RingsUntil(c.Deadline),
			App: c.App, Paired: c.Paired, Observes: c.Observed != "",
		})
	}
	return into
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

func (m *model) LiveOf(id ownership.NodeID, app ownership.AppID) (n int) {
	for _, c := range m.calls {
		if p := m.parts[c.Partition]; c.App == app && c.State.Live() && p.Owner == id && !p.Retired {
			n++
		}
	}
	return n
}

func (m *model) Format() uint32 { return m.format }

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
				Paired: c.Paired, Observed: c.Observed, Groups: c.Groups, App: c.App, Deadline: c.Deadline, ClaimedAt: a.At, SeenAt: a.At, Placement: p}
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
