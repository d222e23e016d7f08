package cluster

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"tandem/cluster/peerpb"
	"tandem/ownership"
)

// bearer is what a process says of itself when it speaks as a node.
type bearer struct {
	node        ownership.NodeID
	incarnation string
	process     string   // empty: older software, which has none
	ancestors   []string // the processes before it on its disk, oldest first, as far as the region may know them
	over        bool     // the last of them ended in order
	identity    string   // of its region; empty: it has none yet
	former      string   // and before a snapshot of another founding was restored there
	applied     uint64   // index of its table
	last        uint64   // index of its raft log; 0: it does not say
	confirmed   bool     // its own table names it as the node's process
	addr        string
}

// presence is which process this node takes for which other node, and where it
// met it last. Raft knows a voter by its id alone; with two processes of one id,
// from a copied disk, it would count two votes. So a node listens to one process
// of an id only: to the one that the table names, else to the first that it meets
// while no other of that id is alive.
type presence struct {
	alive func() time.Duration          // a process that was heard within it may still act
	named func(ownership.NodeID) string // by the own table

	mu        sync.Mutex
	of        map[ownership.NodeID]*sighting
	replacing bool // the table is being replaced by a snapshot
}

type sighting struct {
	named   string // by the table, when it was last asked
	process string // to which this node listens
	heard   time.Time
	addr    string // where that process says it is
	spoke   string // the process that spoke here last

	incarnation string // of the disk
	held        uint64 // highest index that its table is known to have held
	teller      string // the process that told so
}

func newPresence(alive func() time.Duration, named func(ownership.NodeID) string) *presence {
	return &presence{alive: alive, named: named, of: make(map[ownership.NodeID]*sighting)}
}

// see gives what is known of a node. Whenever the table names another process
// than before, its word counts, but not that of a table from a snapshot: see replace.
func (p *presence) see(id ownership.NodeID) *sighting {
	s := p.of[id]
	if s != nil && p.replacing {
		return s
	}
	named := p.named(id)
	if s == nil {
		s = &sighting{named: named, process: named}
		p.of[id] = s
	}
	if s.named != named {
		s.named, s.held, s.teller = named, 0, "" // whoever admitted it has looked at its log
		if named != s.process {
			s.process, s.heard = named, time.Time{}
		}
	}
	return s
}

// errAlive: the other process of that id may still act; time tells.
var errAlive = errors.New("another process of that node was heard a moment ago")

// meet decides whether this node listens to the process. The own table stood at the
// index applied, or is further.
//
// Without an error it is the one from now on. ErrTwin: the table knows better; a
// process writes its ancestors down before it says anything, so one that does not
// descend from the process that the table names runs on a copy, or was replaced.
// It may only know more than this table when it has applied more.
func (p *presence) meet(b bearer, applied uint64, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.see(b.node)
	named := s.named
	if s.process != b.process && s.process != "" {
		switch {
		case b.process == "", named != "" && b.applied <= applied && named != b.process && !slices.Contains(b.ancestors, named):
			return fmt.Errorf("node %s: %w", b.node, ownership.ErrTwin)
		case b.over && len(b.ancestors) > 0 && b.ancestors[len(b.ancestors)-1] == s.process:
		case now.Sub(s.heard) < p.alive():
			return fmt.Errorf("node %s: %w", b.node, errAlive)
		}
	}
	if err := s.setBack(b.incarnation, b.process, b.last); err != nil {
		return fmt.Errorf("node %s: %w", b.node, err)
	}
	s.holds(b.incarnation, b.process, b.applied)
	s.process, s.heard, s.spoke = b.process, now, b.process
	if b.addr != "" {
		s.addr = b.addr
	}
	return nil
}

// holds notes what a node's table holds, by the word of its process.
func (s *sighting) holds(incarnation, process string, applied uint64) {
	if s.incarnation != incarnation {
		s.incarnation, s.held, s.teller = incarnation, 0, ""
	}
	if applied >= s.held {
		s.held, s.teller = applied, process
	}
}

// setBack is why a process may not take part in raft whose log, up to an index, lacks
// what its table held before. Its disk was set back, and has forgotten what it voted
// for and what it helped to acknowledge. Raft has each entry on disk before the table
// has it, and cuts off none that was applied. Where the process itself told of more,
// this word of it is older: it was overtaken on its way.
func (s *sighting) setBack(incarnation, process string, last uint64) error {
	if s.incarnation != incarnation || last == 0 || last >= s.held || s.teller == process {
		return nil
	}
	return fmt.Errorf("its log ends at entry %d, and it had told that it holds %d: its disk was set back, and has forgotten what it voted for: %w: %s",
		last, s.held, ownership.ErrDiffers, heal)
}

// holds is sighting.holds for a node.
func (p *presence) holds(id ownership.NodeID, incarnation, process string, applied uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.see(id).holds(incarnation, process, applied)
}

