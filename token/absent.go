package token

import "hash/maphash"

// maxAbsent bounds the key ids that are remembered of each fetch. A flood of others
// gets 503 meanwhile: it is in doubt, and costs its sender as much.
const maxAbsent = 8192

// absentSeed makes the hashes of key ids nobody's to foresee.
var absentSeed = maphash.MakeSeed()

// absent remembers which key ids are known to be in no set: those that were asked
// for before a fetch began, and that it did not bring. Whether a set has a key is
// looked up before, so what a later fetch brings need not be taken out here. It
// keeps hashes, of the last two fetches.
type absent struct {
	asked   map[uint64]struct{} // since the last fetch began
	sought  map[uint64]struct{} // what the fetch in flight is to settle
	settled [2]map[uint64]struct{}
}

// ask notes an id, and tells whether it is known to be absent.
func (a *absent) ask(id string) bool {
	if id == "" {
		return false
	}
	h := maphash.String(absentSeed, id)
	if a.asked == nil {
		a.asked = map[uint64]struct{}{}
	}
	if len(a.asked) < maxAbsent {
		a.asked[h] = struct{}{}
	}
	for _, gen := range a.settled {
		if _, ok := gen[h]; ok {
			return true
		}
	}
	return false
}

// look says that a fetch begins.
func (a *absent) look() { a.sought, a.asked = a.asked, nil }

// looked says that the fetch has ended. One that failed settles nothing.
func (a *absent) looked(ok bool) {
	if ok && len(a.sought) > 0 {
		a.settled = [2]map[uint64]struct{}{a.sought, a.settled[0]}
	}
	a.sought = nil
}
