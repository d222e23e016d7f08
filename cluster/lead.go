package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"tandem/cluster/leader"
	"tandem/cluster/transport"
	"tandem/ownership"
	"tandem/store"
)

// rule begins a leadership when raft makes this node leader and ends it when raft
// takes leadership away.
func (c *Cluster) rule() {
	var now *leader.Leadership
	end := func() {
		if now != nil {
			c.leading.Store(nil)
			now.End()
			now = nil
		}
		c.m.leader.Set(0)
	}
	defer end()
	for {
		select {
		case leads := <-c.raft.LeaderCh():
			end()
			if leads {
				now = leader.New(c.ctx, c.needs())
				c.leading.Store(now)
				now.Start()
				c.renewAt.fire() // its own renewal may have come before there was anybody to grant it
				c.m.leader.Set(1)
			}
		case <-c.ctx.Done():
			return
		}
	}
}

// needs is what a leadership of this node works with.
func (c *Cluster) needs() leader.Needs {
	return leader.Needs{
		Self: c.cfg.Node, Process: c.process, Deployment: c.cfg.Deployment, Timings: c.cfg.Timings, Partitions: c.cfg.Partitions,
		Settings: c.cfg.Settings, Apps: c.cfg.Apps, Silence: c.cfg.Silence, JoinByCertificate: c.cfg.JoinByCertificate,
		Raft: c.raft, Table: c.tb, Links: c.links, Present: c.present, Log: c.log, RaftLog: store.RaftLogger(c.cfg.Logger),
		Where: c.where, Me: c.me, Identity: func() string { return c.st.Lineage().Identity }, Formerly: c.formerly,
		Unseated: func() []ownership.Node {
			if today := c.unseated.Load(); today != nil {
				return *today
			}
			return nil
		},
		Silent:   func() []ownership.Silence { return c.Fitness().Silent },
		Versions: func() []ownership.VersionState { return c.Fitness().Versions },
		Agreed:   c.found.agreed, LetIn: c.deps.LetIn, NotAdmitted: c.trans.NotAdmitted.Load, Admitted: c.admitted, Fatal: c.fatal,
		FailedOver: c.m.failovers.Inc,
	}
}

// leads returns this node's leadership. The error is ErrNotLeader.
func (pr *proposals) leads() (*leader.Leadership, error) {
	if l := pr.leading.Load(); l != nil {
		return l, nil
	}
	return nil, ownership.ErrNotLeader
}

// atLeader has the leader do something: here, where this node leads, else over the peer
// link.
func (pr *proposals) atLeader(id ownership.NodeID, addr string, here func(*leader.Leadership) error, there func(*transport.Peer) error) error {
	if id != pr.self {
		return there(pr.links.To(id, addr))
	}
	l, err := pr.leads()
	if err != nil {
		return err
	}
	return here(l)
}

// askLeader is atLeader for what the leader gives.
func askLeader[T any](pr *proposals, id ownership.NodeID, addr string, here func(*leader.Leadership) (T, error), there func(*transport.Peer) (T, error)) (out T, err error) {
	err = pr.atLeader(id, addr, func(l *leader.Leadership) (err error) {
		out, err = here(l)
		return err
	}, func(p *transport.Peer) (err error) {
		out, err = there(p)
		return err
	})
	return out, err
}

// portRefused tells the leader that a node's process has most likely ended: its
// machine answers, and nobody listens there.
func (c *Cluster) portRefused(id ownership.NodeID, addr string) {
	l := c.leading.Load()
	if l == nil {
		return
	}
	if n, ok := c.tb.Node(id); ok && n.ClusterAddr == addr {
		l.Leases.Refuses(id, time.Now())
	}
}

// handedTo is to whom this node has tried to hand on the lead in a term of raft. Raft bears
// one attempt for each follower: where one that lags behind made it fail, the next one may
// wait for ever, and whoever leads with that takes nothing more (1.8.0,
// leadershipTransfer).
type handedTo struct {
	term  uint64
	tried map[raft.ServerID]bool
}

// choose returns the voter to hand the lead to; an empty to means the first that was not
// tried in this term.
func (h *handedTo) choose(term uint64, self, to ownership.NodeID, servers []raft.Server) (raft.Server, error) {
	if h.term != term {
		h.term, h.tried = term, map[raft.ServerID]bool{}
	}
	for _, s := range servers {
		if s.Suffrage != raft.Voter || s.ID == raft.ServerID(self) || to != "" && s.ID != raft.ServerID(to) {
			continue
		}
		if !h.tried[s.ID] {
			h.tried[s.ID] = true
			return s, nil
		}
		if to != "" {
			return s, fmt.Errorf("node %s did not take it a moment ago: name another voter, or ask again when the leader has changed: %w", to, ownership.ErrConflict)
		}
	}
	if to != "" {
		return raft.Server{}, fmt.Errorf("node %s has no vote: %w", to, ownership.ErrUnknown)
	}
	return raft.Server{}, fmt.Errorf("no other voter is left to try: %w", ownership.ErrConflict)
}

// handLead hands on the lead, to any voter where to is empty, one transfer at a time.
func (c *Cluster) handLead(ctx context.Context, to ownership.NodeID) error {
	select {
	case c.handing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ctx.Done():
		return ErrStopped
	}
	voters := slices.Clone(c.servers())
	if l := c.leading.Load(); l != nil { // the most advanced one first
		slices.SortStableFunc(voters, func(a, b raft.Server) int {
			x, _ := l.Leases.Last(ownership.NodeID(a.ID))
			y, _ := l.Leases.Last(ownership.NodeID(b.ID))
			return cmp.Compare(y.LastIndex, x.LastIndex)
		})
	}
	at, err := c.handedTo.choose(c.raft.CurrentTerm(), c.self, to, voters)
	if err != nil {
		<-c.handing
		return err
	}
	return leader.Await(ctx, func() raft.Future {
		return handed{c.raft.LeadershipTransferToServer(at.ID, at.Address), c.handing}
	})
}

type handed struct {
	raft.Future
	done chan struct{}
}

// Error implements raft.Future.
func (h handed) Error() error {
	defer func() { <-h.done }()
	return h.Future.Error()
}

// leadHanded waits until raft has answered whoever has it hand on the lead: once it
// is shut down it never does (1.8.0, leaderLoop). It takes an election's time at most,
// unless the disk stalls.
func (c *Cluster) leadHanded(ctx context.Context) {
	look := time.NewTicker(pollEvery)
	defer look.Stop()
	for c.raft.State() != raft.Shutdown { // removed meanwhile
		select {
		case c.handing <- struct{}{}: // for good
			return
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}
