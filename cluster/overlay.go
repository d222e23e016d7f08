package cluster

import (
	"sync"

	"tandem/ownership"
)

// overlay holds what the leader has acknowledged and the local table has not
// applied yet. A follower learns of a commit some milliseconds after the leader
// acknowledged it; the node that asked must find its call at once.
type overlay struct {
	mu    sync.RWMutex
	calls map[ownership.CallID]ahead
	parts map[ownership.PartitionID]ahead
	order []aheadRef // by arrival; indexes grow nearly in step
}

// maxAhead bounds what a node remembers whose own table has stopped following.
const maxAhead = 1 << 16

type ahead struct {
	index uint64
	known ownership.Known
	owner ownership.NodeID
}

type aheadRef struct {
	index uint64
	call  ownership.CallID
	part  ownership.PartitionID
}

func newOverlay() *overlay {
	return &overlay{calls: make(map[ownership.CallID]ahead), parts: make(map[ownership.PartitionID]ahead)}
}

// put remembers a placement acknowledged at an index that the table, at the
// index applied, has not reached.
func (o *overlay) put(c ownership.Claim, p ownership.Placement, index, applied uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.prune(applied)
	if index <= applied {
		return
	}
	state := ownership.CallClaimed
	switch {
	case p.Reason == ownership.ReasonEnded:
		state = ownership.CallEnded
	case c.Answered:
		state = ownership.CallAnswered
	}
	a := ahead{index: index, owner: p.Owner, known: ownership.Known{App: c.App, Partition: p.Partition, Owner: p.Owner, Epoch: p.Epoch, State: state, Pinned: c.Pinned}}
	o.calls[c.Call] = a
	o.parts[p.Partition] = a
	o.order = append(o.order, aheadRef{index, c.Call, p.Partition})
	if len(o.order) > maxAhead {
		o.prune(o.order[0].index)
	}
}

// prune drops what the table has applied.
func (o *overlay) prune(applied uint64) {
	n := 0
	for n < len(o.order) && o.order[n].index <= applied {
		ref := o.order[n]
		if a, ok := o.calls[ref.call]; ok && a.index <= applied {
			delete(o.calls, ref.call)
		}
		if a, ok := o.parts[ref.part]; ok && a.index <= applied {
			delete(o.parts, ref.part)
		}
		n++
	}
	o.order = o.order[n:]
	if len(o.order) == 0 {
		o.order = nil
	}
}

// call gives a call that the table, at the index applied, does not know yet. What
// it has applied since, and forgotten, is over.
func (o *overlay) call(id ownership.CallID, applied uint64) (ownership.Known, bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	a, ok := o.calls[id]
	return a.known, ok && a.index > applied
}

// partition gives the owner and epoch that the table has not heard of yet.
func (o *overlay) partition(id ownership.PartitionID) (ownership.NodeID, ownership.Epoch, bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	a, ok := o.parts[id]
	return a.owner, a.known.Epoch, ok
}
