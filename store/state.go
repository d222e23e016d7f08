package store

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"tandem/ownership"
)

// state is the table's content in memory: nodes and partitions whole, calls as
// far as routing needs them. Everything in it follows from table.db and the
// acts after it.
type state struct {
	calls *index
	nodes map[ownership.NodeID]*nodeState
	parts map[ownership.PartitionID]*partState
	ended endings

	nodeList []ownership.Node        // by id; replaced, never changed, so readers may keep it
	partIDs  []ownership.PartitionID // by number; replaced, never changed
	tokens   []ownership.DoorToken   // by name; replaced, never changed, so readers may keep it

	facts
	format  uint32                // command format that the region writes
	next    ownership.PartitionID // number of the next partition to be born
	sum     uint64                // of all records, see recordSum
	applied uint64
	term    uint64
	changed bool // nodes, partitions or facts are not those of the published roster
}

// facts is what the region agrees on beside its records.
type facts struct {
	identity    string        // made when the region was founded; empty: it never was
	lease       time.Duration // how long leases last; 0: never set
	leaseBefore time.Duration // and how long before; 0: never set
}

type nodeState struct {
	rec   ownership.Node
	live  *atomic.Int64           // calls that it acts for; changed under the table's lock only
	apps  *shownCounts            // the same, app by app
	owned []ownership.PartitionID // by number, without retired ones; replaced, never changed
}

type partState struct {
	rec   ownership.Partition // without the counts of live calls: see record
	first uint32              // one call of its ring; 0: it has none
	calls int                 // in any state
	tally
}

func newState() *state {
	return &state{
		calls:   newIndex(),
		nodes:   map[ownership.NodeID]*nodeState{},
		parts:   map[ownership.PartitionID]*partState{},
		format:  1,
		next:    1,
		changed: true,
	}
}

// recordSum is one record's share in the table's sum. The sum over all records
// is the same on every node at the same applied index, in whatever order the
// records were written, and it is kept up to date record by record.
func recordSum(kind byte, key, value []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write([]byte{kind, byte(len(key)), byte(len(key) >> 8)})
	_, _ = d.Write(key)
	_, _ = d.Write(value)
	return d.Sum64()
}

func nodeOrder(a ownership.Node, id ownership.NodeID) int { return cmp.Compare(a.ID, id) }

// setNode puts a node's record in.
func (s *state) setNode(n ownership.Node) {
	if have, ok := s.nodes[n.ID]; ok {
		have.rec = n
	} else {
		s.nodes[n.ID] = &nodeState{rec: n, live: new(atomic.Int64), apps: new(shownCounts)}
	}
	list := slices.Clone(s.nodeList)
	i, found := slices.BinarySearchFunc(list, n.ID, nodeOrder)
	if found {
		list[i] = n
	} else {
		list = slices.Insert(list, i, n)
	}
	s.nodeList, s.changed = list, true
}

// dropNode takes out a node that nothing refers to.
func (s *state) dropNode(id ownership.NodeID) {
	delete(s.nodes, id)
	if i, found := slices.BinarySearchFunc(s.nodeList, id, nodeOrder); found {
		s.nodeList = slices.Delete(slices.Clone(s.nodeList), i, i+1)
	}
	s.changed = true
}

// setPartition puts a partition's record in and gives each of its live calls to
// who acts for it by that record.
func (s *state) setPartition(p ownership.Partition) {
	have, ok := s.parts[p.ID]
	if !ok {
		have = &partState{tally: newTally()}
		s.parts[p.ID] = have
		i, _ := slices.BinarySearch(s.partIDs, p.ID)
		s.partIDs = slices.Insert(slices.Clone(s.partIDs), i, p.ID)
	} else if old, ok := s.nodes[have.rec.Owner]; ok {
		if i, found := slices.BinarySearch(old.owned, p.ID); found {
			old.owned = slices.Delete(slices.Clone(old.owned), i, i+1)
		}
	}
	p.Live = 0
	s.recount(have, p)
	if owner, ok := s.nodes[p.Owner]; ok && !p.Retired {
		i, _ := slices.BinarySearch(owner.owned, p.ID)
		owner.owned = slices.Insert(slices.Clone(owner.owned), i, p.ID)
	}
	s.next = max(s.next, p.ID+1)
	s.changed = true
}

