package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"tandem/cluster/peerpb"
	"tandem/ownership"
	"tandem/spelling"
	"tandem/store"
)

// JoinRequest asks for a node to be taken into the region.
type JoinRequest struct {
	Node       ownership.Node
	Partitions int         // to be born on it; 0: this region's default
	Stamp      store.Stamp // of its store
	Identity   string      // of the region that its data belong to; empty: none yet
	HasState   bool        // its table holds a record of it
	Ancestors  []string    // see ownership.Join
	Over       bool        // the last of them ended in order
	LastIndex  uint64      // of its raft log; 0: it does not say
	Settings   map[string]string
	Token      string // with the role join; empty: it has none
}

// Join takes a node into the region, from any node, and reports whether it got
// a vote. The node must be running: the leader calls it back at its address
// first. A node known with the same incarnation is updated, its address too.
//
// The error is ownership.ErrForeign for a stamp of another deployment or region, ownership.ErrGone
// for an incarnation that was removed, ErrConflict for a known id with another
// incarnation and for an address that another node has, ownership.ErrUninvited for a node that
// is new and that nobody has let in, ownership.ErrUnreachable when the node does not answer at
// its address, or ErrNoLeader.
func (c *entry) Join(ctx context.Context, req JoinRequest) (voter bool, err error) {
	if err := c.checkJoin(req); err != nil {
		return false, err
	}
	bounded, cancel := context.WithTimeout(ctx, joinLimit)
	defer cancel()
	err = c.persistWithin(ctx, bounded, fmt.Sprintf("joining node %s", req.Node.ID), anytime, func(ctx context.Context, leader ownership.NodeID, addr string) (err error) {
		if leader == c.self {
			r := c.reign.Load()
			if r == nil {
				return ownership.ErrNotLeader
			}
			voter, err = r.admit(ctx, req)
			return err
		}
		return c.askToJoin(ctx, leader, addr, req)
	})
	return voter, err
}

// checkJoin refuses what can be refused without looking at the table.
func (c *entry) checkJoin(req JoinRequest) error {
	switch n, s := req.Node, req.Stamp; {
	case s.Deployment != c.cfg.Deployment || s.Region != c.cfg.Region || n.Region != c.cfg.Region:
		return fmt.Errorf("joining node %s of %s/%s to %s/%s: %w", n.ID, s.Deployment, s.Region, c.cfg.Deployment, c.cfg.Region, ownership.ErrForeign)
	case n.ID == "" || n.ID != s.Node || n.Incarnation == "" || n.Incarnation != s.Incarnation:
		return fmt.Errorf("joining node %q: its record and its store's stamp name different nodes: %w", n.ID, ownership.ErrConflict)
	case n.ClusterAddr == "":
		return fmt.Errorf("joining node %s: it names no address: %w", n.ID, ownership.ErrConflict)
	case n.PublicURL != "":
		if err := spelling.PublicURL(n.PublicURL); err != nil {
			return fmt.Errorf("joining node %s: its public URL %q %w: %w", n.ID, n.PublicURL, err, ownership.ErrConflict)
		}
	}
	return nil
}

// Remove takes a node out of the region for good, from any node. Its lease is
// waited for, then its partitions go to others. A node removed while it runs
// stops acting and ends; to bring it back, empty its data directory. The error
// is ErrUnknown, ErrConflict for the last voter and where no quorum of living
// voters would be left, or ErrNoLeader.
func (c *Cluster) Remove(ctx context.Context, id ownership.NodeID) error {
	if id == c.self && c.raft.State() == raft.Leader {
		return c.Leave(ctx)
	}
	return c.askToDismiss(ctx, &peerpb.DismissRequest{Node: string(id)})
}

// dismissLimit bounds a removal: a lease has to run out first.
func (c *proposals) dismissLimit() time.Duration {
	return c.cfg.Timings.Lease + c.cfg.Timings.Drift + joinLimit
}

func (c *proposals) askToDismiss(ctx context.Context, req *peerpb.DismissRequest) error {
	bounded, cancel := context.WithTimeout(ctx, c.dismissLimit())
	defer cancel()
	return c.persistWithin(ctx, bounded, fmt.Sprintf("removing node %s", req.GetNode()), anytime, func(ctx context.Context, leader ownership.NodeID, addr string) error {
		if leader == c.self {
			r := c.reign.Load()
			if r == nil {
				return ownership.ErrNotLeader
			}
			if req.GetProbe() {
				return r.mayDismiss(ctx, ownership.NodeID(req.GetNode()))
			}
			return r.dismiss(ctx, ownership.NodeID(req.GetNode()), req.GetLeft(), nodeIDs(req.GetBut())...)
		}
		p := c.links.To(leader, addr)
		_, err := p.Dismiss(ctx, req)
		return err
	})
}

// dismiss is the leader's part of a removal. left: the node itself has stopped; none
// of those in but inherits at once.
func (r *reign) dismiss(ctx context.Context, id ownership.NodeID, left bool, but ...ownership.NodeID) error {
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
	if err := r.mayDismiss(ctx, id); err != nil {
		return fail(err)
	}
	r.leases.Revoke(id)
	if wait := time.Until(r.leases.Over(id)); !left && wait > 0 && n.State != ownership.NodeGone {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			r.leases.Reinstate(id)
			return fail(ctx.Err())
		case <-r.ctx.Done():
			return ownership.ErrNotLeader
		}
	}
	out, err := r.propose(ctx, ownership.Depart{Node: id, Fitness: r.fitnessBut(but)})
	if err != nil {
		// Not reinstated: the act may still come true. The failover loop reinstates when
		// it has, or cannot any more.
		return fail(err)
	}
	if out.Err != nil {
		r.leases.Reinstate(id)
		return fail(out.Err)
	}
	r.leases.Reinstate(id) // the table refuses it now; a new incarnation may come
	err = r.change(ctx, func() raft.Future { return c.raft.RemoveServer(raft.ServerID(id), 0, c.cfg.Timings.Decide) })
	if err != nil {
		return fail(err)
	}
	c.log.Info("a node was removed", "node", string(id), "left", left, "partitions", len(out.Moves))
	return nil
}

// Drain stops new calls for a node; until zero: with no deadline.
func (c *proposals) Drain(ctx context.Context, id ownership.NodeID, until time.Time) error {
	_, err := c.Do(ctx, ownership.Drain{Node: id, Until: until})
	return err
}

// Undrain brings a draining node back.
func (c *proposals) Undrain(ctx context.Context, id ownership.NodeID) error {
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
		p := c.links.To(leader, addr)
		if _, err := p.Transfer(ctx, &peerpb.TransferRequest{To: string(to)}); err != nil {
			return err
		}
		return fmt.Errorf("waiting for the new leader: %w", ownership.ErrNoLeader) // look again
	})
}

func (c *Cluster) transferHere(ctx context.Context, to ownership.NodeID) error {
	err := c.handLead(ctx, func() raft.Future {
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
		return ownership.ErrNotLeader
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
