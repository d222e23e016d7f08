package cluster

import (
	"sync"

	"tandem/ownership"
)

// pendingClaims holds what the leader has acknowledged and the local table has not
// applied yet. A follower learns of a commit some milliseconds after the leader
// acknowledged it; the node that asked must find its call at once.
type pendingClaims struct {
	mu    sync.RWMutex
	calls map[ownership.CallID]pendingClaim
	parts map[ownership.PartitionID]pendingClaim
	order []pendingRef // by arrival; indexes grow nearly in step
}

// maxPending bounds what a node remembers whose own table has stopped following.
const maxPending = 1 << 16

type pendingClaim struct {
	index uint64
	known ownership.Known
	owner ownership.NodeID
}

type pendingRef struct {
	index uint64
	call  ownership.CallID
	part  ownership.PartitionID
}

func newPendingClaims() *pendingClaims {
	return &pendingClaims{calls: make(map[ownership.CallID]pendingClaim), parts: make(map[ownership.PartitionID]pendingClaim)}
}

// put remembers a placement acknowledged at an index that the table, at the
// index applied, has not reached.
func (o *pendingClaims) put(c ownership.Claim, p ownership.Placement, index, applied uint64) {
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
	a := pendingClaim{index: index, owner: p.Owner, known: ownership.Known{App: c.App, Partition: p.Partition, Owner: p.Owner, Epoch: p.Epoch, State: state, Pinned: c.Pinned}}
	o.calls[c.Call] = a
	o.parts[p.Partition] = a
	o.order = append(o.order, pendingRef{index, c.Call, p.Partition})
	if len(o.order) > maxPending {
		o.prune(o.order[0].index)
	}
}

// prune drops what the table has applied.
func (o *pendingClaims) prune(applied uint64) {
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

// call returns a call that the table, at the index applied, does not know yet. What
// it has applied since, and forgotten, is over.
func (o *pendingClaims) call(id ownership.CallID, applied uint64) (ownership.Known, bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	a, ok := o.calls[id]
	return a.known, ok && a.index > applied
}

// partition returns the owner and epoch that the table has not heard of yet.
func (o *pendingClaims) partition(id ownership.PartitionID) (ownership.NodeID, ownership.Epoch, bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	a, ok := o.parts[id]
	return a.owner, a.known.Epoch, ok
}
