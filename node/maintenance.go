package node

import (
	"context"
	"iter"
	"time"

	"tandem/ownership"
)

// How often maintenance runs.
const (
	forgetEvery = 30 * time.Second // the leader drops old tombstones
	reapEvery   = time.Minute      // every node looks after its own silent calls
)

// maintenance keeps the table and the node's calls clean.
type maintenance struct{ *Node }

// maintain starts the rounds that clean the table up.
func (n maintenance) maintain(ctx context.Context) error {
	n.stops.addRunning(ctx, "maintenance", func(ctx context.Context) {
		forget, reap := time.NewTicker(forgetEvery), time.NewTicker(reapEvery)
		defer forget.Stop()
		defer reap.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-forget.C:
				n.forget(ctx)
			case <-reap.C:
				n.reap(ctx)
			}
		}
	})
	return nil
}

// forget drops tombstones that no late notification can reach any more. Only
// the leader proposes it, so that it is proposed once.
func (n maintenance) forget(ctx context.Context) {
	n.private.FlushAudit(ctx)
	if n.region.Status().State != "leader" {
		return
	}
	n.keepLedger(ctx)
	now := n.now()
	if _, err := n.region.Do(ctx, ownership.Forget{At: now, Before: now.Add(-n.cfg.Cluster.Tombstones)}); err != nil {
		n.log.Warn("forgetting old tombstones; the next round tries again", "err", err)
	}
}

// now is the clock of the maintenance.
func (n *Node) now() time.Time {
	if n.cfg.Now != nil {
		return n.cfg.Now()
	}
	return time.Now()
}

// reap looks at calls that have been silent for long.
func (n maintenance) reap(ctx context.Context) {
	seen, err := n.dispatcher.Reap(ctx, n.ownCalls())
	if err != nil {
		n.log.Warn("looking after silent calls; the next round tries again", "err", err)
	}
	if seen.Asked > 0 {
		n.log.Info("looked after silent calls", "asked", seen.Asked, "released", seen.Released, "alive", seen.Alive, "unclear", seen.Unclear)
	}
}

// ownCalls walks the calls of this node's partitions that have not ended, each
// with the epoch at which this node may act on it. An orphan's own epoch is that
// of the owner it died with: nobody could ever act on it at that one.
func (n maintenance) ownCalls() iter.Seq[ownership.Call] {
	return func(yield func(ownership.Call) bool) {
		for c, err := range n.table.Each(ownership.CallFilter{Node: n.ID()}) {
			if err != nil {
				n.log.Error("walking this node's calls", "err", err)
				return
			}
			if c.State == ownership.CallEnded {
				continue
			}
			if p, ok := n.table.Partition(c.Partition); ok {
				c.Epoch = p.Epoch
			}
			if !yield(c) {
				return
			}
		}
	}
}