// setBack is sighting.setBack for a node.
func (p *presence) setBack(id ownership.NodeID, incarnation, process string, last uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.see(id).setBack(incarnation, process, last)
}

// promised reports whether this node listens to yet another process of that id, met
// while none of it was admitted, which may be alive. As long as that may be, a leader
// admits no other one: those who gave their word to it count its vote.
func (p *presence) promised(b bearer, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.see(b.node)
	if s.named == "" || s.process == "" || s.process == s.named || s.process == b.process || now.Sub(s.heard) >= p.alive() {
		return false
	}
	return !b.over || len(b.ancestors) == 0 || b.ancestors[len(b.ancestors)-1] != s.process
}

// bind makes this node listen to the process: its leader admitted it.
func (p *presence) bind(id ownership.NodeID, process, addr string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.see(id)
	s.process, s.heard, s.spoke = process, now, process
	if addr != "" {
		s.addr = addr
	}
}

// replace keeps whom this node listens to while the table is replaced, and after: the
// processes that a snapshot of another day names are not those of today.
func (p *presence) replace(table func() error) error {
	p.mu.Lock()
	p.replacing = true
	p.mu.Unlock()
	err := table()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replacing = false
	for id, s := range p.of {
		s.named = p.named(id)
	}
	return err
}

// hears notes a sign of life and reports whether this node listens to the process.
func (p *presence) hears(id ownership.NodeID, process string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.see(id)
	if s.process != process {
		return false
	}
	s.heard, s.spoke = now, process
	return true
}

// tells takes the address at which a process says it is, if this node listens to
// it or has met nobody of that id yet.
func (p *presence) tells(b bearer, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.see(b.node)
	if s.process != b.process && s.process != "" && now.Sub(s.heard) < p.alive() {
		return
	}
	if b.addr != "" {
		s.addr = b.addr
	}
	if s.setBack(b.incarnation, b.process, b.last) == nil {
		s.holds(b.incarnation, b.process, b.applied)
	}
	s.spoke = b.process
}

// met reports whether the process that the table names has spoken here. Else the
// node's record may tell of a time long ago, and of a place where it is no longer.
func (p *presence) met(id ownership.NodeID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	named := p.named(id)
	return named == "" || p.see(id).spoke == named // older software names none
}

// hint takes an address that somebody else told, if nothing better is known.
func (p *presence) hint(id ownership.NodeID, addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.see(id); s.addr == "" {
		s.addr = addr
	}
}

// addr gives where the node says it is; empty: it has told nothing here.
func (p *presence) addr(id ownership.NodeID) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.of[id]; s != nil {
		return s.addr
	}
	return ""
}

// addrs gives all addresses that were told here.
func (p *presence) addrs() []*peerpb.NodeAddr {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*peerpb.NodeAddr
	for _, id := range slices.Sorted(maps.Keys(p.of)) {
		if addr := p.of[id].addr; addr != "" {
			out = append(out, &peerpb.NodeAddr{Node: string(id), Addr: addr})
		}
	}
	return out
}

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
	add(c.present.addr(id))
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

func bearerOf(h *peerpb.HelloRequest) bearer {
	return bearer{
		node: ownership.NodeID(h.GetNode()), incarnation: h.GetIncarnation(), process: h.GetProcess(), ancestors: h.GetAncestors(),
		over: h.GetOver(), former: h.GetFormer(), identity: h.GetIdentity(), applied: h.GetApplied(), confirmed: h.GetConfirmed(), addr: h.GetAddr(), last: h.GetLastIndex(),
	}
}

func bearerOfReply(h *peerpb.HelloReply) bearer {
	return bearer{
		node: ownership.NodeID(h.GetNode()), incarnation: h.GetIncarnation(), process: h.GetProcess(), ancestors: h.GetAncestors(),
		former: h.GetFormer(), identity: h.GetIdentity(), applied: h.GetApplied(), confirmed: h.GetConfirmed(), addr: h.GetAddr(), last: h.GetLastIndex(),
	}
}

// meet decides whether this node listens to a process that spoke to it.
func (c *entry) meet(b bearer) error {
	if mine := c.identity(); mine != "" && b.identity != "" && b.identity != mine && b.identity != c.formerly() && b.former != mine {
		return fmt.Errorf("node %s has the data of another region of this name (its identity is %s, here it is %s): empty its data directory, "+
			"then start it again: %w", b.node, b.identity, mine, ownership.ErrForeign)
	}
	if b.node == c.self && b.process != c.process {
		return fmt.Errorf("node %s: %w", b.node, ownership.ErrTwin)
	}
	applied := c.tb.Applied() // before the table is asked: it may only look older than it is
	return c.present.meet(b, applied, time.Now())
}
