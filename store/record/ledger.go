package record

import (
	"encoding/binary"

	"tandem/ledger"
	"tandem/ownership"
	"tandem/store/files"
	"tandem/store/tablepb"
)

// LedgerKey is the key of a record of the ledger: the number of its first entry.
func LedgerKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// SealEntry writes the record of an entry: its line.
func SealEntry(n uint64, line []byte) []byte { return SealBytes(LedgerKey(n), line) }

// SealGone writes the record of a subtree whose entries were deleted: its level and its root.
func SealGone(at ledger.Subtree, root ledger.Hash) []byte {
	return SealBytes(LedgerKey(at.First()), append([]byte{byte(at.Level)}, root[:]...))
}

// Leaf is a record of the ledger: an entry's line, or a subtree whose entries were deleted.
type Leaf struct {
	First uint64
	Line  []byte // lives as long as the record; nil: its entries were deleted
	Level int
	Root  ledger.Hash
}

// ReadLeaf reads a record of the ledger. The error is files.ErrDamaged. That a line is an
// entry's is for ledger.Decode to say.
func ReadLeaf(key, value []byte) (Leaf, error) {
	content, err := Unseal(key, value)
	if err != nil {
		return Leaf{}, err
	}
	if len(key) != 8 {
		return Leaf{}, files.Damage("an entry of the ledger has a key of %d bytes", len(key))
	}
	l := Leaf{First: binary.BigEndian.Uint64(key)}
	switch {
	case len(content) > 0 && content[0] == '{':
		l.Line, l.Root = content, ledger.HashOf(content)
	case len(content) == 1+len(l.Root):
		l.Level = int(content[0])
		copy(l.Root[:], content[1:])
	default:
		return l, files.Damage("entry %d of the ledger has %d bytes and is none", l.First, len(content))
	}
	return l, nil
}

func noteOut(a *ownership.Note, w *timeWriter) *tablepb.Note {
	return &tablepb.Note{
		At: w.ns(a.At), By: a.By, From: a.From, Action: a.Action, Subject: a.Subject, Status: int64(clampCount(a.Status)), Detail: a.Detail,
	}
}

func (r *reader) note(m *tablepb.Note) ownership.Act {
	known(r, m)
	return ownership.Note{
		At: Time(m.GetAt()), By: m.GetBy(), From: m.GetFrom(), Action: m.GetAction(), Subject: m.GetSubject(),
		Status: r.count(m.GetStatus(), "the status of a change"), Detail: m.GetDetail(),
	}
}

func setKeepOut(a *ownership.SetKeep, w *timeWriter) *tablepb.SetKeep {
	return &tablepb.SetKeep{At: w.ns(a.At), Days: int64(clampCount(a.Keep.Days)), EndedDays: int64(clampCount(a.Keep.EndedDays))}
}

func (r *reader) setKeep(m *tablepb.SetKeep) ownership.Act {
	known(r, m)
	return ownership.SetKeep{At: Time(m.GetAt()), Keep: ownership.Keep{
		Days: r.count(m.GetDays(), "the days of a ledger"), EndedDays: r.count(m.GetEndedDays(), "the days of a ledger"),
	}}
}
