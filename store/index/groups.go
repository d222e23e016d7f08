package index

import (
	"github.com/cespare/xxhash/v2"

	"tandem/ownership"
)

// Groups say which live calls belong together. A claim asks for what its group
// looks like, and a meeting may have thousands of calls: the members of a group are
// kept in bundles of those that placement need not tell apart, and a claim visits
// the first member of each bundle only. To join or to leave costs as little.
//
// What a group looks like decides where calls go, so it must be the same on every
// node, however often one was restarted: a group is its hash, of 64 bits and
// without a seed, and a bundle's size and likeness follow from its members alone.
// The order of bundles and of members follows from nothing: nobody may rely on it.

// member says that a live call belongs to a group: 24 bytes.
type member struct {
	hash    uint64 // of the group, see groupHash
	call    uint32
	sibling uint32 // next membership of the same call
	next    uint32 // of a bundle's first: the next bundle's first; else the bundle's next
	down    uint32 // see below
}

// The field down of a bundle's first member is its second. That of the second is
// how many there are from it on, and that of any other the one before it.

// What a group is of stands in the lowest bits of its hash.
const (
	groupPlain  uint64 = iota // calls with one key
	groupChain                // calls of one call chain
	groupPerson               // those of them that observe one person
	groupBits   uint64 = 3
)

// groupHash names a group: the calls that carry the key, and of a chain, if
// observed is not empty, those that observe that person.
func groupHash(key ownership.GroupKey, observed string) uint64 {
	kind := groupPlain
	if key.IsChain() {
		kind = groupChain
	}
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(string(key))
	if observed != "" {
		kind = groupPerson
		_, _ = d.Write([]byte{0})
		_, _ = d.WriteString(observed)
	}
	return d.Sum64()&^groupBits | kind
}

// likeness is what the members of one bundle have in common.
type likeness struct {
	partition uint32
	state     ownership.CallState
	flags     uint8
	app       uint32
	rings     uint32
	epoch     ShortEpoch
}

// likeness returns what counts of a call in a group. Who acts for an answered call
// with media of its own follows from its epoch and app, see Partition.Stands; all
// others are the owner's. The rest matters only in a chain.
func (e *Entry) likeness(group uint64) likeness {
	kind := group & groupBits
	l := likeness{partition: e.Partition}
	held := e.State == ownership.CallAnswered && e.Flags&Pinned != 0
	if held {
		l.state, l.flags, l.epoch = e.State, Pinned, e.Epoch
	}
	if kind != groupPlain {
		l.state = e.State
		l.flags |= e.Flags & (Paired | Observes)
		if e.State == ownership.CallClaimed {
			l.rings = e.Rings
		}
	}
	if held || kind == groupPerson && e.State == ownership.CallClaimed {
		l.app = e.App
	}
	return l
}

// JoinGroups puts a live call into the groups of its keys; observed is whom it
// observes.
func (x *Index) JoinGroups(call uint32, keys []ownership.GroupKey, observed string) {
	for _, key := range keys {
		x.joinGroup(call, groupHash(key, ""))
		if observed != "" && key.IsChain() {
			x.joinGroup(call, groupHash(key, observed))
		}
	}
}

// joinGroup puts a call into a group; a second time it does nothing.
func (x *Index) joinGroup(call uint32, hash uint64) {
	e := x.calls.at(call)
	for ref := e.member; ref != 0; ref = x.members.at(ref).sibling {
		if x.members.at(ref).hash == hash {
			return
		}
	}
	ref, m := x.members.take()
	*m = member{hash: hash, call: call, sibling: e.member}
	e.member = ref
	x.bind(ref, m)
}

// LeaveGroups takes the call out of all groups: it is no longer live.
func (x *Index) LeaveGroups(call uint32) {
	e := x.calls.at(call)
	for ref := e.member; ref != 0; {
		m := x.members.at(ref)
		next := m.sibling
		x.unbind(ref, m)
		x.members.give(ref)
		ref = next
	}
	e.member = 0
}

// Regroup lets change alter what counts of a call in its groups: its state, epoch
// or flags must not change in any other way.
func (x *Index) Regroup(call uint32, change func(e *Entry)) {
	e := x.calls.at(call)
	for ref := e.member; ref != 0; ref = x.members.at(ref).sibling {
		x.unbind(ref, x.members.at(ref))
	}
	change(e)
	for ref := e.member; ref != 0; ref = x.members.at(ref).sibling {
		x.bind(ref, x.members.at(ref))
	}
}

func (x *Index) bind(ref uint32, m *member) {
	head, _ := x.bundleOf(m)
	m.next, m.down = 0, 0
	if head == 0 {
		if first := x.firstMember(m.hash); first == 0 {
			x.groups.put(m.hash, ref)
		} else {
			f := x.members.at(first)
			m.next, f.next = f.next, ref
		}
		return
	}
	h := x.members.at(head)
	m.next, m.down = h.down, 1
	if h.down != 0 {
		second := x.members.at(h.down)
		m.down += second.down
		second.down = ref
	}
	h.down = ref
}

func (x *Index) unbind(ref uint32, m *member) {
	head, before := x.bundleOf(m)
	h := x.members.at(head)
	switch {
	case head == ref:
		heir := m.next // the next bundle
		if m.down != 0 {
			heir = m.down
			x.promote(m)
		}
		switch {
		case before != 0:
			x.members.at(before).next = heir
		case heir != 0:
			x.groups.replace(m.hash, ref, heir)
		default:
			x.groups.remove(m.hash, ref)
		}
	case h.down == ref:
		h.down = m.next
		if m.next != 0 {
			x.members.at(m.next).down = m.down - 1
		}
	default:
		x.members.at(h.down).down--
		x.members.at(m.down).next = m.next
		if m.next != 0 {
			x.members.at(m.next).down = m.down
		}
	}
}

func (x *Index) promote(first *member) {
	second := x.members.at(first.down)
	left := second.down - 1
	second.down, second.next = second.next, first.next
	if left > 0 {
		x.members.at(second.down).down = left
	}
}

// bundleOf returns the first member of the bundle that a member belongs to, and of
// the bundle before; 0: there is none yet.
func (x *Index) bundleOf(m *member) (head, before uint32) {
	like := x.calls.at(m.call).likeness(m.hash)
	for ref := x.firstMember(m.hash); ref != 0; {
		h := x.members.at(ref)
		if x.calls.at(h.call).likeness(h.hash) == like {
			return ref, before
		}
		before, ref = ref, h.next
	}
	return 0, 0
}

func (x *Index) firstMember(hash uint64) uint32 {
	return x.groups.find(hash, func(ref uint32) bool { return x.members.at(ref).hash == hash })
}

// Bundles calls f with one call of each bundle of a group, see groupHash, and the
// bundle's size.
func (x *Index) Bundles(key ownership.GroupKey, observed string, f func(e *Entry, size int)) {
	hash := groupHash(key, observed)
	for ref := x.firstMember(hash); ref != 0; {
		m := x.members.at(ref)
		size := 1
		if m.down != 0 {
			size += int(x.members.at(m.down).down)
		}
		f(x.calls.at(m.call), size)
		ref = m.next
	}
}

// InGroup calls f with each call that may carry the key: two keys may share a hash,
// if hardly ever, so who shows a group's calls looks at their records.
func (x *Index) InGroup(key ownership.GroupKey, f func(call uint32)) {
	for head := x.firstMember(groupHash(key, "")); head != 0; {
		h := x.members.at(head)
		f(h.call)
		for ref := h.down; ref != 0; {
			m := x.members.at(ref)
			f(m.call)
			ref = m.next
		}
		head = h.next
	}
}
