package store

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"tandem/ledger"
	"tandem/ownership"
	"tandem/store/files"
	"tandem/store/record"
)

// upperLevel is from which level on the roots of subtrees stand in memory. Those below
// are made of at most 2^upperLevel records when a proof needs them.
const upperLevel = 6

// ledgerState is what stands in memory of the ledger. All of it follows from the
// records, so that nothing of the tree is ever stored that could contradict them.
type ledgerState struct {
	tree  ledger.Tree
	upper map[ledger.Subtree]ledger.Hash
	gone  uint64 // entries that were deleted
	// Entries that are still there, by number: those of calls that ended as calls do, which
	// go earlier, and all others.
	ended, others []dated
}

// dated is an entry's number and its time, in nanoseconds.
type dated struct {
	n  uint64
	at int64
}

// push puts a record's root behind the tree. The error is files.ErrDamaged.
func (s *ledgerState) push(level int, root ledger.Hash) error {
	err := s.tree.Push(level, root, func(at ledger.Subtree, root ledger.Hash) {
		if at.Level >= upperLevel {
			if s.upper == nil {
				s.upper = map[ledger.Subtree]ledger.Hash{}
			}
			s.upper[at] = root
		}
	})
	if err != nil {
		return files.Damage("the ledger: %w", err)
	}
	return nil
}

// note takes an entry that is there among those that will have to go.
func (s *ledgerState) note(n uint64, at time.Time, kind ledger.Kind) {
	list := &s.others
	if kind == ledger.Ended {
		list = &s.ended
	}
	*list = append(*list, dated{n, nanoseconds(at)})
}

// nanoseconds is a time that can be compared, also a zero one.
func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// dead reports whether every entry of a subtree is there and was deleted.
func (s *ledgerState) dead(at ledger.Subtree) bool {
	first, end := at.First(), at.First()+at.Count()
	if end > s.tree.Size() {
		return false
	}
	for _, list := range [][]dated{s.ended, s.others} {
		i, _ := slices.BinarySearchFunc(list, first, func(d dated, n uint64) int {
			switch {
			case d.n < n:
				return -1
			case d.n > n:
				return 1
			}
			return 0
		})
		if i < len(list) && list[i].n < end {
			return false
		}
	}
	return true
}

// load takes one record on its way from the file, where they stand in their order.
func (s *ledgerState) load(key, value []byte) error {
	leaf, err := record.ReadLeaf(key, value)
	if err != nil {
		return err
	}
	if leaf.First != s.tree.Size() {
		return files.Damage("the ledger has entry %d where entry %d must stand", leaf.First, s.tree.Size())
	}
	if leaf.Line == nil {
		if err := s.push(leaf.Level, leaf.Root); err != nil {
			return err
		}
		s.gone += ledger.Subtree{Level: leaf.Level}.Count()
		return nil
	}
	n, at, kind, err := ledger.Glance(leaf.Line)
	if err != nil || n != leaf.First {
		return files.Damage("entry %d of the ledger calls itself %d: %w", leaf.First, n, err)
	}
	s.note(n, at, kind)
	return s.push(0, leaf.Root)
}

// Ledger is the region's ledger as it was at one moment. Close it when done: until then
// bbolt keeps the pages that it reads.
type Ledger struct {
	t       *Table
	tree    ledger.Tree
	gone    uint64
	keep    ownership.Keep
	refused refusedLately
	tx      *bbolt.Tx
	numbers []uint64 // of pending, in order
	pending map[uint64][]byte
}

// Ledger returns the region's ledger as it is now.
func (t *Table) Ledger() (*Ledger, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return nil, ErrClosed
	}
	l := &Ledger{t: t, tree: t.st.ledger.tree.Clone(), gone: t.st.ledger.gone, keep: t.st.keep, refused: t.st.refused, pending: map[uint64][]byte{}}
	for _, b := range append(slices.Clip(t.sealed), t.dirty) {
		for n, v := range b.ledger {
			l.pending[n] = v
		}
	}
	for n := range l.pending {
		l.numbers = append(l.numbers, n)
	}
	slices.Sort(l.numbers)
	tx, err := t.db.Begin(false)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	l.tx = tx
	return l, nil
}

// Close lets go of the file.
func (l *Ledger) Close() { _ = l.tx.Rollback() } // of a read transaction: it cannot fail

// Size is the number of entries that were ever written, and Gone how many of them were
// deleted.
func (l *Ledger) Size() uint64 { return l.tree.Size() }

// Gone is how many entries were deleted by policy.
func (l *Ledger) Gone() uint64 { return l.gone }

// Root is the hash over all entries.
func (l *Ledger) Root() ledger.Hash { return l.tree.Root() }

// Keep is how long entries are kept.
func (l *Ledger) Keep() ownership.Keep { return l.keep }

// Walk calls f with the records from an entry on, in their order, until f has enough; one
// that begins before and holds the entry is among them. Lines live until f returns.
func (l *Ledger) Walk(from uint64, f func(record.Leaf) (bool, error)) error {
	return l.walk(from, func(key, value []byte) (bool, error) {
		leaf, err := record.ReadLeaf(key, value)
		if err != nil {
			return false, fmt.Errorf("reading the ledger: %w", err)
		}
		if leaf.Line == nil && leaf.First+(ledger.Subtree{Level: leaf.Level}).Count() <= from {
			return true, nil
		}
		return f(leaf)
	})
}

