// Package presence knows which process speaks for which node of a region. Raft knows a
// voter by its id alone; with two processes of one id, from a copied disk, it would
// count two votes.
package presence

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"tandem/cluster/peerpb"
	"tandem/ownership"
)

// Bearer is what a process says of itself when it speaks as a node.
type Bearer struct {
	Node        ownership.NodeID
	Incarnation string
	Process     string   // empty: older software, which has none
	Ancestors   []string // the processes before it on its disk, oldest first, as far as the region may know them
	Over        bool     // the last of them ended in order
	Identity    string   // of its region; empty: it has none yet
	Former      string   // and before a snapshot of another founding was restored there
	Applied     uint64   // index of its table
	Last        uint64   // index of its raft log; 0: it does not say
	Addr        string
}

// Book says which process this node takes for which other node, and where it
// Met it last. Raft knows a voter by its id alone; with two processes of one id,
// from a copied disk, it would count two votes. So a node listens to one process
// of an id only: to the one that the table names, else to the first that it meets
// while no other of that id is alive.
type Book struct {
	Alive func() time.Duration          // a process that was heard within it may still act
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

// New returns an empty book. A process that was heard within alive may still act; named
// is the process that the own table names for a node, empty: none.
func New(alive func() time.Duration, named func(ownership.NodeID) string) *Book {
	return &Book{Alive: alive, named: named, of: make(map[ownership.NodeID]*sighting)}
}

// see returns what is known of a node. Whenever the table names another process
// than before, its word counts, but not that of a table from a snapshot: see replace.
func (p *Book) see(id ownership.NodeID) *sighting {
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

// Heal is what to do with a node whose table is not the region's.
const Heal = "stop it, remove it from the region (tandem remove), empty its data directory and start it again"

// ErrAlive says that the other process of that id may still act: time tells.
var ErrAlive = errors.New("another process of that node was heard a moment ago")

// Meet decides whether this node listens to the process. The own table stood at the
// index applied, or is further.
//
// Without an error it is the one from now on. ErrTwin: the table knows better; a
// process writes its ancestors down before it says anything, so one that does not
// descend from the process that the table names runs on a copy, or was replaced.
// It may only know more than this table when it has applied more.
func (p *Book) Meet(b Bearer, applied uint64, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.see(b.Node)
	named := s.named
	if s.process != b.Process && s.process != "" {
		switch {
		case b.Process == "", named != "" && b.Applied <= applied && named != b.Process && !slices.Contains(b.Ancestors, named):
			return fmt.Errorf("node %s: %w", b.Node, ownership.ErrTwin)
		case b.Over && len(b.Ancestors) > 0 && b.Ancestors[len(b.Ancestors)-1] == s.process:
		case now.Sub(s.heard) < p.Alive():
			return fmt.Errorf("node %s: %w", b.Node, ErrAlive)
		}
	}
	if err := s.setBack(b.Incarnation, b.Process, b.Last); err != nil {
		return fmt.Errorf("node %s: %w", b.Node, err)
	}
	s.holds(b.Incarnation, b.Process, b.Applied)
	s.process, s.heard, s.spoke = b.Process, now, b.Process
	if b.Addr != "" {
		s.addr = b.Addr
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
		last, s.held, ownership.ErrDiffers, Heal)
}

// Holds is sighting.holds for a node.
func (p *Book) Holds(id ownership.NodeID, incarnation, process string, applied uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.see(id).holds(incarnation, process, applied)
}

// SetBack is sighting.setBack for a node.
func (p *Book) SetBack(id ownership.NodeID, incarnation, process string, last uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.see(id).setBack(incarnation, process, last)
}

// Promised reports whether this node listens to yet another process of that id, met
// while none of it was admitted, which may be alive. As long as that may be, a leader
// admits no other one: those who gave their word to it count its vote.
func (p *Book) Promised(b Bearer, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.see(b.Node)
	if s.named == "" || s.process == "" || s.process == s.named || s.process == b.Process || now.Sub(s.heard) >= p.Alive() {
		return false
	}
	return !b.Over || len(b.Ancestors) == 0 || b.Ancestors[len(b.Ancestors)-1] != s.process
}

// Bind makes this node listen to the process: its leader admitted it.
func (p *Book) Bind(id ownership.NodeID, process, addr string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.see(id)
	s.process, s.heard, s.spoke = process, now, process
	if addr != "" {
		s.addr = addr
	}
}

// Replace keeps whom this node listens to while the table is replaced, and after: the
// processes that a snapshot of another day names are not those of today.
func (p *Book) Replace(table func() error) error {
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

// Hears notes a sign of life and reports whether this node listens to the process.
func (p *Book) Hears(id ownership.NodeID, process string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.see(id)
	if s.process != process {
		return false
	}
	s.heard, s.spoke = now, process
	return true
}

// Tells takes the address at which a process says it is, if this node listens to
// it or has met nobody of that id yet.
func (p *Book) Tells(b Bearer, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.see(b.Node)
	if s.process != b.Process && s.process != "" && now.Sub(s.heard) < p.Alive() {
		return
	}
	if b.Addr != "" {
		s.addr = b.Addr
	}
	if s.setBack(b.Incarnation, b.Process, b.Last) == nil {
		s.holds(b.Incarnation, b.Process, b.Applied)
	}
	s.spoke = b.Process
}

// Met reports whether the process that the table names has spoken here. Else the
// node's record may tell of a time long ago, and of a place where it is no longer.
func (p *Book) Met(id ownership.NodeID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	named := p.named(id)
	return named == "" || p.see(id).spoke == named // older software names none
}

// Hint takes an address that somebody else told, if nothing better is known.
func (p *Book) Hint(id ownership.NodeID, addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.see(id); s.addr == "" {
		s.addr = addr
	}
}

// Addr returns where the node says it is; empty: it has told nothing here.
func (p *Book) Addr(id ownership.NodeID) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.of[id]; s != nil {
		return s.addr
	}
	return ""
}

// Addrs returns all addresses that were told here.
func (p *Book) Addrs() []*peerpb.NodeAddr {
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

// Of reads what a hello says of its speaker.
func Of(h *peerpb.HelloRequest) Bearer {
	return Bearer{
		Node: ownership.NodeID(h.GetNode()), Incarnation: h.GetIncarnation(), Process: h.GetProcess(), Ancestors: h.GetAncestors(),
		Over: h.GetOver(), Former: h.GetFormer(), Identity: h.GetIdentity(), Applied: h.GetApplied(), Addr: h.GetAddr(), Last: h.GetLastIndex(),
	}
}

// ReplyOf reads what the answer to a hello says of its speaker.
func ReplyOf(h *peerpb.HelloReply) Bearer {
	return Bearer{
		Node: ownership.NodeID(h.GetNode()), Incarnation: h.GetIncarnation(), Process: h.GetProcess(), Ancestors: h.GetAncestors(),
		Former: h.GetFormer(), Identity: h.GetIdentity(), Applied: h.GetApplied(), Addr: h.GetAddr(), Last: h.GetLastIndex(),
	}
}

// Twin is the error of a process whose node another one is, at an address. What that one wrote
// since is the node's, also when it has ended: these data lack its votes.
func Twin(id ownership.NodeID, at string) error {
	return fmt.Errorf("%w: another process with the data of %s runs at %s, so this one ends; stop one of the two for good. "+
		"To go on here, bring the data of that one along: the region takes no older copy. "+
		"If this machine is to be a node of its own, give it a node id of its own and an empty data directory", ownership.ErrTwin, id, at)
}
