package store

import (
	"time"

	"tandem/ownership"
	"tandem/ownership/history"
)

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
