package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"tandem/cluster/peerpb"
	"tandem/ownership"
	"tandem/store"
)

// enter makes this node part of its region: it founds the region when it is to,
// asks to join until the table holds its record as it is now, and asks again
// when its record or its partitions are gone. The same start command thus does
// for the first node, the others, a restart, and a restart at a new address.
func (c *Cluster) enter() {
	tick := time.NewTicker(c.cfg.Timings.Announce)
	defer tick.Stop()
	for {
		wake := c.enterAt.next()
		if err := c.enterOnce(c.ctx); err != nil && c.ctx.Err() == nil {
			c.setTrouble(err.Error())
			c.log.Debug("entering the region", "err", err)
			if errors.Is(err, ErrGone) || errors.Is(err, ErrForeign) || errors.Is(err, ownership.ErrConflict) {
				c.fatal(err)
				return
			}
		}
		select {
		case <-tick.C:
		case <-wake:
		case <-c.ctx.Done():
			return
		}
	}
}

func (c *Cluster) enterOnce(ctx context.Context) error {
	if c.lease.dropped.Load() {
		return nil
	}
	if c.inTable() {
		if !c.entered.Swap(true) {
			c.setTrouble("")
			c.log.Info("this node is part of its region", "addr", c.addr)
			c.renewAt.fire()
		}
		if !c.bereft() && !c.forsaken(time.Now()) {
			return nil
		}
		// It was silent for so long that others got its partitions: joining
		// again bears it new ones. Or it hears of no leader: one that it asks for
		// may be leading a region that was recovered without it, and say so.
	}
	if len(c.servers()) == 0 {
		founded, err := c.mayFound(ctx)
		if err != nil || !founded {
			return err
		}
	}
	return c.announce(ctx)
}

// inTable reports whether the table holds this node's record as it is now.
func (c *Cluster) inTable() bool {
	n, ok := c.tb.Node(c.self)
	if !ok || n.State == ownership.NodeGone {
		return false
	}
	want := c.cfg.Node
	want.State, want.Voter, want.JoinedAt, want.DrainBy = n.State, n.Voter, n.JoinedAt, n.DrainBy
	return n == want
}

// bereft reports whether the node may take calls but owns no partition.
func (c *Cluster) bereft() bool {
	n, ok := c.tb.Node(c.self)
	return ok && n.State == ownership.NodeActive && c.lease.valid(time.Now()) && len(c.tb.PartitionsOf(c.self)) == 0
}

// announce asks the leader, or any node that may know it, to take this node in.
func (c *Cluster) announce(ctx context.Context) error {
	req := JoinRequest{Node: c.cfg.Node, Partitions: c.cfg.Partitions, Stamp: c.st.Stamp()}
	if leader, addr, ok := c.Leader(); ok {
		if leader == c.self {
			r := c.reign.Load()
			if r == nil {
				return errNotLeader
			}
			_, err := r.admit(ctx, req)
			return err
		}
		return c.askToJoin(ctx, leader, addr, req)
	}
	err := fmt.Errorf("joining the region: %w", ownership.ErrNoLeader)
	for _, addr := range c.around() {
		if addr == c.addr {
			continue
		}
		if err = c.askToJoin(ctx, "", addr, req); err == nil {
			return nil
		}
		if again, _ := retryable(err); !again {
			return err
		}
	}
	return err
}

func (c *Cluster) askToJoin(ctx context.Context, node ownership.NodeID, addr string, req JoinRequest) error {
	ctx, cancel := context.WithTimeout(ctx, joinLimit)
	defer cancel()
	act, err := store.EncodeAct(ownership.Join{Node: req.Node, Partitions: req.Partitions}, 1)
	if err != nil {
		return err
	}
	p := c.links.to(node, addr)
	_, err = ask(ctx, p, p.join, &peerpb.JoinRequest{
		Act: act, Deployment: req.Stamp.Deployment, Region: string(req.Stamp.Region), Node: string(req.Stamp.Node),
		Incarnation: req.Stamp.Incarnation, Format: req.Stamp.Format,
	})
	return err
}

// joinLimit bounds one request to join: the leader calls the node back, changes
// raft's configuration and writes the record.
const joinLimit = 10 * time.Second