// dropPartition takes out a retired partition; it has no calls.
func (s *state) dropPartition(id ownership.PartitionID) {
	delete(s.parts, id)
	if i, found := slices.BinarySearch(s.partIDs, id); found {
		s.partIDs = slices.Delete(slices.Clone(s.partIDs), i, i+1)
	}
	s.changed = true
}

// addCall puts a call into the index, its partition's ring and the counts. The
// partition must be there. The caller has it join its groups if it is live.
func (s *state) addCall(id ownership.CallID, k ownership.Known, active uint32) uint32 {
	ref, e := s.calls.add(id)
	e.epoch, e.partition, e.state, e.active = shorten(k.Epoch), uint32(k.Partition), k.State, active
	apps := len(s.calls.apps)
	if e.app = s.calls.number(k.App); len(s.calls.apps) > apps {
		s.changed = true // the roster numbers apps
	}
	if k.Pinned {
		e.flags |= flagPinned
	}
	p := s.parts[k.Partition]
	p.calls++
	s.enterRing(p, ref, e)
	s.count(part{}, s.part(e))
	if k.State == ownership.CallEnded {
		s.ended.put(ending{active, ref})
	}
	return ref
}

// enterGroups puts a live call into its groups, with what counts of it there.
func (s *state) enterGroups(ref uint32, keys []ownership.GroupKey, observed string, paired bool, deadline time.Time) {
	e := s.calls.calls.at(ref)
	was := s.part(e)
	e.rings = seconds(ownership.RingsUntil(deadline))
	s.count(was, s.part(e))
	if paired {
		e.flags |= flagPaired
	}
	if observed != "" {
		e.flags |= flagObserves
	}
	s.calls.joinGroups(ref, keys, observed)
}

// dropCall takes an ended call out of everything.
func (s *state) dropCall(ref uint32) {
	e := s.calls.calls.at(ref)
	p := s.parts[ownership.PartitionID(e.partition)]
	p.calls--
	s.leaveRing(p, ref, e)
	s.calls.drop(ref)
}

// setCall follows what an act made of a call. One that stops being live leaves
// its groups; a call never becomes live again. active is when it ended, or was
// last seen.
func (s *state) setCall(ref uint32, state ownership.CallState, epoch ownership.Epoch, active uint32) {
	e := s.calls.calls.at(ref)
	was := s.part(e)
	if state == ownership.CallEnded && e.state != state {
		s.ended.put(ending{active, ref})
	}
	if e.state.Live() && !state.Live() {
		s.calls.leaveGroups(ref)
	}
	e.active = active
	s.calls.regroup(ref, func(e *entry) { e.state, e.epoch = state, shorten(epoch) })
	s.count(was, s.part(e))
}

// stands returns who acts for a call.
func (s *state) stands(e *entry) ownership.Standing {
	return s.parts[ownership.PartitionID(e.partition)].rec.Stands(e.state, e.flags&flagPinned != 0, s.calls.apps[e.app], e.epoch.long())
}

func (s *state) enterRing(p *partState, ref uint32, e *entry) {
	if p.first == 0 {
		e.next, e.prev = ref, ref
		p.first = ref
		return
	}
	first := s.calls.calls.at(p.first)
	e.next, e.prev = p.first, first.prev
	s.calls.calls.at(first.prev).next = ref
	first.prev = ref
}

func (s *state) leaveRing(p *partState, ref uint32, e *entry) {
	if e.next == ref {
		p.first = 0
		return
	}
	s.calls.calls.at(e.prev).next = e.next
	s.calls.calls.at(e.next).prev = e.prev
	if p.first == ref {
		p.first = e.next
	}
}

// inPartition calls f with each call of the partition, in no certain order.
func (s *state) inPartition(p *partState, f func(ref uint32, e *entry)) {
	if p.first == 0 {
		return
	}
	for ref := p.first; ; {
		e := s.calls.calls.at(ref)
		next := e.next
		f(ref, e)
		if ref = next; ref == p.first {
			return
		}
	}
}
