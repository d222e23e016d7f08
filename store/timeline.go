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
}

// begin forgets all.
func (a *annals) begin(db *bbolt.DB) {
	a.seed, a.of, a.after, a.since = maphash.MakeSeed(), db, 0, 0
	a.calls, a.moving = map[uint64][]uint64{}, map[ownership.PartitionID][]uint64{}
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
		switch {
		case len(call) > 0:
			h := maphash.Bytes(a.seed, call)
			a.calls[h] = append(a.calls[h], id)
		case movesCalls(history.Kind(kind)):
			a.moving[partition] = append(a.moving[partition], id)
		}
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
	forget(a.calls, first)
	forget(a.moving, first)
	return err
}

// forget drops events that the history no longer has.
func forget[K comparable](of map[K][]uint64, first uint64) {
	for k, ids := range of {
		kept, _ := slices.BinarySearch(ids, first)
		if ids = ids[kept:]; len(ids) == 0 {
			delete(of, k)
		} else if kept > 0 {
			of[k] = slices.Clone(ids)
		}
	}
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

// Owning returns the events that say who owns a partition, oldest first.
func (t *Table) Owning() (out []history.Event, err error) {
	err = t.eachEvent(0, func(key, value []byte) (bool, error) {
		call, _, kind := record.EventSubject(value)
		if e := (history.Event{Kind: history.Kind(kind)}); len(call) > 0 || !e.Owning() {
			return true, nil
		}
		e, err := record.ReadEvent(key, value)
		out = append(out, e)
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading who owned the partitions: %w", err)
	}
	return out, nil
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
