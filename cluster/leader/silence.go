package leader

import (
	"math"
	"slices"
	"sync"
	"time"

	"tandem/cluster/lease"
	"tandem/ownership"
	"tandem/store"
)

// impatient returns the apps whose calls wait for no silent node.
func (n *Needs) impatient() []ownership.AppID {
	var out []ownership.AppID
	for _, app := range n.Apps {
		if n.Silence(app) <= 0 {
			out = append(out, app)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// waitedFor gives, of the apps that something is still reserved for, those whose
// patience is over after so long a silence. all: it is over for every app, those
// that this node does not know too. Nothing is due when both are empty.
func (n *Needs) waitedFor(reserved []reservation, silent time.Duration) (apps []ownership.AppID, all bool) {
	waiting := func(app ownership.AppID) bool {
		return slices.ContainsFunc(reserved, func(v reservation) bool { return !v.HasLapsed(app) })
	}
	all = waiting(ownership.AllApps) && silent >= n.Silence(ownership.AllApps)
	for _, app := range n.Apps {
		switch {
		case silent < n.Silence(app):
			all = false
		case waiting(app):
			apps = append(apps, app)
		}
	}
	slices.Sort(apps)
	return slices.Compact(apps), all
}

// reservation is one with the partition that it is in.
type reservation struct {
	ownership.Reservation
	in ownership.Partition
}

func reservedFor(tb *store.Table) map[ownership.NodeID][]reservation {
	out := make(map[ownership.NodeID][]reservation)
	for _, p := range tb.Reserved() {
		for _, v := range p.Reserved {
			if !v.Final {
				out[v.Node] = append(out[v.Node], reservation{v, p})
			}
		}
	}
	return out
}

// failOver looks after the nodes that fall silent or come back: it gives the
// partitions of silent nodes to others once their leases are certainly over, those
// of gone nodes too, which keep theirs if nobody was fit to inherit when they went;
// it ends the waiting for silent nodes; and it gives nodes that are back what
// lapsed meanwhile.
func (l *Leadership) failOver() {
	for l.sleep(l.Timings.Renew / 4) {
		if l.restoring.Load() { // nobody can renew, so silence says nothing
			continue
		}
		l.setFirstLength()
		reserved := reservedFor(l.Table)
		applied := l.Table.Applied() // after that, so that it covers what was seen there
		for _, n := range l.Table.Nodes() {
			l.lookAfter(n.ID, reserved[n.ID], applied)
		}
	}
}

func (l *Leadership) lookAfter(id ownership.NodeID, reserved []reservation, applied uint64) {
	now := time.Now()
	// A process that waits to go on as the node is admitted at the very moment at
	// which the lease of the one before it is over. It is given a lease's time for it.
	if l.Leases.Waiting(id, now) && now.Before(l.Leases.Over(id).Add(l.leaseLength())) {
		return
	}
	lapsed := slices.ContainsFunc(reserved, func(v reservation) bool { return len(v.Lapsed) > 0 })
	if !lapsed {
		l.returned.seen(id, applied)
	}
	apps, all := l.waitedFor(reserved, now.Sub(l.Leases.Over(id)))
	if now.Before(l.Leases.AwayTo(id)) { // it said so before: its machine stands still, and comes back
		apps, all = nil, false
	}
	over := !now.Before(l.Leases.Over(id))
	switch {
	case over && len(l.Table.PartitionsOf(id)) > 0 && l.heir(id):
		if h := l.Leases.RevokeIfOver(id, now); h != nil {
			l.against(id, h, ownership.Failover{Node: id, Lapsed: l.lapsedAtOnce()})
		}
	case over && (len(apps) > 0 || all):
		// Revoked meanwhile, as for a failover: a lease granted before the act is
		// applied would let the node act on what is another's by then.
		if h := l.Leases.RevokeIfOver(id, now); h != nil {
			if all {
				apps = nil // every one
			}
			l.against(id, h, ownership.Lapse{Node: id, Apps: apps})
		}
	case l.Leases.InDoubt(id):
		l.reinstate(id)
	case lapsed && l.Leases.Acts(id, now):
		l.giveBack(id)
	}
}

// lapsedAtOnce returns the apps that a failover orphans at once; a region of an older
// format knows no reservations.
func (l *Leadership) lapsedAtOnce() []ownership.AppID {
	if l.Table.Format() < ownership.FormatReservations {
		return nil
	}
	return l.impatient()
}

// against proposes what takes something from a node whose leases are revoked. When it is not
// known whether the act went through, they stay revoked, and the next round
// tries again: the act is harmless when repeated.
func (l *Leadership) against(id ownership.NodeID, h *lease.Hold, act ownership.Act) {
	out, err := l.own(act)
	l.Leases.Settle(h, out != nil)
	_, dead := act.(ownership.Failover)
	switch {
	case err != nil && l.ctx.Err() == nil:
		l.Log.Warn("giving away what a silent node left", "peer", string(id), "err", err)
	case err != nil:
	case dead:
		l.FailedOver()
		l.went.add(id, out.Moves)
		l.Log.Warn("a node fell silent; its partitions have new owners", "peer", string(id), "partitions", len(out.Moves))
	default:
		l.Log.Warn("a node stayed silent; its calls with media of their own are orphans now", "peer", string(id), "apps", act.(ownership.Lapse).Apps)
	}
}

// giveBack lets a node that is back have what lapsed while it was silent, but for
// what others took up. It may act on that once the present owners have heard of it,
// see holdings.
func (l *Leadership) giveBack(id ownership.NodeID) {
	l.returned.begin(id)
	_, err := l.own(ownership.Reclaim{Node: id})
	switch {
	case err == nil:
		l.Log.Info("a node is back; it has its calls again that nobody took up", "peer", string(id))
	case l.ctx.Err() == nil:
		l.Log.Warn("giving a node back what it left", "peer", string(id), "err", err)
	}
}

// holdings returns what the node may act for at which epoch: its partitions, and the
// calls that are reserved for it in others'. Of these a present owner may have
// acted for as orphans, until its table held the return of the node; so they are
// confirmed only when it has said so, or cannot act any more.
func (l *Leadership) holdings(id ownership.NodeID) map[lease.Holding]bool {
	out := make(map[lease.Holding]bool)
	for _, p := range l.Table.PartitionsOf(id) {
		out[lease.Holding{Partition: p.ID, Epoch: p.Epoch}] = true
	}
	reserved := reservedFor(l.Table)[id] // before it is asked since when: what was given back by now was begun before
	since, ok := l.returned.since(id)
	if !ok {
		return out
	}
	now := time.Now()
	for _, v := range reserved {
		heard := v.in.Owner == id || l.Leases.CaughtUp(v.in.Owner, since) || now.After(l.Leases.Over(v.in.Owner))
		if heard && len(v.Lapsed) == 0 {
			out[lease.Holding{Partition: v.in.ID, Epoch: v.Epoch}] = true
		}
	}
	return out
}

// returned remembers from which index on the table holds what each node got back
// in this leadership. It is safe for concurrent use.
type returned struct {
	mu   sync.Mutex
	base uint64 // of the table when the leadership began: an earlier leader may have given something back
	at   map[ownership.NodeID]uint64
}

// unseen stands for an index that is not known yet.
const unseen = math.MaxUint64

// begin notes that a node is being given something back.
func (v *returned) begin(id ownership.NodeID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.at == nil {
		v.at = make(map[ownership.NodeID]uint64)
	}
	v.at[id] = unseen
}

// seen notes that the table at that index, or a later one, holds nothing that has
// lapsed for the node.
func (v *returned) seen(id ownership.NodeID, applied uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.at[id] == unseen {
		v.at[id] = applied
	}
}

// since returns the index that others' tables must hold before the node may act on
// what is reserved for it; false: it is not known yet.
func (v *returned) since(id ownership.NodeID) (uint64, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return max(v.base, v.at[id]), v.at[id] != unseen
}