// WalkBack is Walk from the last record that begins before an entry back to the first. Lines
// live until Close.
func (l *Ledger) WalkBack(before uint64, f func(record.Leaf) (bool, error)) error {
	return l.walkBack(before, 1024, f)
}

// walkBack reads a piece of so many numbers at a time, for walk only goes forwards.
func (l *Ledger) walkBack(before, piece uint64, f func(record.Leaf) (bool, error)) error {
	for before > 0 {
		from, to := before-min(before, piece), before
		var leaves []record.Leaf
		if err := l.Walk(from, func(leaf record.Leaf) (bool, error) {
			if leaf.First < to {
				leaves = append(leaves, leaf)
			}
			return leaf.First < to, nil
		}); err != nil {
			return err
		}
		before = from
		for _, leaf := range slices.Backward(leaves) {
			if more, err := f(leaf); err != nil || !more {
				return err
			}
			before = min(before, leaf.First) // a record of deleted entries may reach back further
		}
	}
	return nil
}

// walk merges the file and what waits for it. It begins with the last record at or
// before from.
func (l *Ledger) walk(from uint64, f func(key, value []byte) (bool, error)) error {
	from = l.at(from)
	i, _ := slices.BinarySearch(l.numbers, from)
	waiting := l.numbers[i:]
	var c *bbolt.Cursor
	var key, value []byte
	if b := l.tx.Bucket(bucketLedger); b != nil {
		c = b.Cursor()
		key, value = c.Seek(record.LedgerKey(from))
	}
	for key != nil || len(waiting) > 0 {
		if len(waiting) > 0 {
			mine := record.LedgerKey(waiting[0])
			if order := bytes.Compare(mine, key); key == nil || order <= 0 {
				v := l.pending[waiting[0]]
				waiting = waiting[1:]
				if order == 0 && key != nil {
					key, value = c.Next() // the pending one replaces the file's
				}
				if v == nil {
					continue
				}
				if more, err := f(mine, v); err != nil || !more {
					return err
				}
				continue
			}
		}
		if more, err := f(key, value); err != nil || !more {
			return err
		}
		key, value = c.Next()
	}
	return nil
}

// at is where the record begins that holds an entry.
func (l *Ledger) at(n uint64) uint64 {
	for level := range ledger.MaxLevel {
		first := n >> level << level
		if value := l.value(first); value != nil {
			return first
		}
	}
	return n
}

func (l *Ledger) value(n uint64) []byte {
	if v, ok := l.pending[n]; ok {
		return v
	}
	if b := l.tx.Bucket(bucketLedger); b != nil {
		return b.Get(record.LedgerKey(n))
	}
	return nil
}

// Entry returns an entry's line. The error is ownership.ErrUnknown for one that was deleted or not
// yet written.
func (l *Ledger) Entry(n uint64) ([]byte, error) {
	leaf, err := l.leaf(n)
	switch {
	case err != nil:
		return nil, err
	case leaf.Line == nil:
		return nil, fmt.Errorf("entry %d was deleted by policy: %w", n, ownership.ErrUnknown)
	}
	return bytes.Clone(leaf.Line), nil
}

func (l *Ledger) leaf(n uint64) (record.Leaf, error) {
	first := l.at(n)
	value := l.value(first)
	if value == nil || n >= l.Size() {
		return record.Leaf{}, fmt.Errorf("the ledger has no entry %d: %w", n, ownership.ErrUnknown)
	}
	leaf, err := record.ReadLeaf(record.LedgerKey(first), value)
	if err != nil {
		return leaf, fmt.Errorf("reading the ledger: %w", err)
	}
	return leaf, nil
}

// Subroot is the root of a whole subtree, for proofs. The error says when it cannot be
// known any more, for it lies within one that was deleted.
func (l *Ledger) Subroot(at ledger.Subtree) (ledger.Hash, error) {
	if at.Level >= upperLevel {
		if root, ok := l.t.upperRoot(at); ok {
			return root, nil
		}
	}
	leaf, err := l.leaf(at.First())
	switch {
	case err != nil:
		return ledger.Hash{}, err
	case leaf.Level > at.Level:
		return ledger.Hash{}, fmt.Errorf("the entries around %d were deleted, and what is left of them does not tell: %w", at.First(), ownership.ErrUnknown)
	case leaf.Line == nil && leaf.Level == at.Level, at.Level == 0:
		return leaf.Root, nil
	}
	left, err := l.Subroot(ledger.Subtree{Level: at.Level - 1, Index: at.Index * 2})
	if err != nil {
		return left, err
	}
	right, err := l.Subroot(ledger.Subtree{Level: at.Level - 1, Index: at.Index*2 + 1})
	if err != nil {
		return right, err
	}
	return ledger.NodeHash(left, right), nil
}

func (t *Table) upperRoot(at ledger.Subtree) (ledger.Hash, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	root, ok := t.st.ledger.upper[at]
	return root, ok
}

// records gives the sealed records for a snapshot.
func (l *Ledger) records(put func(key, value []byte) error) error {
	return l.walk(0, func(key, value []byte) (bool, error) {
		if _, err := record.Unseal(key, value); err != nil {
			return false, files.Damage("the ledger: %w", err)
		}
		return true, put(key, value)
	})
}
