package leader

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"tandem/cluster/clocks"
	"tandem/ownership"
)

// Dismiss is the leader's part of a removal. left: the node itself has stopped; none
// of those in but inherits at once.
func (l *Leadership) Dismiss(ctx context.Context, id ownership.NodeID, left bool, but ...ownership.NodeID) error {
	fail := func(err error) error { return fmt.Errorf("removing node %s: %w", id, err) }
	if err := l.Ready(ctx); err != nil {
		return err
	}
	n, ok := l.Table.Node(id)
	if !ok {
		return fail(ownership.ErrUnknown)
	}
	if id == l.Self.ID {
		return fail(fmt.Errorf("it leads the region: hand on the lead first: %w", ownership.ErrConflict))
	}
	release, err := l.Form(ctx)
	if err != nil {
		return fail(err)
	}
	defer release()
	if err := l.MayDismiss(ctx, id); err != nil {
		return fail(err)
	}
	h := l.Leases.Revoke(id)
	defer l.Leases.Settle(h, false)
	if wait := time.Until(l.Leases.Over(id)); !left && wait > 0 && n.State != ownership.NodeGone {
		if err := l.wait(ctx, wait); err != nil {
			return fail(err)
		}
	}
	out, err := l.Propose(ctx, ownership.Depart{Node: id, Fitness: l.fitnessBut(but)})
	if err != nil {
		// The act may still come true. The failover loop reinstates when it has, or cannot
		// any more.
		return fail(err)
	}
	l.Leases.Settle(h, true) // the table refuses it now; a new incarnation may come
	if out.Err != nil {
		return fail(out.Err)
	}
	err = l.change(ctx, func() raft.Future { return l.Raft.RemoveServer(raft.ServerID(id), 0, l.Timings.Decide) })
	if err != nil {
		return fail(err)
	}
	l.Log.Info("a node was removed", "peer", string(id), "left", left, "partitions", len(out.Moves))
	return nil
}

// MayDismiss refuses what would leave the region without a quorum of living
// voters: it could decide nothing any more, not even to take somebody back in.
// Those who have not renewed yet, after a change of leader, get a lease's time.
func (l *Leadership) MayDismiss(ctx context.Context, id ownership.NodeID) error {
	if err := l.Ready(ctx); err != nil {
		return err
	}
	end := time.Now().Add(l.Timings.Lease)
	for {
		err := l.quorumWithout(id)
		if err == nil || !time.Now().Before(end) || ctx.Err() != nil {
			return err
		}
		if !l.sleep(pollEvery) {
			return ownership.ErrNotLeader
		}
	}
}

func (l *Leadership) quorumWithout(id ownership.NodeID) error {
	left, living, votes := 0, 0, false
	var silent []string
	for _, s := range Servers(l.Raft) {
		other := ownership.NodeID(s.ID)
		switch {
		case s.Suffrage != raft.Voter:
		case other == id:
			votes = true
		case other == l.Self.ID || l.Leases.Leased(other, time.Now()):
			left, living = left+1, living+1
		default:
			left++
			silent = append(silent, string(other))
		}
	}
	if !votes || l.isGone(id) || left > 0 && living >= Quorum(left) {
		return nil
	}
	if left == 0 {
		return fmt.Errorf("node %s is the region's last voter: %w", id, ownership.ErrConflict)
	}
	who := strings.Join(silent, ", ")
	return fmt.Errorf("of the %d voters that would be left only %d answer, and %d are needed to decide anything: start %s again or remove it first, "+
		"or let a new node join and get its vote: %w", left, living, Quorum(left), who, ownership.ErrConflict)
}

// dropGone takes nodes that the table knows as gone out of raft's configuration,
// where a removal was cut short.
func (l *Leadership) dropGone() {
	for _, s := range Servers(l.Raft) {
		if !l.isGone(ownership.NodeID(s.ID)) {
			continue
		}
		ctx, cancel := context.WithTimeout(l.ctx, l.Timings.Decide)
		release, err := l.Form(ctx)
		if err == nil {
			if l.isGone(ownership.NodeID(s.ID)) { // it may have joined anew meanwhile
				err = l.change(ctx, func() raft.Future { return l.Raft.RemoveServer(s.ID, 0, l.Timings.Decide) })
			}
			release()
		}
		cancel()
		if err != nil && l.ctx.Err() == nil {
			l.Log.Warn("taking a gone node out of raft's configuration", "peer", string(s.ID), "err", err)
		}
	}
}

// dismissNonMembers takes nodes out of the table that have no place in raft's
// configuration: those that Recover gave up, and those of the day of a restored
// snapshot. A node gets its place before its record and loses it after, so in the
// ordinary course there are none. With its record gone, such a node is refused
// when it comes back with its old data, which may hold what this region does not;
// with empty data it may join at once.
func (l *Leadership) dismissNonMembers() {
	placed := Servers(l.Raft)
	for _, n := range l.Table.Nodes() {
		if n.State == ownership.NodeGone || Placed(placed, n.ID) || len(placed) == 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(l.ctx, DismissLimit(l.Timings))
		err := l.Dismiss(ctx, n.ID, false)
		cancel()
		if err != nil && l.ctx.Err() == nil {
			l.Log.Warn("taking out a node that raft does not know", "peer", string(n.ID), "err", err)
		}
	}
}

// JoinLimit bounds one request to join: the leader calls the node back, changes
// raft's configuration and writes the record.
const JoinLimit = 10 * time.Second

// DismissLimit bounds a removal: a lease has to run out first.
func DismissLimit(t clocks.Timings) time.Duration { return t.Lease + t.Drift + JoinLimit }
