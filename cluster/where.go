package cluster

import (
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"tandem/cluster/peerpb"
	"tandem/cluster/presence"
	"tandem/ownership"
)

// named gives the process that the own table names for a node.
func (c *standing) named(id ownership.NodeID) string {
	n, ok := c.tb.Node(id)
	if !ok || n.State == ownership.NodeGone {
		return ""
	}
	return n.Process
}

// where lists the addresses at which a node may be, the best first: an address is
// a hint, who answers there is checked at each dial.
func (c *standing) where(id ownership.NodeID) []string {
	var all []string
	add := func(addr string) {
		if addr != "" && addr != string(elsewhere(raft.ServerID(id))) && !slices.Contains(all, addr) {
			all = append(all, addr)
		}
	}
	add(c.present.Addr(id))
	if n, ok := c.tb.Node(id); ok {
		add(n.ClusterAddr)
	}
	for _, s := range c.servers() {
		if ownership.NodeID(s.ID) == id {
			add(string(s.Address))
		}
	}
	return all
}

// me is what this process says of itself.
func (c *entry) me() *peerpb.HelloRequest {
	l := c.st.Lineage()
	if n := len(l.Ancestors); n > 0 && l.Ancestors[n-1] == c.process {
		l.Ancestors = l.Ancestors[:n-1]
	}
	return &peerpb.HelloRequest{
		Node: string(c.self), Incarnation: c.cfg.Node.Incarnation, Process: c.process, Ancestors: l.Ancestors, Over: c.before.Over,
		Identity: c.identity(), Former: c.formerly(), Addr: c.addr, Applied: c.tb.Applied(), Confirmed: c.named(c.self) == c.process,
		LastIndex: c.raft.LastIndex(),
	}
}

// meet decides whether this node listens to a process that spoke to it.
func (c *entry) meet(b presence.Bearer) error {
	if mine := c.identity(); mine != "" && b.Identity != "" && b.Identity != mine && b.Identity != c.formerly() && b.Former != mine {
		return fmt.Errorf("node %s has the data of another region of this name (its identity is %s, here it is %s): empty its data directory, "+
			"then start it again: %w", b.Node, b.Identity, mine, ownership.ErrForeign)
	}
	if b.Node == c.self && b.Process != c.process {
		return fmt.Errorf("node %s: %w", b.Node, ownership.ErrTwin)
	}
	applied := c.tb.Applied() // before the table is asked: it may only look older than it is
	return c.present.Meet(b, applied, time.Now())
}
