package leader

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"tandem/ownership"
)

// restoreLimit bounds the seating of the nodes of today in a restored table.
const restoreLimit = 2 * time.Minute

// Restore has the table replaced by one of another day while nobody may act, and puts the
// nodes of today into it.
func (l *Leadership) Restore(ctx context.Context, replace func() error) error {
	if err := l.Ready(ctx); err != nil {
		return err
	}
	release, err := l.Form(ctx)
	if err != nil {
		return err
	}
	defer release()
	today, fit := l.Table.Nodes(), l.Leases.Fitness(time.Now())
	l.restoring.Store(true)
	defer l.restoring.Store(false)
	if err := l.standStill(ctx); err != nil {
		return err
	}
	if err := replace(); err != nil {
		return err
	}
	// Every node gets a whole lease to renew for the first time, or whoever is the
	// first to do it would inherit all that the others have.
	l.Leases.Begin(l.leaseLength(), time.Now())
	return l.reseat(ctx, today, fit)
}

// standStill waits until every lease is certainly over, while no new one is granted:
// nobody may act by the table of before while another acts by the restored one. Then
// it makes sure that this node still leads: raft replaces a leader's own table before
// it asks anybody.
func (l *Leadership) standStill(ctx context.Context) error {
	for {
		var over time.Time
		for _, n := range l.Table.Nodes() {
			if at := l.Leases.Over(n.ID); at.After(over) {
				over = at
			}
		}
		wait := time.Until(over)
		if wait <= 0 {
			return l.Sure(ctx)
		}
		if err := l.wait(ctx, wait); err != nil {
			return err
		}
	}
}

// reseat puts the nodes of today into a table that was restored from the past. fit
// is how they were before: since then nobody could renew.
func (l *Leadership) reseat(ctx context.Context, today []ownership.Node, fit map[ownership.NodeID]ownership.Fitness) error {
	left := make(map[ownership.PartitionID]bool) // by the machines of before
	for _, n := range today {
		if n.State == ownership.NodeGone {
			continue
		}
		old, ok := l.Table.Node(n.ID)
		if ok && old.Incarnation != n.Incarnation && old.State != ownership.NodeGone {
			out, err := l.Propose(ctx, ownership.Depart{Node: n.ID, Fitness: fit})
			if err != nil {
				return fmt.Errorf("retiring the former node %s: %w", n.ID, err)
			}
			for _, m := range out.Moves {
				left[m.Partition] = true
			}
		}
		act := ownership.Join{Node: n, Partitions: l.Partitions}
		if ok && old.Incarnation == n.Incarnation && old.Process != "" {
			act.Ancestors = []string{old.Process} // of another day
		}
		if _, err := l.carry(ctx, act); err != nil {
			return fmt.Errorf("putting node %s back: %w", n.ID, err)
		}
	}
	return l.share(ctx, left, fit)
}

// share spreads the partitions of the machines of before over the nodes of today, the
// heaviest first: who took the place of the first of them could inherit from all the
// others, who took that of the last one from nobody. Nobody has a lease, so nobody has
// to stop first.
func (l *Leadership) share(ctx context.Context, left map[ownership.PartitionID]bool, fit map[ownership.NodeID]ownership.Fitness) error {
	var heirs []ownership.NodeID
	for _, n := range l.Table.Nodes() {
		if n.State == ownership.NodeActive && fit[n.ID].Leased && fit[n.ID].Bot {
			heirs = append(heirs, n.ID)
		}
	}
	if len(heirs) == 0 {
		return nil
	}
	estate := slices.DeleteFunc(l.Table.Partitions(), func(p ownership.Partition) bool { return p.Retired || !left[p.ID] })
	slices.SortFunc(estate, func(a, b ownership.Partition) int { return cmp.Or(b.Live-a.Live, cmp.Compare(a.ID, b.ID)) })
	for i, p := range estate {
		to := heirs[i%len(heirs)]
		if p.Owner == to {
			continue
		}
		if _, err := l.carry(ctx, ownership.Move{Partition: p.ID, Epoch: p.Epoch, To: to}); err != nil {
			return fmt.Errorf("giving partition %s to node %s: %w", p.ID, to, err)
		}
	}
	return nil
}

// seatAll finishes a restore of which the leader lost the lead in the middle: by the
// table of another founding all nodes of today are strangers, and nobody would let
// any of them in. false: the leadership ended.
func (l *Leadership) seatAll() bool {
	today := l.Unseated()
	fit := make(map[ownership.NodeID]ownership.Fitness)
	strangers := slices.DeleteFunc(slices.Clone(today), func(n ownership.Node) bool {
		fit[n.ID] = ownership.Fitness{Leased: true, Bot: true} // as far as anybody knows
		now, ok := l.Table.Node(n.ID)
		return n.State == ownership.NodeGone || ok && now.Incarnation == n.Incarnation
	})
	for len(strangers) > 0 {
		ctx, cancel := context.WithTimeout(l.ctx, restoreLimit)
		err := l.reseat(ctx, strangers, fit)
		cancel()
		if err == nil {
			l.Log.Info("finished the restore that the leader before had begun", "nodes", len(strangers))
			break
		}
		l.Log.Warn("finishing a restore; trying again", "err", err)
		if !l.sleep(retryPause) {
			return false
		}
	}
	return true
}
