package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/hashicorp/raft"

	"tandem/cluster/peerpb"
	"tandem/ownership"
)

// Leave takes this node out of the region for good: it stops acting, its
// partitions go to others together with the memory of what was handled in them, and
// its vote ends. Call Stop afterwards. The last voter cannot leave, nor one without
// whom no quorum of living voters would be left: the error is ErrConflict.
func (c *Cluster) Leave(ctx context.Context) error {
	if slices.Equal(c.votersHere(), []string{string(c.self)}) {
		return fmt.Errorf("leaving the region: node %s is its last voter: %w", c.self, ownership.ErrConflict)
	}
	if err := c.askToDismiss(ctx, &peerpb.DismissRequest{Node: string(c.self), Probe: true}); err != nil {
		return fmt.Errorf("leaving the region: %w", err)
	}
	c.lease.Rest()
	c.restAll(ctx)
	ignorant := c.bequeath(ctx)
	c.lease.Drop()
	if c.raft.State() == raft.Leader {
		if err := c.TransferLeader(ctx, ""); err != nil { // it waits for the new leader, who does the rest
			if !c.stopping.Load() {
				c.lease.Keep() // nobody has heard that it leaves: it stays
			}
			return fmt.Errorf("leaving the region: %w", err)
		}
	}
	err := c.askToDismiss(ctx, &peerpb.DismissRequest{Node: string(c.self), Left: true, But: ignorant})
	if errors.Is(err, ownership.ErrGone) {
		return nil // an attempt before it went through, and its answer was lost
	}
	if errors.Is(err, ownership.ErrConflict) && !c.stopping.Load() {
		c.lease.Keep() // it stays
	}
	return err
}

// restAll waits until the table has heard what this node did as an owner, who acts no
// more: whoever follows would take up calls that have ended here. It goes on without
// after Timings.Decide.
func (mv *moves) restAll(ctx context.Context) {
	var all sync.WaitGroup
	for _, p := range mv.tb.PartitionsOf(mv.self) {
		all.Go(func() {
			if err := mv.rest(ctx, p.ID); err != nil {
				mv.log.Warn("leaving the region", "partition", p.ID.String(), "err", err)
			}
		})
	}
	all.Wait()
}

// bequeath hands the memory of this node's partitions to every other node: who
// inherits which is known only when it does, and calls with media here go, too. It
// gives those that could not take it.
func (mv *moves) bequeath(ctx context.Context) (ignorant []string) {
	if mv.tb.Format() < ownership.FormatReservations { // older nodes take no memory
		return nil
	}
	memories := make(map[ownership.PartitionID][]byte)
	for _, p := range mv.tb.PartitionsOf(mv.self) {
		memories[p.ID] = mv.memory(p.ID)
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, n := range mv.tb.Nodes() {
		if n.ID == mv.self || n.State == ownership.NodeGone {
			continue
		}
		all.Go(func() {
			for id, memory := range memories {
				if err := mv.send(ctx, id, memory, n.ID); err != nil {
					mv.log.Warn("leaving the region", "partition", id.String(), "not_inherited_by", string(n.ID), "err", err)
					mu.Lock()
					defer mu.Unlock()
					ignorant = append(ignorant, string(n.ID))
					return
				}
			}
		})
	}
	all.Wait()
	slices.Sort(ignorant)
	return ignorant
}
