package store

import (
	"cmp"
	"slices"
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

	nodeList []ownership.Node        // by id; replaced, never changed, so readers may keep it
	partIDs  []ownership.PartitionID // by number
	tokens   []ownership.DoorToken   // by name; replaced, never changed, so readers may keep it

	format  uint32                // command format that the region writes
	next    ownership.PartitionID // number of the next partition to be born
	sum     uint64                // of all records, see recordSum
	applied uint64
	term    uint64
}

type nodeState struct {
	rec   ownership.Node
	live  int
	apps  counts                  // the same, app by app
	owned []ownership.PartitionID // by number, without retired ones
}

type partState struct {
	rec   ownership.Partition
	first uint32 // one call of its ring; 0: it has none
	calls int    // in any state
	apps  counts // rec.Live, app by app
}

// counts are numbers of calls by the number of their app, see index.number. Apps
// are few: a count by (partition, app) costs less than one by call would.
type counts []int32

func (c *counts) add(app uint32, by int) {
	for int(app) >= len(*c) {
		*c = append(*c, 0)
	}
	(*c)[app] += int32(by)
}

// addAll adds the counts of another, or takes them away with by = -1.
func (c *counts) addAll(other counts, by int) {
	for app, n := range other {
		if n != 0 {
			c.add(uint32(app), by*int(n))
		}
	}
}

func (c counts) of(app uint32) int {
	if int(app) >= len(c) {
		return 0
	}
	return int(c[app])
}

func newState() *state {
	return &state{
		calls:  newIndex(),
		nodes:  map[ownership.NodeID]*nodeState{},
		parts:  map[ownership.PartitionID]*partState{},
		format: 1,
		next:   1,
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

// setNode puts a node's record in.
func (s *state) setNode(n ownership.Node) {
	if have, ok := s.nodes[n.ID]; ok {
		have.rec = n
	} else {
		s.nodes[n.ID] = &nodeState{rec: n}
	}
	list := slices.Clone(s.nodeList)
	i, found := slices.BinarySearchFunc(list, n.ID, func(a ownership.Node, id ownership.NodeID) int { return cmp.Compare(a.ID, id) })
	if found {
		list[i] = n
	} else {
		list = slices.Insert(list, i, n)
	}
	s.nodeList = list
}

// setPartition puts a partition's record in, keeping its count of live calls,
// and moves it from its former owner to the present one.
func (s *state) setPartition(p ownership.Partition) {
	have, ok := s.parts[p.ID]
	if !ok {
		have = &partState{}
		s.parts[p.ID] = have
		i, _ := slices.BinarySearch(s.partIDs, p.ID)
		s.partIDs = slices.Insert(slices.Clone(s.partIDs), i, p.ID)
	} else if old, ok := s.nodes[have.rec.Owner]; ok && !have.rec.Retired {
		old.live -= have.rec.Live
		old.apps.addAll(have.apps, -1)
		if i, found := slices.BinarySearch(old.owned, p.ID); found {
			old.owned = slices.Delete(old.owned, i, i+1)
		}
	}
	p.Live = have.rec.Live
	have.rec = p
	if owner, ok := s.nodes[p.Owner]; ok && !p.Retired {
		owner.live += p.Live
		owner.apps.addAll(have.apps, 1)
		i, _ := slices.BinarySearch(owner.owned, p.ID)
		owner.owned = slices.Insert(owner.owned, i, p.ID)
	}
	s.next = max(s.next, p.ID+1)
}

// addCall puts a call into the index, its partition's ring and the counts. The
// partition must be there. The caller has it join its groups if it is live.
func (s *state) addCall(id ownership.CallID, k ownership.Known, active uint32) uint32 {
	ref, e := s.calls.add(id)
	e.epoch, e.partition, e.state, e.active = uint64(k.Epoch), uint32(k.Partition), k.State, active
	e.app = s.calls.number(k.App)
	if k.Pinned {
		e.flags |= flagPinned
	}
	p := s.parts[k.Partition]
	p.calls++
	s.enterRing(p, ref, e)
	if k.State.Live() {
		s.countLive(p, e.app, 1)
	}
	return ref
}

// enterGroups puts a live call into its groups, with what counts of it there.
func (s *state) enterGroups(ref uint32, keys []ownership.GroupKey, observed string, paired bool, deadline time.Time) {
	e := s.calls.calls.at(ref)
	e.rings = seconds(ownership.RingsUntil(deadline))
	if paired {
		e.flags |= flagPaired
	}
	if observed != "" {
		e.flags |= flagObserves
	}
	s.calls.joinGroups(ref, keys, observed)
}

// dropCall takes a call out of everything.
func (s *state) dropCall(ref uint32) {
	e := s.calls.calls.at(ref)
	s.setCallState(ref, ownership.CallEnded)
	p := s.parts[ownership.PartitionID(e.partition)]
	p.calls--
	s.leaveRing(p, ref, e)
	s.calls.drop(ref)
}

// setCallState follows a call that stops being live: it leaves its groups and
// no longer counts. A call never becomes live again.
func (s *state) setCallState(ref uint32, to ownership.CallState) {
	e := s.calls.calls.at(ref)
	if e.state.Live() && !to.Live() {
		s.countLive(s.parts[ownership.PartitionID(e.partition)], e.app, -1)
		s.calls.leaveGroups(ref)
	}
	s.calls.regroup(ref, func(e *entry) { e.state = to })
}

func (s *state) countLive(p *partState, app uint32, by int) {
	p.rec.Live += by
	p.apps.add(app, by)
	if owner, ok := s.nodes[p.rec.Owner]; ok && !p.rec.Retired {
		owner.live += by
		owner.apps.add(app, by)
	}
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
