package store

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"sort"

	"go.etcd.io/bbolt"

	"tandem/ownership"
	"tandem/store/files"
	"tandem/store/index"
	"tandem/store/record"
)

// Call returns the whole record of a call, ended ones too while they are
// remembered.
func (t *Table) Call(id ownership.CallID) (ownership.Call, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.st.calls.Find(id) == 0 {
		return ownership.Call{}, false
	}
	r := reading{t: t}
	defer r.done()
	c, _, ok := r.call(id)
	if ok {
		stand(&c, &t.st.parts[c.Partition].rec)
	}
	return c, ok
}

// stand returns a call as it stands by the record of its partition, which says what
// its own record means.
func stand(c *ownership.Call, p *ownership.Partition) {
	at := p.Stands(c.State, c.Pinned, c.App, c.Epoch)
	c.Owner, c.Epoch, c.State = at.Owner, at.Epoch, at.State
}

// Partitions returns all partitions by number, retired ones too.
func (t *Table) Partitions() []ownership.Partition {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]ownership.Partition, len(t.st.partIDs))
	for i, id := range t.st.partIDs {
		out[i] = t.st.parts[id].record()
	}
	return out
}

// MaxPage bounds one page of Calls.
const MaxPage = 1000

// Calls returns one page of the calls that the filter chooses, by id. The cursor
// is the one that the page before gave; "" begins, and next "" means that there
// are no more. Limit is at most MaxPage; 0 or less: MaxPage. A page is
// consistent in itself; calls may come and go between pages.
func (t *Table) Calls(f ownership.CallFilter, cursor string, limit int) (items []ownership.Call, next string, err error) {
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	s, err := t.scan(f, cursor)
	if err != nil {
		return nil, "", fmt.Errorf("listing calls: %w", err)
	}
	defer s.close()
	for {
		key, value := s.next()
		if key == nil {
			return items, "", nil
		}
		c, ok, err := s.read(key, value)
		if err != nil {
			return nil, "", fmt.Errorf("listing calls: %w", err)
		}
		if !ok {
			continue
		}
		if len(items) == limit {
			return items, string(items[limit-1].ID), nil
		}
		items = append(items, c)
	}
}

// Each walks all calls that the filter chooses, page by page. An error ends the walk.
func (t *Table) Each(f ownership.CallFilter) iter.Seq2[ownership.Call, error] {
	return func(yield func(ownership.Call, error) bool) {
		for cursor := ""; ; {
			calls, next, err := t.Calls(f, cursor, 0)
			if err != nil {
				yield(ownership.Call{}, err)
				return
			}
			for _, c := range calls {
				if !yield(c, nil) {
					return
				}
			}
			if cursor = next; cursor == "" {
				return
			}
		}
	}
}

// callScan walks calls by id over the file and what is yet to be written to it,
// without the table's lock.
type callScan struct {
	filter ownership.CallFilter
	roster *roster // as it was when the scan began
	tx     *bbolt.Tx
	cursor *bbolt.Cursor
	only   []string // the only ids to look at; nil: all
	after  string

	key, value []byte // the file's next record
	pending    []pendingCall
}

type pendingCall struct {
	id    string
	value []byte // nil: forgotten
}

// scan begins after the cursor. Nothing of it changes any more once freeze is done.
func (t *Table) scan(f ownership.CallFilter, cursor string) (*callScan, error) {
	s := &callScan{filter: f, after: cursor}
	chosen, err := t.freeze(s)
	if err != nil {
		return nil, err
	}
	if chosen != nil {
		s.only = make([]string, 0, len(chosen))
		for i := range chosen {
			if id := string(chosen[i].ID()); id > cursor {
				s.only = append(s.only, id)
			}
		}
		slices.Sort(s.only)
	}
	s.pending = slices.DeleteFunc(s.pending, func(p pendingCall) bool { return p.id <= cursor })
	// Stable: of two changes of one call the later batch's comes second and wins.
	sort.SliceStable(s.pending, func(i, j int) bool { return s.pending[i].id < s.pending[j].id })
	s.cursor = s.tx.Bucket(bucketCalls).Cursor()
	if s.only == nil {
		s.key, s.value = s.cursor.Seek([]byte(cursor))
		if string(s.key) == cursor {
			s.key, s.value = s.cursor.Next()
		}
	}
	return s, nil
}

