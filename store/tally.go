package store

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"tandem/ownership"
	"tandem/store/index"
)

// tally counts a partition's live calls, so that a change of its owner or of its
// reservations costs the same however many they are. The numbers that a roster
// shows are atomic: they change under the table's lock, and are read without it.
type tally struct {
	live *atomic.Int64 // that the owner acts for
	free counts        // that ring or can move: the owner's, whatever becomes of it
	held []*holding    // answered ones with media of their own, oldest epoch first
	ring map[ringing]int32
}

// ringing is what claimed calls are counted by, to know which are overdue: few, for
// a call rings for seconds and is answered, ended or reaped in the end.
type ringing struct {
	until uint32 // see entry.rings; never 0
	app   uint32
}

// all returns the live calls, whoever acts for them.
func (t *tally) all() int {
	n := t.free.sum()
	for _, h := range t.held {
		n += int(h.live.Load())
	}
	return n
}

// holding counts the answered calls with media of their own by the epoch of their
// records: those of the present epoch are the owner's, those of an older one are
// reserved, or orphans.
type holding struct {
	epoch ownership.Epoch
	live  atomic.Int64
	apps  counts
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

func (c counts) sum() (n int) {
	for _, by := range c {
		n += int(by)
	}
	return n
}

// shownCounts are counts that are read without the table's lock.
type shownCounts struct {
	p atomic.Pointer[[]atomic.Int32]
}

func (c *shownCounts) add(app uint32, by int) {
	have := c.p.Load()
	if have == nil || int(app) >= len(*have) {
		grown := make([]atomic.Int32, app+1)
		if have != nil {
			for i := range *have {
				grown[i].Store((*have)[i].Load())
			}
		}
		have = &grown
		c.p.Store(have)
	}
	(*have)[app].Add(int32(by))
}

func (c *shownCounts) of(app uint32) int {
	if have := c.p.Load(); have != nil && int(app) < len(*have) {
		return int((*have)[app].Load())
	}
	return 0
}

// overdue adds the claimed calls that no longer ring at that time, by their apps'
// numbers.
func (t *tally) overdue(at time.Time, into *counts) {
	for r, n := range t.ring {
		if at.After(readSeconds(r.until)) {
			into.add(r.app, int(n))
		}
	}
}

func (t *tally) find(epoch ownership.Epoch) (int, bool) {
	return slices.BinarySearchFunc(t.held, epoch, func(h *holding, e ownership.Epoch) int {
		return cmp.Compare(h.epoch, e)
	})
}

// holding returns the calls held at an epoch; nil: there are none.
func (t *tally) holding(epoch ownership.Epoch) *holding {
	if i, ok := t.find(epoch); ok {
		return t.held[i]
	}
	return nil
}

func (t *tally) heldAt(epoch ownership.Epoch) int {
	if h := t.holding(epoch); h != nil {
		return int(h.live.Load())
	}
	return 0
}

// hold counts a call held at an epoch in or out.
func (t *tally) hold(epoch ownership.Epoch, app uint32, by int) {
	i, ok := t.find(epoch)
	if !ok {
		t.held = slices.Insert(t.held, i, &holding{epoch: epoch})
	}
	h := t.held[i]
	if h.live.Add(int64(by)) == 0 {
		t.held = slices.Delete(t.held, i, i+1)
		return
	}
	h.apps.add(app, by)
}

// part is what one call counts for. The zero value is a call that is not live.
type part struct {
	of    *partState
	held  bool // an answered call with media of its own, at epoch
	epoch ownership.Epoch
	app   uint32
	rings uint32     // until when it rings; 0: it does not, or nobody said until when
	own   bool       // the partition's owner acts for it
	node  *nodeState // who acts for it; nil: nobody, it waits to be taken up
}

func (s *state) part(e *index.Entry) part {
	if !e.State.Live() {
		return part{}
	}
	p := s.parts[ownership.PartitionID(e.Partition)]
	t := part{of: p, app: e.App, epoch: e.Epoch.Long()}
	t.held = e.State == ownership.CallAnswered && e.Flags&index.Pinned != 0
	if e.State == ownership.CallClaimed {
		t.rings = e.Rings
	}
	t.own = !t.held || t.epoch >= p.rec.Epoch
	if at := s.stands(e); at.State.Live() {
		t.node = s.nodes[at.Owner]
	}
	return t
}

// count follows a call from what it counted for to what it counts for now. A
// number that stays is not touched: whoever reads it without the lock must not see
// it fall and rise.
func (s *state) count(was, now part) {
	if was.node != now.node {
		was.node.add(was.app, -1)
		now.node.add(now.app, 1)
	}
	if was.own != now.own {
		if was.own {
			was.of.live.Add(-1)
		} else {
			now.of.live.Add(1)
		}
	}
	if was.of != nil {
		was.of.take(&was, -1)
	}
	if now.of != nil {
		now.of.take(&now, 1)
	}
}

func (n *nodeState) add(app uint32, by int) {
	if n != nil {
		n.live.Add(int64(by))
		n.apps.add(app, by)
	}
}

func (t *tally) take(p *part, by int) {
	if p.held {
		t.hold(p.epoch, p.app, by)
	} else {
		t.free.add(p.app, by)
	}
	if p.rings == 0 {
		return
	}
	r := ringing{p.rings, p.app}
	if t.ring[r] += int32(by); t.ring[r] == 0 {
		delete(t.ring, r)
	}
}

// ownLive counts the calls that the owner acts for by that record.
func (t *tally) ownLive(rec *ownership.Partition) int {
	n := t.free.sum()
	for _, h := range t.held {
		if h.epoch >= rec.Epoch {
			n += h.apps.sum()
		}
	}
	return n
}

// reservedLive counts the calls of a reservation that have not lapsed.
func (s *state) reservedLive(t *tally, r *ownership.Reservation) (n int) {
	if h := t.holding(r.Epoch); h != nil {
		for app, by := range h.apps {
			if !r.HasLapsed(s.calls.App(uint32(app))) {
				n += int(by)
			}
		}
	}
	return n
}

// shares adds up how many calls of each app each node acts for by a record of the
// partition.
func (s *state) shares(t *tally, rec *ownership.Partition, by int, into map[ownership.NodeID]*counts) {
	add := func(id ownership.NodeID, c counts, lapsed func(ownership.AppID) bool) {
		if into[id] == nil {
			into[id] = new(counts)
		}
		for app, n := range c {
			if !lapsed(s.calls.App(uint32(app))) {
				into[id].add(uint32(app), by*int(n))
			}
		}
	}
	never := func(ownership.AppID) bool { return false }
	add(rec.Owner, t.free, never)
	for _, h := range t.held {
		if h.epoch >= rec.Epoch {
			add(rec.Owner, h.apps, never)
		}
	}
	for i := range rec.Reserved {
		r := &rec.Reserved[i]
		if h := t.holding(r.Epoch); h != nil {
			add(r.Node, h.apps, r.HasLapsed)
		}
	}
}

// recount gives the partition its record, and its live calls to who acts for them
// by it.
func (s *state) recount(p *partState, rec ownership.Partition) {
	by := map[ownership.NodeID]*counts{}
	s.shares(&p.tally, &p.rec, -1, by)
	s.shares(&p.tally, &rec, 1, by)
	p.rec = rec
	p.live.Store(int64(p.ownLive(&rec)))
	for id, apps := range by {
		node, ok := s.nodes[id]
		if !ok {
			continue
		}
		if n := apps.sum(); n != 0 { // else its number must not fall and rise
			node.live.Add(int64(n))
		}
		for app, n := range *apps {
			if n != 0 {
				node.apps.add(uint32(app), int(n))
			}
		}
	}
}

func (p *partState) record() ownership.Partition {
	return counted(p.rec, p.live, p.heldAt)
}

func counted(rec ownership.Partition, live *atomic.Int64, heldAt func(ownership.Epoch) int) ownership.Partition {
	rec.Live = int(live.Load())
	if len(rec.Reserved) > 0 {
		rec.Reserved = slices.Clone(rec.Reserved)
		for i := range rec.Reserved {
			rec.Reserved[i].Live = heldAt(rec.Reserved[i].Epoch)
		}
	}
	return rec
}

// Census counts the calls of a node that have not ended, by app and state: those that it
// acts for, and the orphans for its bot to rejoin. It looks at one partition at a time, so that no act waits for all.
func (t *Table) Census(id ownership.NodeID) map[ownership.AppID]map[ownership.CallState]int {
	out := map[ownership.AppID]map[ownership.CallState]int{}
	for _, p := range t.Partitions() {
		if p.Owner == id || slices.ContainsFunc(p.Reserved, func(r ownership.Reservation) bool { return r.Node == id }) {
			t.census(id, p.ID, out)
		}
	}
	return out
}

func (t *Table) census(id ownership.NodeID, in ownership.PartitionID, into map[ownership.AppID]map[ownership.CallState]int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	p, ok := t.st.parts[in]
	if !ok {
		return
	}
	t.st.inPartition(p, func(_ uint32, e *index.Entry) {
		at := t.st.stands(e)
		if at.Owner != id || !at.State.Live() && at.State != ownership.CallOrphaned {
			return
		}
		app := t.st.calls.App(e.App)
		if into[app] == nil {
			into[app] = map[ownership.CallState]int{}
		}
		into[app][at.State]++
	})
}
