package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"tandem/cluster/presence"
	"tandem/ownership"
)

// admit is the leader's part of a join. The newcomer gets a place in raft's
// configuration without a vote, unless it has one, then its record, and then it is
// told that it is admitted, if it was a member before: until that it answers no
// raft message. The vote comes
// when its table has caught up, see voting.
func (r *reign) admit(ctx context.Context, req JoinRequest) (voter bool, err error) {
	c, n := r.c, req.Node
	fail := func(err error) (bool, error) { return false, fmt.Errorf("joining node %s: %w", n.ID, err) }
	if err := c.checkJoin(req); err != nil {
		return false, err
	}
	if err := r.waitReady(ctx); err != nil {
		return false, err
	}
	r.leases.Next.Sees(n.ID, time.Now())
	release, err := r.form(ctx)
	if err != nil {
		return fail(err)
	}
	defer release()
	if err := r.checkNewcomer(req); err != nil {
		return fail(err)
	}
	used, err := r.letIn(ctx, req)
	if err != nil {
		return fail(err)
	}
	if c.present.Promised(presence.Bearer{Node: n.ID, Process: n.Process, Ancestors: req.Ancestors, Over: req.Over}, time.Now()) {
		return fail(presence.ErrAlive)
	}
	succeeds, err := r.succeed(req)
	if err != nil {
		return fail(err)
	}
	early := "" // a new incarnation has no vote that could count twice: it may hear raft at once
	if have, ok := c.tb.Node(n.ID); !ok || have.State == ownership.NodeGone {
		early = n.Incarnation
	}
	if n.ID != c.self {
		if err := r.callBack(ctx, n, early); err != nil {
			return fail(err)
		}
	}
	if err := r.vacate(n); err != nil {
		return fail(err)
	}
	if voter, err = r.seat(ctx, n); err != nil {
		return fail(err)
	}
	n.Voter = voter
	if req.Partitions == 0 {
		req.Partitions = c.cfg.Partitions
	}
	r.leases.Admit(n.ID, n.Incarnation, time.Now())
	act := ownership.Join{Node: n, Partitions: req.Partitions, Ancestors: req.Ancestors}
	if c.tb.Format() < ownership.FormatReservations {
		act.Node.Process, act.Ancestors = "", nil
	}
	out, err := r.propose(ctx, act)
	if err != nil {
		return fail(err) // it may come true yet: whom it succeeds gets no lease until it is known
	}
	if succeeds {
		r.leases.Reinstate(n.ID)
	}
	if out.Err != nil {
		return fail(out.Err)
	}
	r.leases.Next.Done(n.ID)
	if n.ID == c.self {
		c.admitted()
		return voter, nil
	}
	c.present.Bind(n.ID, n.Process, n.ClusterAddr, time.Now())
	if early == "" {
		if err := r.callBack(ctx, n, n.Incarnation); err != nil {
			return fail(err)
		}
	}
	used(ctx)
	c.log.Info("a node joined", "node", string(n.ID), "addr", n.ClusterAddr, "process", n.Process, "voter", voter)
	return voter, nil
}

