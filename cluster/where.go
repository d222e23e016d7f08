package cluster

import (
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"tandem/cluster/leader"
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
		if addr != "" && addr != string(leader.Elsewhere(raft.ServerID(id))) && !slices.Contains(all, addr) {
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

// forsakenAfter is how long a node of the region may know no leader before it
// asks around: far longer than any election.
const forsakenAfter = 5 * time.Second

// forsaken reports whether the node has been without a leader for so long that
// the others may have gone on without it.
func (c *entry) forsaken(now time.Time) bool {
	if _, _, ok := c.Leader(); ok {
		c.leaderless = time.Time{}
		return false
	}
	if c.leaderless.IsZero() {
		c.leaderless = now
	}
	return now.Sub(c.leaderless) > forsakenAfter
}

// around gives the addresses at which somebody of the region may be found.
func (c *entry) around() []string {
	all := c.invites.with(c.cfg.Join)
	for _, n := range c.present.Addrs() { // of those who told: they have this node's address, and may be its region
		all = append(all, n.GetAddr())
	}
	for _, n := range c.tb.Nodes() {
		if n.State != ownership.NodeGone { // itself too: who answers at the address of its record?
			all = append(all, c.where(n.ID)...)
		}
	}
	return all
}
