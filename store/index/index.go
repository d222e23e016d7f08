// Package index is what stands in memory of every call: where it is, how it stands
// and which groups it belongs to. Whole records are elsewhere.
package index

import (
	"encoding/hex"
	"hash/maphash"
	"maps"
	"strings"

	"tandem/ownership"
)

// Index is what routing needs of every call, in memory and without pointers:
// one million calls must cost neither 100 MB nor the garbage collector's time.
//
// A call id of 32 hexadecimal digits, which is what the cloud sends, is kept as
// its 16 bytes; any other id stands whole in a map beside the index. The full
// record is in table.db, or among what is yet to be written there.
//
// The index follows the table's lock.
type Index struct {
	calls arena[Entry]
	byID  refTable // GUID-like ids
	seed  maphash.Seed

	odd   map[ownership.CallID]uint32 // other ids
	oddID map[uint32]ownership.CallID

	apps    []ownership.AppID // by number
	numbers map[ownership.AppID]uint32

	members arena[member]
	groups  refTable // first member of each group
}

// Entry is one call: 52 bytes.
type Entry struct {
	key       [16]byte
	Partition uint32
	Next      uint32 // in its partition's ring of calls
	Prev      uint32
	member    uint32 // first of its memberships
	Active    uint32 // last activity, Unix seconds
	App       uint32 // its number, see Index.Number
	Rings     uint32 // until when a claimed one rings, see ownership.RingsUntil; Unix seconds
	Epoch     ShortEpoch
	State     ownership.CallState
	Flags     uint8
}

// ShortEpoch is an epoch in 48 bits: one change of owner a millisecond would take
// nine thousand years to count that far.
type ShortEpoch [3]uint16

// Shorten packs an epoch.
func Shorten(e ownership.Epoch) ShortEpoch {
	return ShortEpoch{uint16(e), uint16(e >> 16), uint16(e >> 32)}
}

// Long unpacks it.
func (e ShortEpoch) Long() ownership.Epoch {
	return ownership.Epoch(e[0]) | ownership.Epoch(e[1])<<16 | ownership.Epoch(e[2])<<32
}

// The flags of an entry.
const (
	Pinned   uint8 = 1 << iota // its media are on its node
	odd                        // the key is not the id
	Paired                     // its payload names paired recorders
	Observes                   // it observes somebody
)

// New returns an empty index.
func New() *Index {
	x := &Index{
		seed: maphash.MakeSeed(), odd: map[ownership.CallID]uint32{}, oddID: map[uint32]ownership.CallID{},
		numbers: map[ownership.AppID]uint32{},
	}
	x.byID.hashOf = func(ref uint32) uint64 { return x.hash(x.calls.at(ref).key) }
	x.groups.hashOf = func(ref uint32) uint64 { return x.members.at(ref).hash }
	return x
}

// guidKey reads an id of 32 lower-case hexadecimal digits.
func guidKey(id ownership.CallID) (key [16]byte, ok bool) {
	if len(id) != 32 || strings.ToLower(string(id)) != string(id) {
		return key, false
	}
	_, err := hex.Decode(key[:], []byte(id))
	return key, err == nil
}

func (x *Index) hash(key [16]byte) uint64 { return maphash.Comparable(x.seed, key) }

// Find returns the reference of a call, or 0.
func (x *Index) Find(id ownership.CallID) uint32 {
	key, ok := guidKey(id)
	if !ok {
		return x.odd[id]
	}
	return x.byID.find(x.hash(key), func(ref uint32) bool { return x.calls.at(ref).key == key })
}

// Add puts in a call that is not there; the caller fills the entry.
func (x *Index) Add(id ownership.CallID) (uint32, *Entry) {
	ref, e := x.calls.take()
	if key, ok := guidKey(id); ok {
		e.key = key
		x.byID.put(x.hash(key), ref)
	} else {
		e.Flags |= odd
		x.odd[id], x.oddID[ref] = ref, id
	}
	return ref, e
}

// Drop takes a call out; its memberships and its partition's ring must have
// let go of it.
func (x *Index) Drop(ref uint32) {
	e := x.calls.at(ref)
	if e.Flags&odd != 0 {
		delete(x.odd, x.oddID[ref])
		delete(x.oddID, ref)
	} else {
		x.byID.remove(x.hash(e.key), ref)
	}
	x.calls.give(ref)
}

// At returns a call's entry.
func (x *Index) At(ref uint32) *Entry { return x.calls.at(ref) }

// ID returns a call's id.
func (x *Index) ID(ref uint32) ownership.CallID { return x.Name(ref).ID() }

// Name returns a call's id as the index has it, which costs only a copy.
func (x *Index) Name(ref uint32) Name {
	e := x.calls.at(ref)
	if e.Flags&odd != 0 {
		return Name{odd: x.oddID[ref]}
	}
	return Name{key: e.key}
}

// Name is a call's id as the index has it.
type Name struct {
	key [16]byte
	odd ownership.CallID // not empty: the id itself
}

// ID returns the id itself.
func (c Name) ID() ownership.CallID {
	if c.odd != "" {
		return c.odd
	}
	return ownership.CallID(hex.EncodeToString(c.key[:]))
}

// Number returns an app's number in this index. Apps are few, and calls many: a
// number keeps the entry small and without pointers.
func (x *Index) Number(app ownership.AppID) uint32 {
	n, ok := x.numbers[app]
	if !ok {
		n = uint32(len(x.apps))
		x.apps, x.numbers[app] = append(x.apps, app), n
	}
	return n
}

// NumberOf returns an app's number; false: no call was ever of it.
func (x *Index) NumberOf(app ownership.AppID) (uint32, bool) {
	n, ok := x.numbers[app]
	return n, ok
}

// App returns the app of a number.
func (x *Index) App(number uint32) ownership.AppID { return x.apps[number] }

// AllApps returns the numbers of all apps.
func (x *Index) AllApps() map[ownership.AppID]uint32 { return maps.Clone(x.numbers) }

// arena holds values in chunks and hands out references to them, from 1 on. A
// value keeps its place, so growing copies nothing.
type arena[T any] struct {
	chunks []*[chunkLen]T
	used   uint32   // references handed out so far
	free   []uint32 // given back
}

const chunkLen = 4096

func (a *arena[T]) at(ref uint32) *T {
	return &a.chunks[(ref-1)/chunkLen][(ref-1)%chunkLen]
}

// take returns a zeroed value.
func (a *arena[T]) take() (uint32, *T) {
	if n := len(a.free); n > 0 {
		ref := a.free[n-1]
		a.free = a.free[:n-1]
		return ref, a.at(ref)
	}
	if int(a.used) == len(a.chunks)*chunkLen {
		a.chunks = append(a.chunks, new([chunkLen]T))
	}
	a.used++
	return a.used, a.at(a.used)
}

func (a *arena[T]) give(ref uint32) {
	*a.at(ref) = *new(T)
	a.free = append(a.free, ref)
}