// mayFound founds the region when this node is the one to do it. false, nil:
// the node should ask to join, or wait and look again.
//
// Raft would let two nodes that cannot see each other found two regions. So a
// founder needs the word of as many nodes as were expected, a node without state
// gives its word to one founder at a time, and nobody founds who sees a node of
// Join that has state.
func (c *Cluster) mayFound(ctx context.Context) (join bool, err error) {
	has, err := c.st.HasState()
	if err != nil {
		return false, fmt.Errorf("founding the region: %w", err)
	}
	if has {
		return true, nil // raft has yet to read it
	}
	if !c.cfg.Bootstrap && c.cfg.BootstrapExpect == 0 {
		return true, nil
	}
	around := c.greetAll(ctx, "")
	for _, h := range around {
		if h.GetHasState() {
			return true, nil
		}
	}
	if c.cfg.Bootstrap {
		return true, c.foundRegion(ctx)
	}
	if len(around)+1 < c.cfg.BootstrapExpect {
		return false, fmt.Errorf("founding the region: %d of %d nodes are here", len(around)+1, c.cfg.BootstrapExpect)
	}
	for id := range around {
		if id < c.self {
			return false, fmt.Errorf("founding the region: waiting for node %s to do it", id)
		}
	}
	words := 1
	if !c.found.grant(c.self, time.Now()) {
		return false, fmt.Errorf("founding the region: this node gave its word to another founder")
	}
	for _, h := range c.greetAll(ctx, c.self) {
		if h.GetHasState() {
			return true, nil
		}
		if h.GetGranted() {
			words++
		}
	}
	if words < c.cfg.BootstrapExpect {
		return false, fmt.Errorf("founding the region: %d of %d nodes agree", words, c.cfg.BootstrapExpect)
	}
	return true, c.foundRegion(ctx)
}

// foundRegion makes this node the only voter of a new region; the others join.
func (c *Cluster) foundRegion(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, helloLimit)
	defer cancel()
	err := await(ctx, func() raft.Future {
		return c.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{
			{ID: raft.ServerID(c.self), Address: raft.ServerAddress(c.addr), Suffrage: raft.Voter},
		}})
	})
	if err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		return fmt.Errorf("founding the region: %w", err)
	}
	if err == nil {
		c.admitted()
		c.log.Info("this node founded the region", "deployment", c.cfg.Deployment, "region", string(c.cfg.Region))
	}
	return nil
}

// admitted lets this node answer raft messages. One that starts without data does
// not, until its leader has looked at its incarnation: a node that lost its disk
// has forgotten its log and its vote, and raft, which knows it by its id alone,
// would count it as the old one. With two nodes of three such a vote is enough to
// lose acknowledged claims, before any leader could refuse the node.
func (c *Cluster) admitted() { c.trans.deaf.Store(false) }

// greetAll says hello to every address of Join and gives the other nodes of this
// region that answered, by id.
func (c *Cluster) greetAll(ctx context.Context, founder ownership.NodeID) map[ownership.NodeID]greeting {
	others := slices.DeleteFunc(slices.Clone(c.cfg.Join), func(addr string) bool { return addr == c.addr })
	return greetAt(ctx, c.links, others, &peerpb.HelloRequest{Founder: string(founder)})
}

// greeting is what a node answered to a hello, and where.
type greeting struct {
	*peerpb.HelloReply
	addr string
}

// greetAt says hello at all the addresses at once and gives the other nodes of
// the region that answered in time, by id.
func greetAt(ctx context.Context, l *links, addrs []string, hello *peerpb.HelloRequest) map[ownership.NodeID]greeting {
	ctx, cancel := context.WithTimeout(ctx, helloLimit)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := make(map[ownership.NodeID]greeting)
	for _, addr := range addrs {
		wg.Go(func() {
			p := l.to("", addr)
			h, err := ask(ctx, p, p.hello, hello)
			if err != nil || h.GetDeployment() != l.self.deployment || h.GetRegion() != string(l.self.region) || h.GetNode() == string(l.self.node) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			out[ownership.NodeID(h.GetNode())] = greeting{h, addr}
		})
	}
	wg.Wait()
	return out
}

// helloLimit bounds a round of hellos.
const helloLimit = 2 * time.Second

// founding remembers to whom this node gave its word.
type founding struct {
	mu    sync.Mutex
	to    ownership.NodeID
	until time.Time
}

// wordLasts is how long a node keeps its word to a founder that then does not
// found. It is far longer than a founder needs.
const wordLasts = 30 * time.Second

func (f *founding) grant(to ownership.NodeID, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.to != to && now.Before(f.until) {
		return false
	}
	f.to, f.until = to, now.Add(wordLasts)
	return true
}
