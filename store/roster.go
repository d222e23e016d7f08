package store

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tandem/ownership"
)

// roster is what the region's nodes and partitions are, frozen: it is read
// without the table's lock, so that no renewal of a lease ever waits for an act or
// a restore. Its counts of live calls are the table's own and move on.
type roster struct {
	nodes    []ownership.Node                // by id
	byID     map[ownership.NodeID]*nodeState // copies, with the counts of the table
	parts    map[ownership.PartitionID]*rosterPart
	apps     map[ownership.AppID]uint32 // their numbers
	rules    []ownership.Rules
	deposits []ownership.Deposit
	format   uint32
	facts
}

type rosterPart struct {
	rec  ownership.Partition
	live *atomic.Int64
	held []*holding // runs parallel to rec.Reserved; nil: none
}

// published is what a table shows without its lock: all that a renewal of a lease
// asks for. An act may take long; nobody who asks here waits for it.
type published struct {
	roster  atomic.Pointer[roster]
	applied atomic.Uint64
	sums    sums
	ruled   chan struct{} // holds one ping after a change of the rules
}

// publish shows the nodes and partitions as they are now, and then how far the table
// is: whoever reads Applied first finds the table at least as new.
func (p *published) publish(st *state) {
	if st.changed {
		was := p.roster.Swap(st.roster())
		st.changed = false
		if was == nil || !sameRules(was.rules, st.rules) {
			poke(p.ruled)
		}
	}
	p.sums.add(st.applied, st.sum)
	p.applied.Store(st.applied)
}

func (s *state) roster() *roster {
	r := &roster{
		nodes: s.nodeList, rules: s.rules, deposits: s.deposits, format: s.format, facts: s.facts,
		apps:  s.calls.AllApps(),
		byID:  make(map[ownership.NodeID]*nodeState, len(s.nodes)),
		parts: make(map[ownership.PartitionID]*rosterPart, len(s.parts)),
	}
	for id, n := range s.nodes {
		shown := *n
		r.byID[id] = &shown
	}
	for id, p := range s.parts {
		rp := &rosterPart{rec: p.rec, live: p.live}
		for i := range p.rec.Reserved {
			rp.held = append(rp.held, p.holding(p.rec.Reserved[i].Epoch))
		}
		r.parts[id] = rp
	}
	return r
}

func (p *rosterPart) record() ownership.Partition {
	i := -1
	return counted(p.rec, p.live, func(ownership.Epoch) int {
		if i++; p.held[i] != nil {
			return int(p.held[i].live.Load())
		}
		return 0
	})
}

// Partition implements ownership.View.
func (p *published) Partition(id ownership.PartitionID) (ownership.Partition, bool) {
	part, ok := p.roster.Load().parts[id]
	if !ok {
		return ownership.Partition{}, false
	}
	return part.record(), true
}

// PartitionsOf implements ownership.View; retired partitions have no owner.
func (p *published) PartitionsOf(id ownership.NodeID) []ownership.Partition {
	r := p.roster.Load()
	n, ok := r.byID[id]
	if !ok {
		return nil
	}
	out := make([]ownership.Partition, len(n.owned))
	for i, id := range n.owned {
		out[i] = r.parts[id].record()
	}
	return out
}

// Node returns one node's record.
func (p *published) Node(id ownership.NodeID) (ownership.Node, bool) {
	return p.roster.Load().byID[id].record()
}

// Nodes implements ownership.View. The slice must not be changed.
func (p *published) Nodes() []ownership.Node { return p.roster.Load().nodes }

// Live implements ownership.View.
func (p *published) Live(id ownership.NodeID) int {
	return p.roster.Load().byID[id].count()
}

// LiveOf implements ownership.View.
func (p *published) LiveOf(id ownership.NodeID, app ownership.AppID) int {
	r := p.roster.Load()
	number, known := r.apps[app]
	return r.byID[id].countOf(number, known)
}

// Applied is the raft index of the last act in the table.
func (p *published) Applied() uint64 { return p.applied.Load() }

// Format is the command format that the region writes.
func (p *published) Format() uint32 { return p.roster.Load().format }

// Identity is the region's, made when it was founded; empty: it never was.
func (p *published) Identity() string { return p.roster.Load().identity }

// Lease is how long leases last in the region, and how long they lasted before
// the last change; 0: never set.
func (p *published) Lease() (now, before time.Duration) {
	r := p.roster.Load()
	return r.lease, r.leaseBefore
}

// Keep is how long the region's ledger is kept; zero: never set.
func (p *published) Keep() ownership.Keep { return p.roster.Load().keep }

// Reserved returns the partitions in which something is reserved for a former owner,
// by number. It waits for no act, as all that a renewal asks.
func (p *published) Reserved() []ownership.Partition {
	var out []ownership.Partition
	for _, part := range p.roster.Load().parts {
		if len(part.rec.Reserved) > 0 && !part.rec.Retired {
			out = append(out, part.record())
		}
	}
	slices.SortFunc(out, func(a, b ownership.Partition) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// sumsKept is how many acts back the table knows its sums: a node that is further
// behind than that has other troubles.
const sumsKept = 4096

// sums remembers the table's sum after each of the last acts. Its lock is held
// for moments only.
type sums struct {
	mu   sync.Mutex
	ring [sumsKept]struct{ index, sum uint64 }
}

func (s *sums) add(index, sum uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := &s.ring[index%sumsKept]
	at.index, at.sum = index, sum
}

// clear forgets all: the table is another one.
func (s *sums) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.ring[:])
}

// SumAt returns the checksum of all nodes, partitions and calls as it was when the
// act at that index had just been applied; false: that is not known (any more).
// Two nodes must have the same sum at the same index. It waits for no act.
func (p *published) SumAt(index uint64) (uint64, bool) {
	p.sums.mu.Lock()
	defer p.sums.mu.Unlock()
	at := p.sums.ring[index%sumsKept]
	return at.sum, at.index == index && index > 0
}
