package store

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"

	"go.etcd.io/bbolt"

	"tandem/ownership"
	"tandem/ownership/history"
	"tandem/store/record"
)

// annals finds a call's events, and those that move a partition, without a look at all
// others. It is made when somebody asks, and catches up with the history at each question:
// to tell the table's writer of it would cost every act, and a start a second.
type annals struct {
	mu     sync.Mutex
	seed   maphash.Seed
	of     *bbolt.DB // the file that it tells of: a restore puts another one in its place
	after  uint64    // the last event that it knows
	since  int       // events that it took in since it last forgot
	calls  map[uint64][]uint64
	moving map[ownership.PartitionID][]uint64
	// headless are those of calls whose claim the history no longer has.
	headless map[uint64]bool
	all      []uint64 // of any kind
	owning   []uint64 // of who owns a partition
	members  []uint64 // of how a node stands
}

// begin forgets all.
func (a *annals) begin(db *bbolt.DB) {
	a.seed, a.of, a.after, a.since = maphash.MakeSeed(), db, 0, 0
	a.calls, a.moving = map[uint64][]uint64{}, map[ownership.PartitionID][]uint64{}
	a.headless, a.owning, a.members = map[uint64]bool{}, nil, nil
	a.all = nil
}

// catchUp takes in what has happened since the last question. The lock is held.
func (a *annals) catchUp(t *Table) error {
	t.mu.RLock()
	db := t.db
	t.mu.RUnlock()
	if a.of != db {
		a.begin(db)
	}
	first := uint64(0)
	err := t.eachEvent(a.after, func(key, value []byte) (bool, error) {
		if len(key) != 8 {
			return true, nil // damage, which is told to whoever reads it
		}
		id := binary.BigEndian.Uint64(key)
		call, partition, kind := record.EventSubject(value)
		e := history.Event{Kind: history.Kind(kind)}
		if len(call) > 0 {
			h := maphash.Bytes(a.seed, call)
			if len(a.calls[h]) == 0 && e.Kind != history.Claimed {
				a.headless[h] = true
			}
			a.calls[h] = append(a.calls[h], id)
		} else {
			if movesCalls(e.Kind) {
				a.moving[partition] = append(a.moving[partition], id)
			}
			if e.Owning() {
				a.owning = append(a.owning, id)
			}
			if e.Member() {
				a.members = append(a.members, id)
			}
		}
		a.all = append(a.all, id)
		a.after = id
		a.since++
		return true, nil
	})
	if err != nil || a.since < t.opt.Events/2 {
		return err
	}
	a.since = 0
	err = t.eachEvent(0, func(key, _ []byte) (bool, error) {
		first = binary.BigEndian.Uint64(key)
		return false, nil
	})
	for h, ids := range a.calls {
		if kept := forget(a.calls, h, first); kept == 0 {
			delete(a.headless, h)
		} else if kept < len(ids) {
			a.headless[h] = true
		}
	}
	for p := range a.moving {
		forget(a.moving, p, first)
	}
	for _, ids := range []*[]uint64{&a.all, &a.owning, &a.members} {
		kept, _ := slices.BinarySearch(*ids, first)
		*ids = slices.Clone((*ids)[kept:])
	}
	return err
}

// forget drops events that the history no longer has, and returns how many are left.
func forget[K comparable](of map[K][]uint64, k K, first uint64) int {
	ids := of[k]
	kept, _ := slices.BinarySearch(ids, first)
	if ids = ids[kept:]; len(ids) == 0 {
		delete(of, k)
	} else if kept > 0 {
		of[k] = slices.Clone(ids)
	}
	return len(ids)
}

// Timeline returns what the history still has of one call, oldest first, and of its
// partition while the call was live: whoever got the partition got the call, or had
// it kept.
func (t *Table) Timeline(call ownership.CallID) ([]history.Event, error) {
	t.annals.mu.Lock()
	defer t.annals.mu.Unlock()
	events, err := t.eventsAbout(call)
	if err != nil {
		return nil, fmt.Errorf("reading the history of call %s: %w", call, err)
	}
	var out []history.Event
	var in ownership.PartitionID
	from := 0 // where in out the present life of the call begins
	if c, ok := t.Call(call); ok && !c.ClaimedAt.IsZero() {
		in = c.Partition // its claim may be forgotten
	}
	for _, e := range events {
		switch {
		case e.Call == call:
			if e.Kind == history.Claimed {
				out = out[:from] // of before the claim
				in = e.Partition
			}
			out = append(out, e)
			if e.Kind == history.Ended {
				in, from = 0, len(out)
			}
		case e.Call == "" && e.Partition == in && movesCalls(e.Kind):
			out = append(out, e)
		}
	}
	return out, nil
}

