package store

import (
	"cmp"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"tandem/ownership"
	"tandem/store/index"
)

// state is the table's content in memory: nodes and partitions whole, calls as
// far as routing needs them. Everything in it follows from table.db and the
// acts after it.
type state struct {
	calls *index.Index
	nodes map[ownership.NodeID]*nodeState
	parts map[ownership.PartitionID]*partState
	ended index.Endings

	nodeList []ownership.Node        // by id; replaced, never changed, so readers may keep it
	partIDs  []ownership.PartitionID // by number; replaced, never changed
	tokens   []ownership.DoorToken   // by name; replaced, never changed, so readers may keep it
	rules    []ownership.Rules       // oldest first; replaced, never changed
	deposits []ownership.Deposit     // by name; replaced, never changed

	ledger ledgerState
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
	identity    string              // made when the region was founded; empty: it never was
	lease       time.Duration       // how long leases last; 0: never set
	leaseBefore time.Duration       // and how long before; 0: never set
	keep        ownership.Keep      // of the ledger; zero: never set, and nothing is deleted
	refused     refusedLately       // that the ledger has yet to tell of
	rollouts    []ownership.Rollout // by app and version; replaced, never changed
}

type nodeState struct {
	rec   ownership.Node
	live  *atomic.Int64           // calls that it acts for; changed under the table's lock only
	apps  *shownCounts            // the same, app by app
	owned []ownership.PartitionID // by number, without retired ones; replaced, never changed
}

// record returns the node's record; of a node that is not there: false.
func (n *nodeState) record() (ownership.Node, bool) {
	if n == nil {
		return ownership.Node{}, false
	}
	return n.rec, true
}

func (n *nodeState) count() int {
	if n == nil {
		return 0
	}
	return int(n.live.Load())
}

// countOf returns how many of the app of that number, if there is one.
func (n *nodeState) countOf(app uint32, known bool) int {
	if n == nil || !known {
		return 0
	}
	return n.apps.of(app)
}

type partState struct {
	rec   ownership.Partition // without the counts of live calls: see record
	first uint32              // one call of its ring; 0: it has none
	calls int                 // in any state
	tally
}

func newState() *state {
	return &state{
		calls:   index.New(),
		nodes:   map[ownership.NodeID]*nodeState{},
		parts:   map[ownership.PartitionID]*partState{},
		format:  1,
		next:    1,
		changed: true,
	}
}

func nodeOrder(a ownership.Node, id ownership.NodeID) int { return cmp.Compare(a.ID, id) }

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
		have = &partState{tally: tally{live: new(atomic.Int64), ring: map[ringing]int32{}}}
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
	ref, e := s.calls.Add(id)
	e.Epoch, e.Partition, e.State, e.Active = index.Shorten(k.Epoch), uint32(k.Partition), k.State, active
	if _, known := s.calls.NumberOf(k.App); !known {
		s.changed = true // the roster numbers apps
	}
	e.App = s.calls.Number(k.App)
	if k.Pinned {
		e.Flags |= index.Pinned
	}
	p := s.parts[k.Partition]
	p.calls++
	s.enterRing(p, ref, e)
	s.count(part{}, s.part(e))
	if k.State == ownership.CallEnded {
		s.ended.Put(index.Ending{At: active, Ref: ref})
	}
	return ref
}

// enterGroups puts a live call into its groups, with what counts of it there.
func (s *state) enterGroups(ref uint32, keys []ownership.GroupKey, observed string, paired bool, deadline time.Time) {
	e := s.calls.At(ref)
	was := s.part(e)
	e.Rings = seconds(ownership.RingsUntil(deadline))
	s.count(was, s.part(e))
	if paired {
		e.Flags |= index.Paired
	}
	if observed != "" {
		e.Flags |= index.Observes
	}
	s.calls.JoinGroups(ref, keys, observed)
}

// dropCall takes an ended call out of everything.
func (s *state) dropCall(ref uint32) {
	e := s.calls.At(ref)
	p := s.parts[ownership.PartitionID(e.Partition)]
	p.calls--
	s.leaveRing(p, ref, e)
	s.calls.Drop(ref)
}

// setCall follows what an act made of a call. One that stops being live leaves
// its groups; a call never becomes live again. active is when it ended, or was
// last seen.
func (s *state) setCall(ref uint32, state ownership.CallState, epoch ownership.Epoch, active uint32) {
	e := s.calls.At(ref)
	was := s.part(e)
	if state == ownership.CallEnded && e.State != state {
		s.ended.Put(index.Ending{At: active, Ref: ref})
	}
	if e.State.Live() && !state.Live() {
		s.calls.LeaveGroups(ref)
	}
	e.Active = active
	s.calls.Regroup(ref, func(e *index.Entry) { e.State, e.Epoch = state, index.Shorten(epoch) })
	s.count(was, s.part(e))
}

// stands gives who acts for a call.
func (s *state) stands(e *index.Entry) ownership.Standing {
	return s.parts[ownership.PartitionID(e.Partition)].rec.Stands(e.State, e.Flags&index.Pinned != 0, s.calls.App(e.App), e.Epoch.Long())
}

func (s *state) enterRing(p *partState, ref uint32, e *index.Entry) {
	if p.first == 0 {
		e.Next, e.Prev = ref, ref
		p.first = ref
		return
	}
	first := s.calls.At(p.first)
	e.Next, e.Prev = p.first, first.Prev
	s.calls.At(first.Prev).Next = ref
	first.Prev = ref
}

func (s *state) leaveRing(p *partState, ref uint32, e *index.Entry) {
	if e.Next == ref {
		p.first = 0
		return
	}
	s.calls.At(e.Prev).Next = e.Next
	s.calls.At(e.Next).Prev = e.Prev
	if p.first == ref {
		p.first = e.Next
	}
}

// inPartition calls f with each call of the partition, in no certain order.
func (s *state) inPartition(p *partState, f func(ref uint32, e *index.Entry)) {
	if p.first == 0 {
		return
	}
	for ref := p.first; ; {
		e := s.calls.At(ref)
		next := e.Next
		f(ref, e)
		if ref = next; ref == p.first {
			return
		}
	}
}

// seconds is a time as the index keeps it: enough to pass over most calls.
func seconds(t time.Time) uint32 {
	return uint32(min(max(t.Unix(), 0), math.MaxUint32))
}

func readSeconds(s uint32) time.Time { return time.Unix(int64(s), 0).UTC() }
