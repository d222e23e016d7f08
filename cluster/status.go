package cluster

import (
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"tandem/ownership"
)

// Peer is one node of the region as this node sees it.
type Peer struct {
	ID     ownership.NodeID
	Addr   string
	Voter  bool
	Leader bool
	Self   bool
	// Leased, Bot and HeardAgo are known to the leader only.
	Leased   bool
	Bot      bool          // its bot was healthy at its last renewal
	HeardAgo time.Duration // nanoseconds; 0: never, or not the leader
}

// Status is what this node knows of itself and its region.
type Status struct {
	Node        ownership.NodeID
	State       string // leader, follower, candidate, shutdown
	Term        uint64
	Leader      ownership.NodeID
	LeaderAddr  string
	Applied     uint64        // index of the last act in the table
	Commit      uint64        // raft's commit index
	LastIndex   uint64        // last entry in the raft log
	LastContact time.Duration // nanoseconds since the leader was heard; 0 on the leader
	Joined      bool          // it stands in the table with this incarnation
	Voter       bool
	Leased      bool          // it may act as an owner now
	LeaseLeft   time.Duration // nanoseconds
	LeaseUntil  time.Time
	DiskAge     time.Duration // nanoseconds since the watchdog's last write reached the disk
	DiskSync    time.Duration // nanoseconds that that write took to get there
	Trouble     string        // why it is not joined, or cannot go on
	DiskTrouble string        // why the last write failed, such as a full disk; it passes
	Identity    string        // of the region
	Peers       []Peer
	// Differs lists the settings that must be equal on all nodes and are not, as the
	// leader said last; empty without a lease from it.
	Differs []ownership.Difference
}

// Peers lists the nodes in raft's configuration, which is what votes and
// replicates; the table's nodes may be fewer for a moment, while one joins.
func (c *Cluster) Peers() []Peer {
	leader, _, _ := c.Leader()
	l, now := c.leading.Load(), time.Now()
	var out []Peer
	for _, s := range c.servers() {
		p := Peer{ID: ownership.NodeID(s.ID), Voter: s.Suffrage == raft.Voter}
		if where := c.where(p.ID); len(where) > 0 {
			p.Addr = where[0]
		}
		p.Leader, p.Self = p.ID == leader, p.ID == c.self
		if l != nil {
			p.Leased = l.Leases.Leased(p.ID, now)
			if said, heard := l.Leases.Last(p.ID); !heard.IsZero() {
				p.Bot, p.HeardAgo = said.Bot, now.Sub(heard)
			}
		}
		out = append(out, p)
	}
	return out
}

// Status tells what this node knows of itself and its region, from memory.
func (c *Cluster) Status() Status {
	leader, addr, _ := c.Leader()
	s := Status{
		Node: c.self, State: stateWords[c.raft.State()], Term: c.raft.CurrentTerm(), Leader: leader, LeaderAddr: addr,
		Applied: c.tb.Applied(), Commit: c.raft.CommitIndex(), LastIndex: c.raft.LastIndex(),
		Joined: c.entered.Load(), Leased: c.Leased(), LeaseUntil: c.lease.Until(),
		DiskAge: c.disk.Age(), DiskSync: c.disk.Took(), DiskTrouble: c.wal.Trouble(), Identity: c.identity(), Peers: c.Peers(),
	}
	if s.Leased {
		s.Differs = c.Fitness().Differs
		s.LeaseLeft = time.Until(s.LeaseUntil)
	}
	if last := c.raft.LastContact(); leader != c.self && !last.IsZero() {
		s.LastContact = time.Since(last)
	}
	for _, p := range s.Peers {
		if p.Self {
			s.Voter = p.Voter
		}
	}
	if t := c.trouble.Load(); t != nil {
		s.Trouble = *t
	}
	return s
}

// Fitness returns what the leader said last of all nodes of the region. It comes with
// each renewal of the lease, so it is half a second old, or the leader is not heard.
func (st *standing) Fitness() ownership.RegionFitness {
	if f := st.heard.Load(); f != nil {
		return *f
	}
	return ownership.RegionFitness{}
}

// silent reports whether the leader said last that nothing is heard of the node.
func (st *standing) silent(id ownership.NodeID) bool {
	return slices.ContainsFunc(st.Fitness().Silent, func(s ownership.Silence) bool { return s.Node == id })
}

// Room returns how many more calls of an app the region can take, as the leader said
// last; -1: it is not known.
func (rn *renewals) Room(app ownership.AppID) int {
	for _, a := range rn.Fitness().Rooms {
		switch {
		case a.App == app && a.Healthy:
			return a.Room
		case a.App == app:
			return 0
		}
	}
	return -1
}

var stateWords = map[raft.RaftState]string{
	raft.Follower: "follower", raft.Candidate: "candidate", raft.Leader: "leader", raft.Shutdown: "shutdown",
}