// eventsAbout reads the events of a call and of the partitions that it was ever in, oldest
// first. The lock of the annals is held.
func (t *Table) eventsAbout(call ownership.CallID) ([]history.Event, error) {
	if err := t.annals.catchUp(t); err != nil {
		return nil, err
	}
	events, err := t.readEvents(t.annals.calls[maphash.String(t.annals.seed, string(call))])
	if err != nil {
		return nil, err
	}
	var in []ownership.PartitionID
	if c, ok := t.Call(call); ok {
		in = append(in, c.Partition)
	}
	for _, e := range events {
		in = append(in, e.Partition)
	}
	slices.Sort(in)
	for _, p := range slices.Compact(in) {
		moves, err := t.readEvents(t.annals.moving[p])
		if err != nil {
			return nil, err
		}
		events = append(events, moves...)
	}
	slices.SortFunc(events, func(a, b history.Event) int { return cmp.Compare(a.ID, b.ID) })
	return events, nil
}

// Owning returns the events with an id above after that say who owns a partition, oldest first.
func (t *Table) Owning(after uint64) ([]history.Event, error) {
	return t.indexed("who owned the partitions", func(a *annals) []uint64 {
		begin, _ := slices.BinarySearch(a.owning, after+1)
		return a.owning[begin:]
	})
}

// Members returns the events that say how a node stands, oldest first.
func (t *Table) Members() ([]history.Event, error) {
	return t.indexed("how the nodes stood", func(a *annals) []uint64 { return a.members })
}

func (t *Table) indexed(what string, ids func(*annals) []uint64) (out []history.Event, err error) {
	t.annals.mu.Lock()
	defer t.annals.mu.Unlock()
	if err = t.annals.catchUp(t); err == nil {
		out, err = t.readEvents(ids(&t.annals))
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", what, err)
	}
	return out, nil
}

// LivingAt returns the ids of all calls that may have been live at a moment, in order, and of
// others: history.CallAt tells of each. Those are the calls with events on both sides of
// it, those of which only later ones are left, and those that are live today.
func (t *Table) LivingAt(m history.Moment) ([]ownership.CallID, error) {
	t.annals.mu.Lock()
	defer t.annals.mu.Unlock()
	var out []ownership.CallID
	fail := func(err error) ([]ownership.CallID, error) {
		return nil, fmt.Errorf("reading which calls lived: %w", err)
	}
	if err := t.annals.catchUp(t); err != nil {
		return fail(err)
	}
	cut, err := t.cut(m)
	if err != nil {
		return fail(err)
	}
	var heads []uint64
	for h, ids := range t.annals.calls {
		if ids[len(ids)-1] > cut && (ids[0] <= cut || t.annals.headless[h]) {
			heads = append(heads, ids[0])
		}
	}
	slices.Sort(heads)
	events, err := t.readEvents(heads)
	if err != nil {
		return fail(err)
	}
	for _, e := range events {
		out = append(out, e.Call)
	}
	for c, err := range t.Each(ownership.CallFilter{}) {
		if err != nil {
			return fail(err)
		}
		if c.State.Live() || c.State == ownership.CallOrphaned {
			out = append(out, c.ID)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// cut is the id of the last event until a moment, found by halves: time rises as ids do.
func (t *Table) cut(m history.Moment) (uint64, error) {
	all := t.annals.all
	low, high := 0, len(all) // the first low events are past, those from high on are not
	for low < high {
		middle := low + (high-low)/2
		switch e, err := t.readEvents(all[middle : middle+1]); {
		case err != nil:
			return 0, err
		case len(e) == 0 || m.Past(&e[0]): // what is no longer kept is past
			low = middle + 1
		default:
			high = middle
		}
	}
	if low == 0 {
		return 0, nil
	}
	return all[low-1], nil
}

// readEvents reads events by their ids, which rise; those that are no longer kept are left
// out.
func (t *Table) readEvents(ids []uint64) (out []history.Event, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	pending, tx, err := t.pendingEvents(ids[0] - 1)
	if err != nil {
		return nil, err
	}
	var file *bbolt.Bucket
	if tx != nil {
		defer func() { _ = tx.Rollback() }() // of a read transaction: it cannot fail
		file = tx.Bucket(bucketEvents)
	}
	for _, id := range ids {
		key := record.EventKey(id)
		var value []byte
		if i, ok := slices.BinarySearchFunc(pending, id, func(e pendingEvent, id uint64) int { return cmp.Compare(e.id, id) }); ok {
			value = pending[i].value
		} else if file != nil {
			value = file.Get(key)
		}
		if value == nil {
			continue
		}
		e, err := record.ReadEvent(key, value)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

var moving = []history.Kind{history.Moved, history.Lapsed, history.Reclaimed}

// movesCalls reports whether an event about a partition changes who acts for calls
// in it.
func movesCalls(k history.Kind) bool {
	return slices.Contains(moving, k)
}