// form waits for the right to change the membership.
func (r *reign) form(ctx context.Context) (release func(), err error) {
	select {
	case r.forming <- struct{}{}:
		return func() { <-r.forming }, nil
	case <-r.ctx.Done():
		return nil, ownership.ErrNotLeader
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// checkNewcomer holds a node against the table before raft hears of it.
func (r *reign) checkNewcomer(req JoinRequest) error {
	n := req.Node
	mine := r.c.tb.Identity()
	if mine != "" && req.Identity != "" && req.Identity != mine && req.Identity != r.c.formerly() {
		return fmt.Errorf("its data are of another region of this name (identity %s, here it is %s): empty its data directory, then start it again: %w",
			req.Identity, mine, ownership.ErrForeign)
	}
	if writes := r.c.tb.Format(); n.Format < writes {
		return fmt.Errorf("it reads command formats up to %d, the region writes %d: upgrade its software first: %w", n.Format, writes, ownership.ErrConflict)
	}
	have, ok := r.c.tb.Node(n.ID)
	placed := slices.ContainsFunc(r.c.servers(), func(s raft.Server) bool { return s.ID == raft.ServerID(n.ID) })
	switch {
	case !ok && req.HasState && !placed:
		return fmt.Errorf("it has data of a region, and this one does not know it (any more): %w: empty its data directory, then start it again", ownership.ErrGone)
	case !ok:
		return nil
	case have.Incarnation == n.Incarnation && have.State == ownership.NodeGone:
		return fmt.Errorf("%w: empty its data directory, then join it anew", ownership.ErrGone)
	case have.Incarnation != n.Incarnation && have.State != ownership.NodeGone:
		return fmt.Errorf("the region knows that id with other data at %s; its disk was lost or swapped: remove the node, then join it anew: %w",
			have.ClusterAddr, ownership.ErrConflict)
	}
	return nil
}

// succeed lets a process follow the one that the table names, and reports whether
// there is one. That one gets no lease from then on. Its own must be certainly
// over, or it has given it back; and the newcomer must descend from it, with all that
// it said it had.
func (r *reign) succeed(req JoinRequest) (bool, error) {
	n := req.Node
	have, ok := r.c.tb.Node(n.ID)
	if !ok || have.State == ownership.NodeGone || have.Process == "" || have.Process == n.Process {
		return false, nil
	}
	if !slices.Contains(req.Ancestors, have.Process) {
		return false, twinOf(n.ID, have.ClusterAddr)
	}
	if err := r.c.present.SetBack(n.ID, n.Incarnation, n.Process, req.LastIndex); err != nil {
		return false, err
	}
	now := time.Now()
	if err := r.leases.Next.Ask(n.ID, n.Process, r.leases.Waits(), now); err != nil {
		if errors.Is(err, ownership.ErrTwin) {
			err = twinOf(n.ID, have.ClusterAddr)
		}
		return false, err
	}
	if req.Over && req.Ancestors[len(req.Ancestors)-1] == have.Process || r.leases.Next.IsOver(n.ID, have.Process) {
		r.leases.Revoke(n.ID)
		return true, nil
	}
	if !r.leases.RevokeIfOver(n.ID, now) {
		return false, fmt.Errorf("the process before it may act for another %v, if it lives: asking again", time.Until(r.leases.Over(n.ID)).Round(time.Millisecond))
	}
	return true, nil
}

// callBack makes sure that the process is where it says, for raft would count a
// voter at a wrong address as a dead one. With admit set it tells the node that it
// is admitted.
func (r *reign) callBack(ctx context.Context, n ownership.Node, admit string) error {
	ctx, cancel := context.WithTimeout(ctx, helloLimit)
	defer cancel()
	p := r.c.links.To(n.ID, n.ClusterAddr)
	hello := r.c.me()
	hello.Admit = admit
	h, err := p.Hello(ctx, hello)
	if err != nil {
		return fmt.Errorf("calling it back at %s: %w", n.ClusterAddr, err)
	}
	switch {
	case h.GetNode() != string(n.ID) || h.GetIncarnation() != n.Incarnation:
		return fmt.Errorf("calling it back at %s: node %s answers there; asking again", n.ClusterAddr, h.GetNode())
	case h.GetProcess() != n.Process:
		return fmt.Errorf("calling it back at %s: another process of it answers there; asking again", n.ClusterAddr)
	}
	return nil
}

// vacate sees to it that nobody else is at the address where a newcomer has just
// answered. A holder that has a lease and does not say that it is elsewhere keeps
// it for now. Time heals that, so it is no conflict for good.
func (r *reign) vacate(n ownership.Node) error {
	for _, other := range r.c.tb.Nodes() {
		if other.ID == n.ID || other.State == ownership.NodeGone || other.ClusterAddr != n.ClusterAddr {
			continue
		}
		if said := r.c.present.Addr(other.ID); said != "" && said != n.ClusterAddr {
			continue
		}
		if r.leases.Leased(other.ID, time.Now()) {
			return fmt.Errorf("node %s has the address %s and holds a lease: if it is to keep it, give this node another one; asking again", other.ID, n.ClusterAddr)
		}
	}
	return nil
}

// elsewhere stands in raft's configuration for an address that is another node's
// there: where a node is, is found out by its id.
func elsewhere(id raft.ServerID) raft.ServerAddress {
	return raft.ServerAddress("unknown:" + string(id))
}

// seat gives the node its place in raft's configuration, at first without a vote. A
// place that it has stays as it is. So does the address in it, however often the node
// moves: it is no more than a hint, and raft reads it without a lock while it is
// being changed.
func (r *reign) seat(ctx context.Context, n ownership.Node) (voter bool, err error) {
	id, addr := raft.ServerID(n.ID), raft.ServerAddress(n.ClusterAddr)
	for _, s := range r.c.servers() {
		if s.ID == id {
			return s.Suffrage == raft.Voter, nil
		}
		if s.Address == addr {
			addr = elsewhere(id)
		}
	}
	return false, r.change(ctx, func() raft.Future { return r.c.raft.AddNonvoter(id, addr, 0, r.c.cfg.Timings.Decide) })
}

// isGone reports whether the table knows that a node is gone.
func (r *reign) isGone(id ownership.NodeID) bool {
	n, ok := r.c.tb.Node(id)
	return ok && n.State == ownership.NodeGone
}

// change makes one change of raft's configuration.
func (r *reign) change(ctx context.Context, start func() raft.Future) error {
	if err := await(ctx, start); err != nil {
		return fmt.Errorf("changing raft's configuration: %w", raftRefusal(err))
	}
	return nil
}
