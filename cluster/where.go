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

// named returns the process that the own table names for a node.
func (st *standing) named(id ownership.NodeID) string {
	n, ok := st.tb.Node(id)
	if !ok || n.State == ownership.NodeGone {
		return ""
	}
	return n.Process
}

// where lists the addresses at which a node may be, the best first: an address is
// a hint, who answers there is checked at each dial.
func (st *standing) where(id ownership.NodeID) []string {
	var all []string
	add := func(addr string) {
		if addr != "" && addr != string(leader.Elsewhere(raft.ServerID(id))) && !slices.Contains(all, addr) {
			all = append(all, addr)
		}
	}
	add(st.present.Addr(id))
	if n, ok := st.tb.Node(id); ok {
		add(n.ClusterAddr)
	}
	for _, s := range st.servers() {
		if ownership.NodeID(s.ID) == id {
			add(string(s.Address))
		}
	}
	return all
}

// me is what this process says of itself.
func (en *entry) me() *peerpb.HelloRequest {
	l := en.st.Lineage()
	if n := len(l.Ancestors); n > 0 && l.Ancestors[n-1] == en.process {
		l.Ancestors = l.Ancestors[:n-1]
	}
	return &peerpb.HelloRequest{
		Node: string(en.self), Incarnation: en.cfg.Node.Incarnation, Process: en.process, Ancestors: l.Ancestors, Over: en.before.Over,
		Identity: en.identity(), Former: en.formerly(), Addr: en.addr, Applied: en.tb.Applied(), Confirmed: en.named(en.self) == en.process,
		LastIndex: en.raft.LastIndex(),
	}
}

// meet decides whether this node listens to a process that spoke to it.
func (en *entry) meet(b presence.Bearer) error {
	if mine := en.identity(); mine != "" && b.Identity != "" && b.Identity != mine && b.Identity != en.formerly() && b.Former != mine {
		return fmt.Errorf("node %s has the data of another region of this name (its identity is %s, here it is %s): empty its data directory, "+
			"then start it again: %w", b.Node, b.Identity, mine, ownership.ErrForeign)
	}
	if b.Node == en.self && b.Process != en.process {
		return fmt.Errorf("node %s: %w", b.Node, ownership.ErrTwin)
	}
	applied := en.tb.Applied() // before the table is asked: it may only look older than it is
	return en.present.Meet(b, applied, time.Now())
}

// leaderlessAfter is how long a node of the region may know no leader before it
// asks around: far longer than any election.
const leaderlessAfter = 5 * time.Second

// longLeaderless reports whether the node has been without a leader for so long that
// the others may have gone on without it.
func (en *entry) longLeaderless(now time.Time) bool {
	if _, _, ok := en.Leader(); ok {
		en.leaderless = time.Time{}
		return false
	}
	if en.leaderless.IsZero() {
		en.leaderless = now
	}
	return now.Sub(en.leaderless) > leaderlessAfter
}

// around returns the addresses at which somebody of the region may be found.
func (en *entry) around() []string {
	all := en.invites.with(en.cfg.Join)
	for _, n := range en.present.Addrs() { // of those who told: they have this node's address, and may be its region
		all = append(all, n.GetAddr())
	}
	for _, n := range en.tb.Nodes() {
		if n.State != ownership.NodeGone { // itself too: who answers at the address of its record?
			all = append(all, en.where(n.ID)...)
		}
	}
	return all
}
