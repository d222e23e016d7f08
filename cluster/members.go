package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"tandem/cluster/peerpb"
	"tandem/ownership"
	"tandem/store"
)

// JoinRequest asks for a node to be taken into the region.
type JoinRequest struct {
	Node       ownership.Node
	Partitions int         // to be born on it; 0: this region's default
	Stamp      store.Stamp // of its store
}

// Join takes a node into the region, from any node, and reports whether it got
// a vote. The node must be running: the leader calls it back at its address
// first. A node known with the same incarnation is updated, its address too.
//
// The error is ErrForeign for a stamp of another deployment or region, ErrGone
// for an incarnation that was removed, ErrConflict for a known id with another
// incarnation and for an address that another node has, ErrUnreachable when the
// node does not answer at its address, or ErrNoLeader.
func (c *Cluster) Join(ctx context.Context, req JoinRequest) (voter bool, err error) {
	if err := c.checkJoin(req); err != nil {
		return false, err
	}
	bounded, cancel := context.WithTimeout(ctx, joinLimit)
	defer cancel()
	err = c.persistWithin(ctx, bounded, fmt.Sprintf("joining node %s", req.Node.ID), anytime, func(ctx context.Context, leader ownership.NodeID, addr string) (err error) {
		if leader == c.self {
			r := c.reign.Load()
			if r == nil {
				return errNotLeader
			}
			voter, err = r.admit(ctx, req)
			return err
		}
		return c.askToJoin(ctx, leader, addr, req)
	})
	return voter, err
}

// checkJoin refuses what can be refused without looking at the table.
func (c *Cluster) checkJoin(req JoinRequest) error {
	switch n, s := req.Node, req.Stamp; {
	case s.Deployment != c.cfg.Deployment || s.Region != c.cfg.Region || n.Region != c.cfg.Region:
		return fmt.Errorf("joining node %s of %s/%s to %s/%s: %w", n.ID, s.Deployment, s.Region, c.cfg.Deployment, c.cfg.Region, ErrForeign)
	case n.ID == "" || n.ID != s.Node || n.Incarnation == "" || n.Incarnation != s.Incarnation:
		return fmt.Errorf("joining node %q: its record and its store's stamp name different nodes: %w", n.ID, ownership.ErrConflict)
	case n.ClusterAddr == "":
		return fmt.Errorf("joining node %s: it names no address: %w", n.ID, ownership.ErrConflict)
	case n.PublicURL != "":
		if err := ownership.CheckPublicURL(n.PublicURL); err != nil {
			return fmt.Errorf("joining node %s: %w: %w", n.ID, err, ownership.ErrConflict)
		}
	}
	return nil
}

// admit is the leader's part of a join.
func (r *reign) admit(ctx context.Context, req JoinRequest) (voter bool, err error) {
	c, n := r.c, req.Node
	fail := func(err error) (bool, error) { return false, fmt.Errorf("joining node %s: %w", n.ID, err) }
	if err := c.checkJoin(req); err != nil {
		return false, err
	}
	if err := r.waitReady(ctx); err != nil {
		return false, err
	}
	release, err := r.form(ctx)
	if err != nil {
		return fail(err)
	}
	defer release()
	if err := r.checkNewcomer(n); err != nil {
		return fail(err)
	}
	if n.ID != c.self {
		if err := r.callBack(ctx, n); err != nil {
			return fail(err)
		}
	}
	if voter, err = r.seat(ctx, n); err != nil {
		return fail(err)
	}
	n.Voter = voter
	if req.Partitions == 0 {
		req.Partitions = c.cfg.Partitions
	}
	r.book.admit(n.ID, n.Incarnation, time.Now())
	out, err := r.propose(ctx, ownership.Join{Node: n, Partitions: req.Partitions})
	if err == nil {
		err = out.Err
	}
	if err != nil {
		return fail(err)
	}
	c.log.Info("a node joined", "node", string(n.ID), "addr", n.ClusterAddr, "voter", voter)
	return voter, nil
}

