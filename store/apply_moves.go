package store

import (
	"cmp"
	"fmt"
	"slices"

	"tandem/ownership"
)

// failover gives the partitions of a node whose lease has ended to survivors.
// The node's record stays as it is: when it comes back it joins again.
func (a *applier) failover(act ownership.Failover) ([]ownership.Reassignment, error) {
	if _, ok := a.st.nodes[act.Node]; !ok {
		return nil, fmt.Errorf("moving the partitions of node %q: %w", act.Node, ownership.ErrUnknown)
	}
	return a.reassign(act.Node, act.Fitness), nil
}

func (a *applier) reassign(from ownership.NodeID, fit map[ownership.NodeID]ownership.Fitness) []ownership.Reassignment {
	moves := ownership.Reassign(a, from, fit)
	for _, m := range moves {
		a.handOver(m)
	}
	return moves
}

// move is the planned hand-over of one partition, after its owner has stopped.
// It is refused while the partition has answered calls with media of their own:
// those live and die with their node.
func (a *applier) move(act ownership.Move) ([]ownership.Reassignment, error) {
	p, ok := a.st.parts[act.Partition]
	if !ok {
		return nil, fmt.Errorf("moving partition %d: %w", act.Partition, ownership.ErrUnknown)
	}
	pinned := 0
	a.st.inPartition(p, func(_ uint32, e *entry) {
		if e.state == ownership.CallAnswered && e.flags&flagPinned != 0 {
			pinned++
		}
	})
	var err error
	switch to, known := a.st.nodes[act.To]; {
	case act.Epoch < p.rec.Epoch:
		err = fmt.Errorf("epoch %d is named, it is at epoch %d: %w", act.Epoch, p.rec.Epoch, ownership.ErrStaleEpoch)
	case act.Epoch > p.rec.Epoch:
		err = fmt.Errorf("epoch %d is named, it is at epoch %d: %w", act.Epoch, p.rec.Epoch, ownership.ErrFutureEpoch)
	case p.rec.Retired:
		err = fmt.Errorf("it is retired: %w", ownership.ErrConflict)
	case !known:
		err = fmt.Errorf("to node %q: %w", act.To, ownership.ErrUnknown)
	case to.rec.State == ownership.NodeGone:
		err = fmt.Errorf("node %s was removed: %w", act.To, ownership.ErrConflict)
	case p.rec.Owner == act.To:
		err = fmt.Errorf("node %s already owns it: %w", act.To, ownership.ErrConflict)
	case pinned > 0:
		err = fmt.Errorf("%d of its calls have media on node %s and cannot move: %w", pinned, p.rec.Owner, ownership.ErrConflict)
	}
	if err != nil {
		return nil, fmt.Errorf("moving partition %d: %w", act.Partition, err)
	}
	m := ownership.Reassignment{Partition: act.Partition, From: p.rec.Owner, To: act.To, Epoch: p.rec.Epoch + 1}
	a.handOver(m)
	return []ownership.Reassignment{m}, nil
}

// handOver gives a partition its new owner and takes its calls along: a call
// that rings or can move gets the new epoch, an answered call whose media were
// on the former owner is orphaned and keeps the epoch at which it was last
// owned.
func (a *applier) handOver(m ownership.Reassignment) {
	p := a.st.parts[m.Partition]
	rec := p.rec
	rec.Owner, rec.Epoch = m.To, m.Epoch
	a.putPartition(rec)
	a.emit(Event{Kind: EventMoved, Partition: rec.ID, Epoch: rec.Epoch, Node: m.To, From: m.From})
	// By id: the ring's order depends on how often this node was restarted, and
	// the events must be the same everywhere.
	var refs []uint32
	a.st.inPartition(p, func(ref uint32, e *entry) {
		if e.state.Live() {
			refs = append(refs, ref)
		}
	})
	ids := make(map[uint32]ownership.CallID, len(refs))
	for _, ref := range refs {
		ids[ref] = a.st.calls.id(ref)
	}
	slices.SortFunc(refs, func(x, y uint32) int { return cmp.Compare(ids[x], ids[y]) })
	for _, ref := range refs {
		a.inherit(ref, ids[ref], m)
	}
}

// inherit takes one live call along with its partition.
func (a *applier) inherit(ref uint32, id ownership.CallID, m ownership.Reassignment) {
	c, old, ok := a.call(id)
	if !ok {
		return // the table has stopped
	}
	kind := EventAdopted
	if c.State == ownership.CallAnswered && c.Pinned {
		kind = EventOrphaned
		c.State = ownership.CallOrphaned
	} else {
		c.Epoch = m.Epoch
	}
	a.putCall(&c, old)
	a.st.calls.calls.at(ref).epoch = uint64(c.Epoch)
	a.st.setCallState(ref, c.State)
	ev := a.about(kind, &c)
	ev.From = m.From
	a.emit(ev)
}

// retire takes empty partitions out of use for good: those born on a node that
// is gone, and those that a node lost to others but has replaced since it came
// back.
func (a *applier) retire() {
	for _, id := range a.st.partIDs {
		p := a.st.parts[id]
		if p.rec.Retired || p.calls > 0 || !a.outlived(&p.rec) {
			continue
		}
		rec := p.rec
		rec.Retired = true
		a.putPartition(rec)
		a.emit(Event{Kind: EventRetired, Partition: rec.ID, Epoch: rec.Epoch, Node: rec.Owner})
	}
}

func (a *applier) outlived(p *ownership.Partition) bool {
	born, ok := a.st.nodes[p.BornOn]
	if !ok || born.rec.State == ownership.NodeGone {
		return true
	}
	return p.Owner != p.BornOn && len(born.owned) > 0
}
