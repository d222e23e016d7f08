package leader

import (
	"context"
	"fmt"
	"sync"
	"time"

	"tandem/cluster/lease"
	"tandem/cluster/presence"
	"tandem/ownership"
)

// Renew answers one node's renewal.
func (l *Leadership) Renew(ctx context.Context, in lease.Renewal) (lease.Grant, error) {
	if err := l.Ready(ctx); err != nil {
		return lease.Grant{}, err
	}
	l.Leases.Next.Sees(in.Node, time.Now())
	if l.restoring.Load() {
		return lease.Grant{}, fmt.Errorf("renewing the lease of %s: the table is being restored: %w", in.Node, ownership.ErrFenced)
	}
	n, ok := l.Table.Node(in.Node)
	switch {
	case !ok:
		return lease.Grant{}, fmt.Errorf("renewing the lease of %s: it is %w", in.Node, ownership.ErrUnknown)
	case n.Incarnation != in.Incarnation:
		return lease.Grant{}, fmt.Errorf("renewing the lease of %s: another node of that id is in the region: %w", in.Node, ownership.ErrConflict)
	case n.State == ownership.NodeGone:
		return lease.Grant{}, fmt.Errorf("renewing the lease of %s: %w", in.Node, ownership.ErrGone)
	case n.Process != "" && n.Process != in.Process:
		return lease.Grant{}, fmt.Errorf("renewing the lease of %s: %w", in.Node, presence.Twin(in.Node, n.ClusterAddr))
	case l.Leases.Next.IsOver(in.Node, in.Process):
		return lease.Grant{}, fmt.Errorf("renewing the lease of %s: it gave its lease back: %w", in.Node, ownership.ErrFenced)
	}
	l.Leases.Next.Renewed(in.Node)
	l.compareSettings(in.Node, in.Settings)
	if err := l.compareTables(in, n, time.Now()); err != nil {
		return lease.Grant{}, err
	}
	l.Present.Holds(in.Node, in.Incarnation, in.Process, in.Applied)
	l.versions.Report(in.Node, in.Process, in.Versions, in.Apps, time.Now())
	length := l.leaseLength()
	if err := l.Leases.Receive(in, length, l.Table.Applied(), time.Now()); err != nil {
		return lease.Grant{}, err
	}
	if err := l.Sure(ctx); err != nil {
		return lease.Grant{}, err
	}
	if l.restoring.Load() { // since it came in; nothing may be granted that is not waited for
		return lease.Grant{}, fmt.Errorf("renewing the lease of %s: the table is being restored: %w", in.Node, ownership.ErrFenced)
	}
	return lease.Grant{Length: length, Term: l.Term, Applied: l.Table.Applied(), Holdings: l.holdings(in.Node), Region: l.fitness()}, nil
}

// fitnessFor is how long what nodes are told of each other stands: many of them ask,
// four times in a lease each.
const fitnessFor = 100 * time.Millisecond

// told is what nodes were last told of each other.
type told struct {
	sync.Mutex
	since time.Time // when this one began to lead
	at    time.Time
	ownership.RegionFitness
}

// fitness sums up what is known of all nodes. A new leader knows nothing of a node that
// it has yet to hear, which it does within a lease: to say that the region has no room, for
// it has heard nobody, would keep its calls away at each change of the leader. Until then
// it repeats which nodes an earlier leader called silent.
func (l *Leadership) fitness() ownership.RegionFitness {
	l.told.Lock()
	defer l.told.Unlock()
	if now := time.Now(); now.Sub(l.told.at) > fitnessFor {
		silent, sure := l.silent(now)
		l.told.at, l.told.RegionFitness = now, ownership.RegionFitness{Silent: silent, Differs: l.Differences(), Versions: l.versions.States(l.Table.Rollouts(), now)}
		if sure {
			l.told.Rooms = ownership.NewPlacer(l.Table, now, l.Leases.Fitness(now)).Turns(l.versions.Look(rollouts(l.Table), now)).Rooms()
		}
	}
	return l.told.RegionFitness
}

// reinstate lets a node renew whose leases were revoked and has nothing to give, or nobody to
// give it to: it would get no lease until the lead changes. What it was revoked
// for may still be on its way through the log, so another act goes after it
// first.
func (l *Leadership) reinstate(id ownership.NodeID) {
	h := l.Leases.Revoke(id)
	out, _ := l.own(Through)
	l.Leases.Settle(h, out != nil)
}

// heir reports whether anybody could inherit.
func (l *Leadership) heir(dead ownership.NodeID) bool {
	for id, f := range l.Leases.Fitness(time.Now()) {
		if id == dead || !f.Leased || !f.Bot {
			continue
		}
		if n, ok := l.Table.Node(id); ok && n.State != ownership.NodeGone {
			return true
		}
	}
	return false
}

// Through is an act without effect: once it is applied, whatever was sent before
// it is applied too, or lost. A barrier does not show that: while a disk is
// slow, entries wait for it under a leader that is sure of its lead.
var Through = ownership.Seen{}
