package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tandem/cluster/leader"
	"tandem/cluster/peerpb"
	"tandem/ownership"
)

// moves is the planned change of a partition's owner: this one hands it over, with
// all that is known of its calls, and the other takes it.
type moves struct{ *proposals }

// Move gives one partition to another node: the planned hand-over, from any
// node. The owner stops acting on it first, and only then its epoch grows. The
// error is ErrUnknown, ErrConflict when its calls cannot move, ownership.ErrUnreachable
// when the owner does not answer (a dead owner's partitions move by themselves),
// or ErrNoLeader; the owner goes on acting then.
func (mv *moves) Move(ctx context.Context, id ownership.PartitionID, to ownership.NodeID) error {
	fail := func(err error) error { return fmt.Errorf("moving partition %s to node %s: %w", id, to, err) }
	p, ok := mv.tb.Partition(id)
	if !ok || p.Retired {
		return fail(ownership.ErrUnknown)
	}
	if p.Owner == to {
		return nil
	}
	if p.Owner == mv.self {
		if _, _, err := mv.yield(ctx, id, p.Epoch, to); err != nil {
			return fail(err)
		}
		return nil
	}
	n, ok := mv.tb.Node(p.Owner)
	if !ok {
		return fail(ownership.ErrUnknown)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*mv.cfg.Timings.Decide)
	defer cancel()
	res, err := mv.links.To(n.ID, n.ClusterAddr).Yield(ctx, &peerpb.YieldRequest{Partition: uint32(id), Epoch: uint64(p.Epoch), To: string(to)})
	if err != nil {
		return fail(err)
	}
	if err := mv.waitApplied(ctx, res.GetOutcome().GetIndex()); err != nil {
		return fail(err)
	}
	return nil
}

// yield is the owner's part of a move: choose the next owner, stop, let it have the
// memory of what was handled, then say so. With an empty to the leader chooses, none
// of those in but. It gives the next owner too, as far as it was chosen.
func (mv *moves) yield(ctx context.Context, id ownership.PartitionID, epoch ownership.Epoch, to ownership.NodeID, but ...ownership.NodeID) (*ownership.Outcome, ownership.NodeID, error) {
	fail := func(err error) error { return fmt.Errorf("giving up partition %s at epoch %s: %w", id, epoch, err) }
	if !mv.HoldsPartition(id, epoch) {
		return nil, to, fail(ownership.ErrFenced)
	}
	remembers := mv.tb.Format() >= ownership.FormatReservations // older nodes take no memory
	if to == "" && remembers {
		var err error
		if to, err = mv.direct(ctx, id, but); err != nil {
			return nil, "", fail(err)
		}
	}
	// One hand-over at a time: the second would be refused for coming too late, and
	// take the partition back while this table does not show the first one yet.
	if !mv.lease.Yield(id, epoch) {
		return nil, to, fail(fmt.Errorf("it is being handed over already: %w", ownership.ErrFenced))
	}
	err := mv.rest(ctx, id)
	if err != nil {
		err = fmt.Errorf("%w: %w", ownership.ErrConflict, err)
	} else if remembers {
		err = mv.handOn(ctx, id, to)
	}
	if err != nil {
		mv.takeBack(id, epoch)
		return nil, to, fail(err)
	}
	out, err := mv.Do(ctx, ownership.Move{Partition: id, Epoch: epoch, To: to})
	switch again, surelyNot := retryable(err); {
	case err == nil:
		// It stays marked: a Holds that read the table before the move was applied
		// may yet ask the lease. A later epoch is not held back by it.
		_ = mv.waitApplied(ctx, out.Index) // the move is done whether this table shows it or not
		return out, to, nil
	case !again || surelyNot, errors.Is(err, ErrStopped):
		mv.takeBack(id, epoch)
	default:
		// The act may still come true. When another has followed it through the log
		// it has, or never will.
		mv.wg.Go(func() { mv.resume(id, epoch) })
	}
	return nil, to, err
}

// rest waits for the effects that were under way when this node stopped acting on
// the partition: one that reaches the bot or Graph after the new owner began
// would carry a passed epoch.
func (mv *moves) rest(ctx context.Context, id ownership.PartitionID) error {
	if mv.deps.Quiesce == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, mv.cfg.Timings.Decide)
	defer cancel()
	return mv.deps.Quiesce(ctx, id)
}

// takeBack lets this node act on a partition again whose move came to nothing.
func (mv *moves) takeBack(id ownership.PartitionID, epoch ownership.Epoch) {
	if p, ok := mv.tb.Partition(id); ok && p.Owner == mv.self && p.Epoch == epoch {
		mv.lease.Take(id)
	}
}

// resume lets this node act on a partition again once it is known what became of
// its move. A request on its way may still reach the log until its own bound is
// over, so that is waited for first.
func (mv *moves) resume(id ownership.PartitionID, epoch ownership.Epoch) {
	t := time.NewTimer(mv.cfg.Timings.Decide)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-mv.ctx.Done():
			return
		}
		if out, err := mv.Do(mv.ctx, leader.Through); err == nil && mv.waitApplied(mv.ctx, out.Index) == nil {
			mv.takeBack(id, epoch)
			return
		}
		t.Reset(mv.cfg.Timings.Announce)
	}
}
