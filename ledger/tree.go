package ledger

import (
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// Hash is a hash of the tree, SHA-256.
type Hash = tlog.Hash

// HashOf is the hash of an entry's line.
func HashOf(line []byte) Hash { return tlog.RecordHash(line) }

// NodeHash is the root of a subtree, out of those of its halves.
func NodeHash(left, right Hash) Hash { return tlog.NodeHash(left, right) }

// MaxLevel is the highest level of a subtree; one of level l has 2^l entries.
const MaxLevel = 48

// Subtree is a whole subtree: the entries from Index<<Level on, 1<<Level of them.
type Subtree struct {
	Level int
	Index uint64
}

// First is the number of its first entry.
func (s Subtree) First() uint64 { return s.Index << s.Level }

// Count is how many entries it has.
func (s Subtree) Count() uint64 { return 1 << s.Level }

// Parent is the subtree that it is a half of, and Sibling the other half.
func (s Subtree) Parent() Subtree { return Subtree{s.Level + 1, s.Index >> 1} }

// Sibling is the other half of its parent.
func (s Subtree) Sibling() Subtree { return Subtree{s.Level, s.Index ^ 1} }

// Tree is what has to be known of a tree to make it grow: the roots of its whole
// subtrees, from the left. The zero Tree is empty. It holds at most MaxLevel hashes.
type Tree struct {
	size uint64
	edge []rooted
}

type rooted struct {
	level int
	root  Hash
}

// Size is the number of entries.
func (t *Tree) Size() uint64 { return t.size }

// Clone is a tree that grows by itself.
func (t *Tree) Clone() Tree { return Tree{t.size, slices.Clone(t.edge)} }

// Push puts a whole subtree behind all that is there; of level 0, an entry. made, if it is not nil,
// gets the root of each subtree that becomes whole by it, itself included. The error
// says that a subtree of that size cannot begin here.
func (t *Tree) Push(level int, root Hash, made func(Subtree, Hash)) error {
	if level < 0 || level >= MaxLevel || t.size&(1<<level-1) != 0 || t.size+1<<level > MaxEntries {
		return fmt.Errorf("no subtree of level %d begins at entry %d", level, t.size)
	}
	at := Subtree{level, t.size >> level}
	t.size += at.Count()
	t.edge = append(t.edge, rooted{level, root})
	for {
		if made != nil {
			made(at, root)
		}
		last := len(t.edge) - 1
		if last == 0 || t.edge[last-1].level != t.edge[last].level {
			return nil
		}
		at, root = at.Parent(), NodeHash(t.edge[last-1].root, t.edge[last].root)
		t.edge = append(t.edge[:last-1], rooted{at.Level, root})
	}
}

// Root is the hash over all entries.
func (t *Tree) Root() Hash {
	if len(t.edge) == 0 {
		empty, _ := tlog.TreeHash(0, nil) // of nothing, so nothing is read
		return empty
	}
	root := t.edge[len(t.edge)-1].root
	for _, sub := range slices.Backward(t.edge[:len(t.edge)-1]) {
		root = NodeHash(sub.root, root)
	}
	return root
}

// Roots gives the root of a whole subtree.
type Roots func(Subtree) (Hash, error)

// ReadHashes implements tlog.HashReader.
func (r Roots) ReadHashes(indexes []int64) ([]Hash, error) {
	out := make([]Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		var err error
		if out[i], err = r(Subtree{level, uint64(n)}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Prove makes the proof that the n-th of size entries is what the head over them says.
func Prove(size, n uint64, roots Roots) ([]Hash, error) {
	if n >= size || size > MaxEntries {
		return nil, fmt.Errorf("proving entry %d of %d: there is none", n, size)
	}
	return tlog.ProveRecord(int64(size), int64(n), roots)
}

// ProveGrowth makes the proof that a ledger of size entries begins with one of before.
func ProveGrowth(size, before uint64, roots Roots) ([]Hash, error) {
	if before == 0 || before > size || size > MaxEntries {
		return nil, fmt.Errorf("proving that a ledger of %d entries begins with one of %d: it cannot", size, before)
	}
	return tlog.ProveTree(int64(size), int64(before), roots)
}
