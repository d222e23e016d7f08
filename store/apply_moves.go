package store

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"tandem/ownership"
	"tandem/ownership/history"
	"tandem/store/index"
)

// failover gives the partitions of a node whose lease has ended to survivors.
// The node's record stays as it is: when it comes back it joins again.
func (a *applier) failover(act ownership.Failover) ([]ownership.Reassignment, error) {
	if _, ok := a.st.nodes[act.Node]; !ok {
		return nil, fmt.Errorf("moving the partitions of node %q: %w", act.Node, ownership.ErrUnknown)
	}
	moves := a.reassign(act.Node, act.Fitness, lapsing(nil, act.Lapsed))
	if len(act.Lapsed) > 0 && a.reserves() {
		a.lapseAll(act.Node, act.Lapsed) // what it has left before
	}
	if len(moves) > 0 && a.st.format >= ownership.FormatLedger { // older software tells none, and one history is to be everywhere
		a.emit(history.Event{Kind: history.Silent, Node: act.Node, Text: ownership.InheritanceText(moves)})
	}
	return moves, nil
}

func (a *applier) reassign(from ownership.NodeID, fit map[ownership.NodeID]ownership.Fitness, lapsed []ownership.AppID) []ownership.Reassignment {
	moves := ownership.Reassign(a, from, fit)
	for _, m := range moves {
		a.handOver(m, lapsed)
	}
	return moves
}

// handOver gives a partition its new owner.
func (a *applier) handOver(m ownership.Reassignment, lapsed []ownership.AppID) {
	if a.reserves() {
		a.reserve(m, lapsed)
		return
	}
	a.rewrite(m)
}

// move is the planned hand-over of one partition, after its owner has stopped.
// It is refused while the partition has answered calls with media of their own:
// those live and die with their node.
func (a *applier) move(act ownership.Move) ([]ownership.Reassignment, error) {
	p, ok := a.st.parts[act.Partition]
	if !ok {
		return nil, fmt.Errorf("moving partition %d: %w", act.Partition, ownership.ErrUnknown)
	}
	pinned := p.heldAt(p.rec.Epoch)
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
	a.handOver(m, nil)
	return []ownership.Reassignment{m}, nil
}

// rewrite gives a partition its new owner as it was done before command format 3:
// a call that rings or can move gets the new epoch, an answered call whose media
// were on the former owner is orphaned and keeps the epoch at which it was last
// owned.
func (a *applier) rewrite(m ownership.Reassignment) {
	p := a.st.parts[m.Partition]
	rec := p.rec
	rec.Owner, rec.Epoch = m.To, m.Epoch
	a.putPartition(rec)
	a.emit(history.Event{Kind: history.Moved, Partition: rec.ID, Epoch: rec.Epoch, Node: m.To, From: m.From})
	// By id: the ring's order depends on how often this node was restarted, and
	// the events must be the same everywhere.
	var refs []uint32
	a.st.inPartition(p, func(ref uint32, e *index.Entry) {
		if e.State.Live() {
			refs = append(refs, ref)
		}
	})
	ids := make(map[uint32]ownership.CallID, len(refs))
	for _, ref := range refs {
		ids[ref] = a.st.calls.ID(ref)
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
	kind := history.Adopted
	if c.State == ownership.CallAnswered && c.Pinned {
		kind = history.Orphaned
		c.State = ownership.CallOrphaned
	} else {
		c.Epoch = m.Epoch
	}
	a.putCall(&c, old)
	a.st.setCall(ref, c.State, c.Epoch, a.st.calls.At(ref).Active)
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
		if a.reserves() {
			rec.RetiredAt = a.at
		}
		a.putPartition(rec)
		a.emit(history.Event{Kind: history.Retired, Partition: rec.ID, Epoch: rec.Epoch, Node: rec.Owner})
	}
}

func (a *applier) outlived(p *ownership.Partition) bool {
	born, ok := a.st.nodes[p.BornOn]
	if !ok || born.rec.State == ownership.NodeGone {
		return true
	}
	return p.Owner != p.BornOn && len(born.owned) > 0
}

// clear drops the records of partitions that were retired, and of nodes that were
// removed, before that time, unless something still refers to them: a node's id may
// then come back with new data, a partition's number never does.
func (a *applier) clear(before time.Time) {
	used := map[ownership.NodeID]bool{}
	for _, id := range a.st.partIDs {
		rec := a.st.parts[id].rec
		switch {
		case !rec.Retired:
		case rec.RetiredAt.IsZero(): // before command format 3 nobody noted when
			rec.RetiredAt = a.at
			a.putPartition(rec)
		case rec.RetiredAt.Before(before):
			a.dropPartition(&rec)
			continue
		}
		used[rec.Owner], used[rec.BornOn] = true, true
		for i := range rec.Reserved {
			used[rec.Reserved[i].Node] = true
		}
	}
	for _, rec := range a.st.nodeList {
		switch {
		case rec.State != ownership.NodeGone:
		case rec.GoneAt.IsZero():
			rec.GoneAt = a.at
			a.putNode(rec)
		case rec.GoneAt.Before(before) && !used[rec.ID]:
			a.dropNode(&rec)
			a.emit(history.Event{Kind: history.Forgotten, Node: rec.ID})
		}
	}
}
