package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"

	"go.etcd.io/bbolt"

	"tandem/ownership/history"
	"tandem/store/record"
)

// Events returns up to limit events after an id, oldest first; limit 0 or less:
// all of them. After 0 it begins with the oldest that the history still has.
func (t *Table) Events(after uint64, limit int) ([]history.Event, error) {
	var out []history.Event
	err := t.eachEvent(after, func(key, value []byte) (bool, error) {
		e, err := record.ReadEvent(key, value)
		if err != nil {
			return false, err
		}
		out = append(out, e)
		return limit <= 0 || len(out) < limit, nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the history: %w", err)
	}
	return out, nil
}

// Latest returns the newest events, at most limit, oldest first.
func (t *Table) Latest(limit int) ([]history.Event, error) {
	pending, tx, err := t.pendingEvents(0)
	if err != nil {
		return nil, fmt.Errorf("reading the end of the history: %w", err)
	}
	pending = pending[max(0, len(pending)-limit):]
	var out []history.Event // newest first
	for _, e := range slices.Backward(pending) {
		read, err := record.ReadEvent(record.EventKey(e.id), e.value)
		if err != nil {
			return nil, fmt.Errorf("reading the end of the history: %w", err)
		}
		out = append(out, read)
	}
	if tx != nil {
		defer func() { _ = tx.Rollback() }() // of a read transaction: it cannot fail
		c := tx.Bucket(bucketEvents).Cursor()
		for k, v := c.Last(); k != nil && len(out) < limit; k, v = c.Prev() {
			if len(pending) > 0 && len(k) == 8 && binary.BigEndian.Uint64(k) >= pending[0].id {
				continue // the file has caught up with what was pending
			}
			read, err := record.ReadEvent(k, v)
			if err != nil {
				return nil, fmt.Errorf("reading the end of the history: %w", err)
			}
			out = append(out, read)
		}
	}
	slices.Reverse(out)
	return out, nil
}

// eachEvent calls f with the events after an id until f has enough. Keys and
// values live until f returns.
func (t *Table) eachEvent(after uint64, f func(key, value []byte) (bool, error)) error {
	pending, tx, err := t.pendingEvents(after)
	if err != nil {
		return err
	}
	if tx != nil {
		defer func() { _ = tx.Rollback() }() // of a read transaction: it cannot fail
		c := tx.Bucket(bucketEvents).Cursor()
		for k, v := c.Seek(record.EventKey(after + 1)); k != nil; k, v = c.Next() {
			if len(pending) > 0 && len(k) == 8 && binary.BigEndian.Uint64(k) >= pending[0].id {
				break
			}
			if more, err := f(k, v); err != nil || !more {
				return err
			}
		}
	}
	for _, e := range pending {
		if more, err := f(record.EventKey(e.id), e.value); err != nil || !more {
			return err
		}
	}
	return nil
}

// pendingEvents returns the events after an id that are not in the file yet, and
// a view of the file that goes with them; nil when the file has none to add.
func (t *Table) pendingEvents(after uint64) ([]pendingEvent, *bbolt.Tx, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return nil, nil, ErrClosed
	}
	var out []pendingEvent
	inFile := true
	for _, b := range append(slices.Clip(t.sealed), t.dirty) {
		if len(b.events) == 0 {
			continue
		}
		if b.events[0].id <= after+1 {
			inFile = false // the file's events are all older
		}
		from := sort.Search(len(b.events), func(i int) bool { return b.events[i].id > after })
		out = append(out, b.events[from:]...)
	}
	if !inFile {
		return out, nil, nil
	}
	tx, err := t.db.Begin(false)
	return out, tx, err
}

// Watcher follows the history. It keeps nothing but its place, so the slowest
// watcher costs Apply no more than the fastest: it reads the history when it is
// ready to. It is for one goroutine.
type Watcher struct {
	t     *Table
	after uint64
	ping  chan struct{}
}

// watchBatch bounds the events that Next gives at once.
const watchBatch = 1000

// Watch follows the events after an id; 0: from the oldest on. Close it when
// done.
func (t *Table) Watch(after uint64) *Watcher {
	w := &Watcher{t: t, after: after, ping: make(chan struct{}, 1)}
	t.watchMu.Lock()
	t.watchers[w] = struct{}{}
	t.watchMu.Unlock()
	return w
}

// Next waits for events and gives them, oldest first. Lagged tells that the
// history has forgotten events between the last one given and the first one
// here: the watcher was too slow and should read again what it mirrors. The
// error is ErrClosed, the context's, or one of reading the history.
func (w *Watcher) Next(ctx context.Context) (events []history.Event, lagged bool, err error) {
	for {
		lagged, err = w.fellBehind()
		if err == nil {
			events, err = w.t.Events(w.after, watchBatch)
		}
		if err != nil {
			return nil, false, err
		}
		if len(events) > 0 {
			w.after = events[len(events)-1].ID
			return events, lagged, nil
		}
		select {
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case <-w.ping:
		}
	}
}

// fellBehind reports whether the event that the watcher saw last is gone from
// the history, and others with it.
func (w *Watcher) fellBehind() (bool, error) {
	if w.after == 0 {
		return false, nil
	}
	var first uint64
	err := w.t.eachEvent(0, func(key, _ []byte) (bool, error) {
		first = binary.BigEndian.Uint64(key)
		return false, nil
	})
	return first > w.after, err
}

// Close ends the watcher.
func (w *Watcher) Close() {
	w.t.watchMu.Lock()
	delete(w.t.watchers, w)
	w.t.watchMu.Unlock()
}

func (t *Table) pokeWatchers() {
	t.watchMu.Lock()
	defer t.watchMu.Unlock()
	for w := range t.watchers {
		poke(w.ping)
	}
}
