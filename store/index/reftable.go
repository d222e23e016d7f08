package index

import "math/bits"

// refTable finds things of an arena by their hash: open addressing with linear
// probing over plain numbers, so that the garbage collector has nothing to look
// at. It is cut into 256 parts that grow by themselves: growing one moves
// thousands of numbers, not millions. Reference 0 means "none".
//
// It holds no hashes and no keys: the caller gives the hash of what it looks
// for, says what matches, and can give the hash of any reference in the table.
type refTable struct {
	parts  [256]refPart
	hashOf func(ref uint32) uint64
}

type refPart struct {
	slots []uint32
	used  int
}

const (
	firstSlots  = 8
	loadNum     = 4 // a part grows by half when it is more than 4/5 full
	loadDen     = 5
	hashSpread  = 0x9e3779b97f4a7c15 // 2^64 ÷ golden ratio
	lowHashBits = 56
)

func (t *refTable) part(hash uint64) *refPart { return &t.parts[hash>>lowHashBits] }

// home is the slot in which a hash should stand.
func (p *refPart) home(hash uint64) int {
	hi, _ := bits.Mul64(hash*hashSpread, uint64(len(p.slots)))
	return int(hi)
}

func (p *refPart) after(i int) int {
	if i++; i == len(p.slots) {
		return 0
	}
	return i
}

// find returns the reference with this hash that matches, or 0.
func (t *refTable) find(hash uint64, match func(ref uint32) bool) uint32 {
	p := t.part(hash)
	if p.used == 0 {
		return 0
	}
	for i := p.home(hash); ; i = p.after(i) {
		ref := p.slots[i]
		if ref == 0 || match(ref) {
			return ref
		}
	}
}

// put adds a reference that is not in the table.
func (t *refTable) put(hash uint64, ref uint32) {
	p := t.part(hash)
	if (p.used+1)*loadDen > len(p.slots)*loadNum {
		t.grow(p)
	}
	p.add(hash, ref)
}

func (p *refPart) add(hash uint64, ref uint32) {
	i := p.home(hash)
	for p.slots[i] != 0 {
		i = p.after(i)
	}
	p.slots[i] = ref
	p.used++
}

func (t *refTable) grow(p *refPart) {
	old := p.slots
	p.slots = make([]uint32, max(firstSlots, len(old)+len(old)/2))
	p.used = 0
	for _, ref := range old {
		if ref != 0 {
			p.add(t.hashOf(ref), ref)
		}
	}
}

// replace puts another reference with the same hash in the place of one.
func (t *refTable) replace(hash uint64, old, ref uint32) {
	p := t.part(hash)
	i := p.home(hash)
	for p.slots[i] != old {
		i = p.after(i)
	}
	p.slots[i] = ref
}

// remove takes a reference out and moves those behind it up, so that no probe
// meets a hole before what it looks for.
func (t *refTable) remove(hash uint64, ref uint32) {
	p := t.part(hash)
	i := p.home(hash)
	for p.slots[i] != ref {
		i = p.after(i)
	}
	p.used--
	for j := p.after(i); p.slots[j] != 0; j = p.after(j) {
		if !between(p.home(t.hashOf(p.slots[j])), i, j) {
			p.slots[i] = p.slots[j]
			i = j
		}
	}
	p.slots[i] = 0
}

// between reports whether slot h lies in the ring after i and up to j.
func between(h, i, j int) bool {
	if i <= j {
		return i < h && h <= j
	}
	return i < h || h <= j
}
