package lease

import (
	"time"

	"tandem/ownership"
)

// Hold keeps a node from leases while an act takes something from it. Each act has its own: one
// may be decided while another is still on its way through the log.
type Hold struct {
	node    ownership.NodeID
	taken   uint64
	settled bool
}

// RevokeIfOver revokes the leases of a node whose lease is certainly over; from then on it
// gets none until the hold is settled. nil: it may have one.
func (t *Table) RevokeIfOver(id ownership.NodeID, now time.Time) *Hold {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Before(t.overLocked(id)) {
		return nil
	}
	return t.hold(id)
}

// Revoke refuses the node further leases at once.
func (t *Table) Revoke(id ownership.NodeID) *Hold {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.hold(id)
}

func (t *Table) hold(id ownership.NodeID) *Hold {
	e := t.entry(id)
	e.holds++
	e.turn++
	return &Hold{node: id, taken: e.turn}
}

// Settle ends a hold, the first time; nil is none. Decided: its act went through the log, or was refused there, and so did
// all that ended in doubt before the hold began: the node may renew, unless another hold
// lasts. Else nobody knows whether the act comes true yet: the doubt lasts until a later
// act is decided.
func (t *Table) Settle(h *Hold, decided bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h == nil || h.settled {
		return
	}
	h.settled = true
	e := t.entry(h.node)
	e.holds--
	e.turn++
	switch {
	case !decided:
		e.doubt = e.turn
	case e.doubt < h.taken:
		e.doubt = 0
	}
}

// Revoked reports whether the node is refused leases.
func (t *Table) Revoked(id ownership.NodeID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.nodes[id]
	return e != nil && e.revoked()
}

func (e *entry) revoked() bool { return e.holds > 0 || e.doubt != 0 }

// InDoubt reports whether the node is refused leases for acts of which nobody knows whether they
// come true.
func (t *Table) InDoubt(id ownership.NodeID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.nodes[id]
	return e != nil && e.doubt != 0
}
