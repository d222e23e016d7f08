package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"tandem/cluster/leader"
	"tandem/cluster/peerpb"
	"tandem/cluster/transport"
	"tandem/ownership"
)

// Join takes a node into the region, from any node, and reports whether it got
// a vote. The node must be running: the leader calls it back at its address
// first. A node known with the same incarnation is updated, its address too.
//
// The error is ownership.ErrForeign for a stamp of another deployment or region, ownership.ErrGone
// for an incarnation that was removed, ErrConflict for a known id with another
// incarnation and for an address that another node has, ownership.ErrUninvited for a node that
// is new and that nobody has let in, ownership.ErrUnreachable when the node does not answer at
// its address, or ErrNoLeader.
func (en *entry) Join(ctx context.Context, req leader.JoinRequest) (voter bool, err error) {
	if err := req.Check(en.cfg.Deployment, en.cfg.Region); err != nil {
		return false, err
	}
	err = en.persist(ctx, leader.JoinLimit, fmt.Sprintf("joining node %s", req.Node.ID), anytime, func(ctx context.Context, at ownership.NodeID, addr string) (err error) {
		voter, err = en.joinAt(ctx, at, addr, req)
		return err
	})
	return voter, err
}

func (en *entry) joinAt(ctx context.Context, at ownership.NodeID, addr string, req leader.JoinRequest) (voter bool, err error) {
	return askLeader(en.proposals, at, addr, func(l *leader.Leadership) (bool, error) { return l.Admit(ctx, req) },
		func(p *transport.Peer) (bool, error) { return false, askToJoin(ctx, p, req) })
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

func (pr *proposals) askToDismiss(ctx context.Context, req *peerpb.DismissRequest) error {
	return pr.persist(ctx, leader.DismissLimit(pr.cfg.Timings), fmt.Sprintf("removing node %s", req.GetNode()), anytime, func(ctx context.Context, at ownership.NodeID, addr string) error {
		return pr.atLeader(at, addr, func(l *leader.Leadership) error { return dismiss(ctx, l, req) }, func(p *transport.Peer) error {
			_, err := p.Dismiss(ctx, req)
			return err
		})
	})
}

// dismiss is the leader's part of a removal, or of the question whether it may be.
func dismiss(ctx context.Context, l *leader.Leadership, req *peerpb.DismissRequest) error {
	id := ownership.NodeID(req.GetNode())
	if req.GetProbe() {
		return l.MayDismiss(ctx, id)
	}
	return l.Dismiss(ctx, id, req.GetLeft(), nodeIDs(req.GetBut())...)
}

// Drain stops new calls for a node; until zero: with no deadline.
func (pr *proposals) Drain(ctx context.Context, id ownership.NodeID, until time.Time) error {
	_, err := pr.Do(ctx, ownership.Drain{Node: id, Until: until})
	return err
}

// Undrain brings a draining node back.
func (pr *proposals) Undrain(ctx context.Context, id ownership.NodeID) error {
	_, err := pr.Do(ctx, ownership.Undrain{Node: id})
	return err
}

// TransferLeader hands the lead to a voter, or to the most advanced one when to
// is empty, from any node. It returns when this node knows of the new leader.
func (c *Cluster) TransferLeader(ctx context.Context, to ownership.NodeID) error {
	var former ownership.NodeID
	// An attempt ends when the leader changes, which is what it is for.
	return c.persist(ctx, transferLimit+c.cfg.Timings.Decide, "handing on the lead", anytime, func(ctx context.Context, at ownership.NodeID, addr string) error {
		if at == to || former != "" && to == "" && at != former {
			return nil
		}
		if former == "" {
			former = at
		}
		if at == c.self {
			if err := c.transferHere(ctx, to); err != nil {
				return err
			}
		} else if _, err := c.links.To(at, addr).Transfer(ctx, &peerpb.TransferRequest{To: string(to)}); err != nil {
			return err
		}
		return fmt.Errorf("waiting for the new leader: %w", ownership.ErrNoLeader) // look again
	})
}

func (c *Cluster) transferHere(ctx context.Context, to ownership.NodeID) error {
	err := c.handLead(ctx, to)
	if errors.Is(err, raft.ErrNotLeader) {
		return ownership.ErrNotLeader
	}
	if err != nil {
		return fmt.Errorf("handing on the lead: %w", err)
	}
	return nil
}
