package cluster

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"tandem/cluster/lease"
	"tandem/ownership"
)

// impatient gives the apps whose calls wait for no silent node.
func (c *Config) impatient() []ownership.AppID {
	var out []ownership.AppID
	for _, app := range c.Apps {
		if c.Silence(app) <= 0 {
			out = append(out, app)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// waitedFor gives, of the apps that something is still reserved for, those whose
// patience is over after so long a silence. all: it is over for every app, those
// that this node does not know too. Nothing is due when both are empty.
func (c *Config) waitedFor(reserved []reservation, silent time.Duration) (apps []ownership.AppID, all bool) {
	waiting := func(app ownership.AppID) bool {
		return slices.ContainsFunc(reserved, func(r reservation) bool { return !r.HasLapsed(app) })
	}
	all = waiting(ownership.AllApps) && silent >= c.Silence(ownership.AllApps)
	for _, app := range c.Apps {
		switch {
		case silent < c.Silence(app):
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

// reservedFor gives what is reserved for each node.
func (c *standing) reservedFor() map[ownership.NodeID][]reservation {
	out := make(map[ownership.NodeID][]reservation)
	for _, p := range c.tb.Reserved() {
		for _, r := range p.Reserved {
			if !r.Final {
				out[r.Node] = append(out[r.Node], reservation{r, p})
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
func (r *reign) failOver() {
	for r.sleep(r.c.cfg.Timings.Renew / 4) {
		if r.restoring.Load() { // nobody can renew, so silence says nothing
			continue
		}
		r.setFirstLength()
		reserved := r.c.reservedFor()
		applied := r.c.tb.Applied() // after that, so that it covers what was seen there
		for _, n := range r.c.tb.Nodes() {
			r.lookAfter(n.ID, reserved[n.ID], applied)
		}
	}
}

func (r *reign) lookAfter(id ownership.NodeID, reserved []reservation, applied uint64) {
	now := time.Now()
	// A process that waits to go on as the node is admitted at the very moment at
	// which the lease of the one before it is over. It is given a lease's time for it.
	if r.leases.Waiting(id, now) && now.Before(r.leases.Over(id).Add(r.c.leaseLength())) {
		return
	}
	lapsed := slices.ContainsFunc(reserved, func(v reservation) bool { return len(v.Lapsed) > 0 })
	if !lapsed {
		r.returned.seen(id, applied)
	}
	apps, all := r.c.cfg.waitedFor(reserved, now.Sub(r.leases.Over(id)))
	over := !now.Before(r.leases.Over(id))
	switch {
	case over && len(r.c.tb.PartitionsOf(id)) > 0 && r.heir(id):
		if r.leases.RevokeIfOver(id, now) {
			r.against(id, ownership.Failover{Node: id, Lapsed: r.lapsedAtOnce()})
		}
	case over && (len(apps) > 0 || all):
		// Revoked meanwhile, as for a failover: a lease granted before the act is
		// applied would let the node act on what is another's by then.
		if r.leases.RevokeIfOver(id, now) {
			if all {
				apps = nil // every one
			}
			r.against(id, ownership.Lapse{Node: id, Apps: apps})
		}
	case r.leases.Revoked(id):
		r.reinstate(id)
	case lapsed && r.leases.Acts(id, now):
		r.giveBack(id)
	}
}

// lapsedAtOnce gives the apps that a failover orphans at once; a region of an older
// format knows no reservations.
func (r *reign) lapsedAtOnce() []ownership.AppID {
	if r.c.tb.Format() < ownership.FormatReservations {
		return nil
	}
	return r.c.cfg.impatient()
}

// against proposes what takes something from a node whose leases are revoked. When it is not
// known whether the act went through, they stay revoked, and the next round
// tries again: the act is harmless when repeated.
func (r *reign) against(id ownership.NodeID, act ownership.Act) {
	ctx, cancel := context.WithTimeout(r.ctx, r.c.cfg.Timings.Decide)
	defer cancel()
	out, err := r.propose(ctx, act)
	if err == nil {
		r.leases.Reinstate(id)
		err = out.Err
	}
	_, dead := act.(ownership.Failover)
	switch {
	case err != nil && r.ctx.Err() == nil:
		r.c.log.Warn("giving away what a silent node left", "node", string(id), "err", err)
	case err != nil:
	case dead:
		r.c.m.failovers.Inc()
		r.c.log.Warn("a node fell silent; its partitions have new owners", "node", string(id), "partitions", len(out.Moves))
	default:
		r.c.log.Warn("a node stayed silent; its calls with media of their own are orphans now", "node", string(id), "apps", act.(ownership.Lapse).Apps)
	}
}

// giveBack lets a node that is back have what lapsed while it was silent, but for
// what others took up. It may act on that once the present owners have heard of it,
// see holdings.
func (r *reign) giveBack(id ownership.NodeID) {
	ctx, cancel := context.WithTimeout(r.ctx, r.c.cfg.Timings.Decide)
	defer cancel()
	r.returned.begin(id)
	out, err := r.propose(ctx, ownership.Reclaim{Node: id})
	if err == nil {
		err = out.Err
	}
	switch {
	case err == nil:
		r.c.log.Info("a node is back; it has its calls again that nobody took up", "node", string(id))
	case r.ctx.Err() == nil:
		r.c.log.Warn("giving a node back what it left", "node", string(id), "err", err)
	}
}

// portRefused tells the leader that a node's process has most likely ended: its
// machine answers, and nobody listens there.
func (c *Cluster) portRefused(id ownership.NodeID, addr string) {
	r := c.reign.Load()
	if r == nil {
		return
	}
	if n, ok := c.tb.Node(id); ok && n.ClusterAddr == addr {
		r.leases.Refuses(id, time.Now())
	}
}

// holdings gives what the node may act for at which epoch: its partitions, and the
// calls that are reserved for it in others'. Of these a present owner may have
// acted for as orphans, until its table held the return of the node; so they are
// confirmed only when it has said so, or cannot act any more.
func (r *reign) holdings(id ownership.NodeID) map[lease.Holding]bool {
	out := make(map[lease.Holding]bool)
	for _, p := range r.c.tb.PartitionsOf(id) {
		out[lease.Holding{Partition: p.ID, Epoch: p.Epoch}] = true
	}
	reserved := r.c.reservedFor()[id] // before it is asked since when: what was given back by now was begun before
	since, ok := r.returned.since(id)
	if !ok {
		return out
	}
	now := time.Now()
	for _, v := range reserved {
		heard := v.in.Owner == id || r.leases.CaughtUp(v.in.Owner, since) || now.After(r.leases.Over(v.in.Owner))
		if heard && len(v.Lapsed) == 0 {
			out[lease.Holding{Partition: v.in.ID, Epoch: v.Epoch}] = true
		}
	}
	return out
}

// returned remembers from which index on the table holds what each node got back
// in this reign. It is safe for concurrent use.
type returned struct {
	mu   sync.Mutex
	base uint64 // of the table when the reign began: an earlier leader may have given something back
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

// since gives the index that others' tables must hold before the node may act on
// what is reserved for it; false: it is not known yet.
func (v *returned) since(id ownership.NodeID) (uint64, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return max(v.base, v.at[id]), v.at[id] != unseen
}
