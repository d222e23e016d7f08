package store

import (
	"slices"

	"tandem/ownership"
)

// The model's half about nodes and partitions.

// eachReserved changes the reservations of a node.
func (m *model) eachReserved(id ownership.NodeID, change func(*ownership.Reservation)) {
	for pid, p := range m.parts {
		p.Reserved = slices.Clone(p.Reserved)
		for i := range p.Reserved {
			if p.Reserved[i].Node == id && !p.Reserved[i].Final {
				change(&p.Reserved[i])
			}
		}
		m.parts[pid] = p
	}
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
		p, ok := m.parts[id]
		if ok && !p.Retired && !used[id] && m.outlived(p) {
			p.Retired = true
			if m.reserves() {
				p.RetiredAt = a.At
			}
			m.parts[id] = p
		}
	}
	if m.reserves() {
		m.clear(a)
	}
}

// outlived reports whether a partition is to go as soon as it is empty.
func (m *model) outlived(p ownership.Partition) bool {
	born, known := m.nodes[p.BornOn]
	return !known || born.State == ownership.NodeGone || p.Owner != p.BornOn && len(m.PartitionsOf(p.BornOn)) > 0
}

func (m *model) clear(a ownership.Forget) {
	refers := map[ownership.NodeID]bool{}
	for id, p := range m.parts {
		switch {
		case p.Retired && p.RetiredAt.IsZero():
			p.RetiredAt = a.At
			m.parts[id] = p
		case p.Retired && p.RetiredAt.Before(a.Before):
			delete(m.parts, id)
			continue
		}
		refers[p.Owner], refers[p.BornOn] = true, true
		for _, r := range p.Reserved {
			refers[r.Node] = true
		}
	}
	for id, n := range m.nodes {
		switch {
		case n.State != ownership.NodeGone:
		case n.GoneAt.IsZero():
			n.GoneAt = a.At
			m.nodes[id] = n
		case n.GoneAt.Before(a.Before) && !refers[id]:
			delete(m.nodes, id)
		}
	}
}

func (m *model) applyToNodes(act ownership.Act) error {
	switch a := act.(type) {
	case ownership.Join:
		return m.join(a)
	case ownership.Drain:
		return m.setState(a.Node, ownership.NodeDraining)
	case ownership.Undrain:
		return m.setState(a.Node, ownership.NodeActive)
	case ownership.Depart:
		n, ok := m.nodes[a.Node]
		if !ok {
			return ownership.ErrUnknown
		}
		if !m.reserves() {
			m.reassign(ownership.Reassign(m, a.Node, a.Fitness), nil)
		}
		if m.reserves() && n.State != ownership.NodeGone {
			n.GoneAt = a.At
		}
		n.State = ownership.NodeGone
		m.nodes[a.Node] = n
		if m.reserves() {
			m.eachReserved(a.Node, func(r *ownership.Reservation) { r.Final = true })
			m.reassign(ownership.Reassign(m, a.Node, a.Fitness), nil)
		}
	case ownership.Failover:
		if _, ok := m.nodes[a.Node]; !ok {
			return ownership.ErrUnknown
		}
		m.reassign(ownership.Reassign(m, a.Node, a.Fitness), lapsing(nil, a.Lapsed))
		if m.reserves() {
			m.eachReserved(a.Node, func(r *ownership.Reservation) { r.Lapsed = lapsing(r.Lapsed, a.Lapsed) })
		}
	case ownership.Lapse:
		if _, ok := m.nodes[a.Node]; !ok {
			return ownership.ErrUnknown
		}
		if len(a.Apps) == 0 {
			a.Apps = []ownership.AppID{ownership.AllApps}
		}
		m.eachReserved(a.Node, func(r *ownership.Reservation) { r.Lapsed = lapsing(r.Lapsed, a.Apps) })
	case ownership.Reclaim:
		switch n, ok := m.nodes[a.Node]; {
		case !ok:
			return ownership.ErrUnknown
		case n.State == ownership.NodeGone:
			return ownership.ErrConflict
		}
		m.eachReserved(a.Node, func(r *ownership.Reservation) { r.Lapsed = nil })
	case ownership.SetFormat:
		if a.Format < m.format {
			return ownership.ErrConflict
		}
		for _, n := range m.nodes {
			if n.State != ownership.NodeGone && n.Format < a.Format {
				return ownership.ErrConflict
			}
		}
		m.format = a.Format
	case ownership.Move:
		return m.move(a)
	}
	return nil
}

func (m *model) join(a ownership.Join) error {
	have, known := m.nodes[a.Node.ID]
	n := a.Node
	n.State, n.JoinedAt = ownership.NodeActive, a.At
	if n.Format < m.format {
		return ownership.ErrConflict
	}
	for id, other := range m.nodes {
		if !m.reserves() && id != n.ID && other.State != ownership.NodeGone && other.ClusterAddr == n.ClusterAddr {
			return ownership.ErrConflict
		}
	}
	if known && (have.State == ownership.NodeGone) == (have.Incarnation == n.Incarnation) {
		return ownership.ErrConflict
	}
	if known && have.State != ownership.NodeGone {
		n.State, n.JoinedAt, n.DrainBy = have.State, have.JoinedAt, have.DrainBy
		if m.reserves() && n.Process == "" {
			n.Process = have.Process
		}
		if m.reserves() && have.Process != "" && n.Process != have.Process && !slices.Contains(a.Ancestors, have.Process) {
			return ownership.ErrTwin
		}
	}
	if !m.reserves() {
		n.Process = ""
	}
	for id, other := range m.nodes {
		if id != n.ID && other.State != ownership.NodeGone && other.ClusterAddr == n.ClusterAddr {
			other.ClusterAddr = ""
			m.nodes[id] = other
		}
	}
	wanted := a.Partitions
	if known && have.State != ownership.NodeGone {
		for _, p := range m.PartitionsOf(n.ID) {
			switch {
			case !m.reserves():
				wanted = 0
			case p.BornOn == n.ID:
				wanted--
			}
		}
	}
	m.nodes[n.ID] = n
	for range wanted {
		m.parts[m.next] = ownership.Partition{ID: m.next, Owner: n.ID, Epoch: 1, BornOn: n.ID}
		m.next++
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
	if m.held(p.ID, p.Epoch) > 0 {
		return ownership.ErrConflict
	}
	m.reassign([]ownership.Reassignment{{Partition: p.ID, From: p.Owner, To: a.To, Epoch: p.Epoch + 1}}, nil)
	return nil
}

func (m *model) reassign(moves []ownership.Reassignment, lapsed []ownership.AppID) {
	for _, mv := range moves {
		p := m.parts[mv.Partition]
		if m.reserves() && m.held(p.ID, p.Epoch) > 0 {
			p.Reserved = append(slices.Clone(p.Reserved), ownership.Reservation{
				Node: mv.From, Epoch: p.Epoch, Since: m.now, Lapsed: lapsed, Final: m.nodes[mv.From].State == ownership.NodeGone,
			})
		}
		p.Owner, p.Epoch = mv.To, mv.Epoch
		m.parts[mv.Partition] = p
		if m.reserves() {
			continue
		}
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