// form waits for the right to change the membership.
func (r *reign) form(ctx context.Context) (release func(), err error) {
	select {
	case r.forming <- struct{}{}:
		return func() { <-r.forming }, nil
	case <-r.ctx.Done():
		return nil, errNotLeader
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// checkNewcomer holds a node against the table before raft hears of it.
func (r *reign) checkNewcomer(n ownership.Node) error {
	for _, other := range r.c.tb.Nodes() {
		if other.ID != n.ID && other.State != ownership.NodeGone && other.ClusterAddr == n.ClusterAddr {
			return fmt.Errorf("node %s has the address %s already: remove it first: %w", other.ID, n.ClusterAddr, ownership.ErrConflict)
		}
	}
	if writes := r.c.tb.Format(); n.Format < writes {
		return fmt.Errorf("it reads command formats up to %d, the region writes %d: upgrade its software first: %w", n.Format, writes, ownership.ErrConflict)
	}
	have, ok := r.c.tb.Node(n.ID)
	switch {
	case !ok:
		return nil
	case have.Incarnation == n.Incarnation && have.State == ownership.NodeGone:
		return fmt.Errorf("%w: empty its data directory, then join it anew", ErrGone)
	case have.Incarnation != n.Incarnation && have.State != ownership.NodeGone:
		return fmt.Errorf("the region knows that id with other data at %s; its disk was lost or swapped: remove the node, then join it anew: %w",
			have.ClusterAddr, ownership.ErrConflict)
	}
	return nil
}

// callBack makes sure that the node is where it says, for raft would count a
// voter at a wrong address as a dead one, and tells it that it is admitted.
func (r *reign) callBack(ctx context.Context, n ownership.Node) error {
	ctx, cancel := context.WithTimeout(ctx, helloLimit)
	defer cancel()
	p := r.c.links.to(n.ID, n.ClusterAddr)
	h, err := ask(ctx, p, p.hello, &peerpb.HelloRequest{Admit: n.Incarnation})
	if err != nil {
		return fmt.Errorf("calling it back at %s: %w", n.ClusterAddr, err)
	}
	if h.GetNode() != string(n.ID) || h.GetIncarnation() != n.Incarnation {
		return fmt.Errorf("calling it back at %s: node %s answers there: %w", n.ClusterAddr, h.GetNode(), ownership.ErrConflict)
	}
	return nil
}

// seat gives the node its place in raft's configuration: a vote while fewer than
// five have one, else none. A place that it has stays as it is, at its present
// address.
func (r *reign) seat(ctx context.Context, n ownership.Node) (voter bool, err error) {
	id, addr := raft.ServerID(n.ID), raft.ServerAddress(n.ClusterAddr)
	voters := 0
	for _, s := range r.c.servers() {
		if s.ID == id {
			voter = s.Suffrage == raft.Voter
			if s.Address == addr {
				return voter, nil
			}
			return voter, r.place(ctx, id, addr, voter)
		}
		if s.Suffrage == raft.Voter {
			voters++
		}
		if s.Address == addr {
			// Left over from a node that is gone, or checkNewcomer would have refused.
			if err := r.change(ctx, func() raft.Future { return r.c.raft.RemoveServer(s.ID, 0, r.c.cfg.Timings.Decide) }); err != nil {
				return false, err
			}
		}
	}
	voter = voters < maxVoters
	return voter, r.place(ctx, id, addr, voter)
}

func (r *reign) place(ctx context.Context, id raft.ServerID, addr raft.ServerAddress, voter bool) error {
	return r.change(ctx, func() raft.Future {
		if voter {
			return r.c.raft.AddVoter(id, addr, 0, r.c.cfg.Timings.Decide)
		}
		return r.c.raft.AddNonvoter(id, addr, 0, r.c.cfg.Timings.Decide)
	})
}

// change makes one change of raft's configuration.
func (r *reign) change(ctx context.Context, start func() raft.Future) error {
	if err := await(ctx, start); err != nil {
		return fmt.Errorf("changing raft's configuration: %w", raftRefusal(err))
	}
	return nil
}

// Leave takes this node out of the region for good: it stops acting, its
// partitions go to others, and its vote ends. Call Stop afterwards. The last
// voter cannot leave: the error is ErrConflict.
func (c *Cluster) Leave(ctx context.Context) error {
	if c.voters() == 1 && c.nodeAt(c.addr) == c.self {
		return fmt.Errorf("leaving the region: node %s is its last voter: %w", c.self, ownership.ErrConflict)
	}
	c.lease.drop()
	if c.raft.State() == raft.Leader {
		if err := c.TransferLeader(ctx, ""); err != nil { // it waits for the new leader, who does the rest
			return fmt.Errorf("leaving the region: %w", err)
		}
	}
	return c.dismissAtLeader(ctx, c.self, true)
}

// Remove takes a node out of the region for good, from any node. Its lease is
// waited for, then its partitions go to others. A node removed while it runs
// stops acting and ends; to bring it back, empty its data directory. The error
// is ErrUnknown, ErrConflict for the last voter, or ErrNoLeader.
func (c *Cluster) Remove(ctx context.Context, id ownership.NodeID) error {
	if id == c.self && c.raft.State() == raft.Leader {
		return c.Leave(ctx)
	}
	return c.dismissAtLeader(ctx, id, false)
}

// dismissLimit bounds a removal: a lease has to run out first.
func (c *Cluster) dismissLimit() time.Duration {
	return c.cfg.Timings.Lease + c.cfg.Timings.Drift + joinLimit
}

func (c *Cluster) dismissAtLeader(ctx context.Context, id ownership.NodeID, left bool) error {
	bounded, cancel := context.WithTimeout(ctx, c.dismissLimit())
	defer cancel()
	return c.persistWithin(ctx, bounded, fmt.Sprintf("removing node %s", id), anytime, func(ctx context.Context, leader ownership.NodeID, addr string) error {
		if leader == c.self {
			r := c.reign.Load()
			if r == nil {
				return errNotLeader
			}
			return r.dismiss(ctx, id, left)
		}
		p := c.links.to(leader, addr)
		_, err := ask(ctx, p, p.dismiss, &peerpb.DismissRequest{Node: string(id), Left: left})
		return err
	})
}

// dismiss is the leader's part of a removal. left: the node itself has stopped.
func (r *reign) dismiss(ctx context.Context, id ownership.NodeID, left bool) error {
	c := r.c
	fail := func(err error) error { return fmt.Errorf("removing node %s: %w", id, err) }
	if err := r.waitReady(ctx); err != nil {
		return err
	}
	n, ok := c.tb.Node(id)
	if !ok {
		return fail(ownership.ErrUnknown)
	}
	if id == c.self {
		return fail(fmt.Errorf("it leads the region: hand on the lead first: %w", ownership.ErrConflict))
	}
	release, err := r.form(ctx)
	if err != nil {
		return fail(err)
	}
	defer release()
	r.book.condemn(id)
	if wait := time.Until(r.book.over(id)); !left && wait > 0 && n.State != ownership.NodeGone {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			r.book.pardon(id)
			return fail(ctx.Err())
		case <-r.ctx.Done():
			return errNotLeader
		}
	}
	out, err := r.propose(ctx, ownership.Depart{Node: id})
	if err != nil {
		// Not pardoned: the act may still come true. The failover loop pardons when
		// it has, or cannot any more.
		return fail(err)
	}
	if out.Err != nil {
		r.book.pardon(id)
		return fail(out.Err)
	}
	r.book.pardon(id) // the table refuses it now; a new incarnation may come
	err = r.change(ctx, func() raft.Future { return c.raft.RemoveServer(raft.ServerID(id), 0, c.cfg.Timings.Decide) })
	if err != nil {
		return fail(err)
	}
	c.log.Info("a node was removed", "node", string(id), "left", left, "partitions", len(out.Moves))
	return nil
}

// Drain stops new calls for a node; until zero: with no deadline.
func (c *Cluster) Drain(ctx context.Context, id ownership.NodeID, until time.Time) error {
	_, err := c.Do(ctx, ownership.Drain{Node: id, Until: until})
	return err
}

// Undrain brings a draining node back.
func (c *Cluster) Undrain(ctx context.Context, id ownership.NodeID) error {
	_, err := c.Do(ctx, ownership.Undrain{Node: id})
	return err
}

// TransferLeader hands the lead to a voter, or to the most advanced one when to
// is empty, from any node. It returns when this node knows of the new leader.
func (c *Cluster) TransferLeader(ctx context.Context, to ownership.NodeID) error {
	bounded, cancel := context.WithTimeout(ctx, transferLimit+c.cfg.Timings.Decide)
	defer cancel()
	var former ownership.NodeID
	// An attempt ends when the leader changes, which is what it is for.
	return c.persistWithin(ctx, bounded, "handing on the lead", anytime, func(ctx context.Context, leader ownership.NodeID, addr string) error {
		if leader == to || former != "" && to == "" && leader != former {
			return nil
		}
		if former == "" {
			former = leader
		}
		if leader == c.self {
			if err := c.transferHere(ctx, to); err != nil {
				return err
			}
			return fmt.Errorf("waiting for the new leader: %w", ownership.ErrNoLeader) // look again
		}
		p := c.links.to(leader, addr)
		if _, err := ask(ctx, p, p.transfer, &peerpb.TransferRequest{To: string(to)}); err != nil {
			return err
		}
		return fmt.Errorf("waiting for the new leader: %w", ownership.ErrNoLeader) // look again
	})
}

func (c *Cluster) transferHere(ctx context.Context, to ownership.NodeID) error {
	err := await(ctx, func() raft.Future {
		if to == "" {
			return c.raft.LeadershipTransfer()
		}
		for _, s := range c.servers() {
			if s.ID == raft.ServerID(to) && s.Suffrage == raft.Voter {
				return c.raft.LeadershipTransferToServer(s.ID, s.Address)
			}
		}
		return refusedFuture{fmt.Errorf("node %s has no vote: %w", to, ownership.ErrUnknown)}
	})
	if errors.Is(err, raft.ErrNotLeader) {
		return errNotLeader
	}
	if err != nil {
		return fmt.Errorf("handing on the lead: %w", err)
	}
	return nil
}

// refusedFuture is a raft.Future that has failed.
type refusedFuture struct{ err error }

// Error implements raft.Future.
func (f refusedFuture) Error() error { return f.err }