// freeze takes what a scan looks at while the table stays as it is: with the lock
// held it only copies, for an act may wait for it.
func (t *Table) freeze(s *callScan) (chosen []index.Name, err error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return nil, ErrClosed
	}
	s.roster = t.roster.Load()
	if s.filter.Partition != 0 || s.filter.Group != "" {
		chosen = t.preselect(s.filter)
	}
	for _, b := range append(slices.Clip(t.sealed), t.dirty) {
		for id, v := range b.calls {
			s.pending = append(s.pending, pendingCall{string(id), v})
		}
	}
	s.tx, err = t.db.Begin(false)
	return chosen, err
}

// preselect returns the calls that a partition or a group can have, by the index; nil:
// any. A group knows its live calls only, so it preselects only for a live state.
// The index knows when a call was heard of last, down to a second.
func (t *Table) preselect(f ownership.CallFilter) []index.Name {
	out := []index.Name{}
	add := func(ref uint32) { out = append(out, t.st.calls.Name(ref)) }
	switch {
	case f.Partition != 0:
		if p, ok := t.st.parts[f.Partition]; ok {
			t.st.inPartition(p, func(ref uint32, e *index.Entry) {
				if !f.Heard(e.State, readSeconds(e.Active)) {
					add(ref)
				}
			})
		}
	case f.State.Live():
		t.st.calls.InGroup(f.Group, add)
	default:
		return nil
	}
	return out
}

func (s *callScan) close() { _ = s.tx.Rollback() } // of a read transaction: it cannot fail

// next returns the next record by id; nil: there are no more.
func (s *callScan) next() (key, value []byte) {
	if s.only != nil {
		return s.nextChosen()
	}
	for len(s.pending) > 0 {
		order := -1
		if s.key != nil {
			order = bytes.Compare([]byte(s.pending[0].id), s.key)
		}
		if order > 0 {
			break
		}
		if order == 0 { // the pending one replaces the file's
			s.key, s.value = s.cursor.Next()
		}
		if id, v := s.takePending(); v != nil {
			return []byte(id), v
		}
	}
	key, value = s.key, s.value
	s.key, s.value = s.cursor.Next()
	return key, value
}

// takePending returns the newest pending record of the next id.
func (s *callScan) takePending() (string, []byte) {
	last := 0
	for last+1 < len(s.pending) && s.pending[last+1].id == s.pending[0].id {
		last++
	}
	p := s.pending[last]
	s.pending = s.pending[last+1:]
	return p.id, p.value
}

func (s *callScan) nextChosen() (key, value []byte) {
	for len(s.only) > 0 {
		id := s.only[0]
		s.only = s.only[1:]
		for len(s.pending) > 0 && s.pending[0].id < id {
			s.takePending()
		}
		if len(s.pending) > 0 && s.pending[0].id == id {
			_, value = s.takePending()
		} else {
			value = s.tx.Bucket(bucketCalls).Get([]byte(id))
		}
		if value != nil {
			return []byte(id), value
		}
	}
	return nil, nil
}

// read returns the call if the filter chooses it.
func (s *callScan) read(key, value []byte) (ownership.Call, bool, error) {
	content, err := record.Unseal(key, value)
	if err != nil {
		return ownership.Call{}, false, err
	}
	k, err := record.HeadOf(content)
	if err != nil {
		return ownership.Call{}, false, files.Damage("reading call %s: %w", key, err)
	}
	p := s.roster.parts[k.Partition]
	if p == nil {
		return ownership.Call{}, false, files.Damage("call %s is in partition %d, which is not there", key, k.Partition)
	}
	f := &s.filter
	at := p.rec.Stands(k.State, k.Pinned, ownership.AppID(k.App), k.Epoch)
	if f.State != 0 && at.State != f.State || f.Partition != 0 && k.Partition != f.Partition || f.Node != "" && at.Owner != f.Node {
		return ownership.Call{}, false, nil
	}
	if f.Group != "" && !slices.Contains(k.Groups, f.Group) {
		return ownership.Call{}, false, nil
	}
	c, err := record.CallOf(content)
	if err != nil {
		return ownership.Call{}, false, files.Damage("reading call %s: %w", key, err)
	}
	stand(&c, &p.rec)
	if f.Heard(c.State, c.SeenAt) {
		return ownership.Call{}, false, nil
	}
	return c, (f.Tenant == "" || c.Tenant == f.Tenant) && (f.App == "" || c.App == f.App), nil
}

// pendingCall returns the record of a call that waits for the file; the lock is
// held. A nil value with true: it was forgotten.
func (t *Table) pendingCall(id ownership.CallID) ([]byte, bool) {
	if v, ok := t.dirty.calls[id]; ok {
		return v, true
	}
	for _, b := range slices.Backward(t.sealed) {
		if v, ok := b.calls[id]; ok {
			return v, true
		}
	}
	return nil, false
}
