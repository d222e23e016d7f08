package ownership

import (
	"cmp"
	"slices"
)

// Reassign spreads the partitions of a dead or departing node over the
// survivors, each with its epoch raised by one. Partitions go out heaviest
// first, each to the survivor whose load ends up lowest, so that one node does
// not inherit everything.
//
// Survivors are the active nodes with a lease and a healthy bot; if there are
// none, the draining ones with both. Capacity does not refuse here: a live call
// on an overfull node is better off than one without an owner. With no survivor
// at all the result is empty, the partitions stay where they are, and the
// caller asks again when a node is back.
func Reassign(v View, dead NodeID, fit map[NodeID]Fitness) []Reassignment {
	heirs := survivors(v, dead, fit)
	if len(heirs) == 0 {
		return nil
	}
	estate := slices.DeleteFunc(slices.Clone(v.PartitionsOf(dead)), func(p Partition) bool { return p.Retired })
	slices.SortFunc(estate, func(a, b Partition) int {
		return cmp.Or(cmp.Compare(b.Live, a.Live), cmp.Compare(a.ID, b.ID))
	})
	moves := make([]Reassignment, 0, len(estate))
	for _, p := range estate {
		to := lightestWith(heirs, p)
		heirs[to].inherit(p)
		moves = append(moves, Reassignment{Partition: p.ID, From: dead, To: heirs[to].id, Epoch: p.Epoch + 1})
	}
	slices.SortFunc(moves, func(a, b Reassignment) int { return cmp.Compare(a.Partition, b.Partition) })
	return moves
}

// Heir gives the node that takes one partition in a planned hand-over: of the
// active nodes with a lease and a healthy bot, other than its owner, the one
// that is loaded least once it has the partition too. false: there is none. A
// draining node never inherits here: it is about to hand over itself.
func Heir(v View, p Partition, fit map[NodeID]Fitness) (NodeID, bool) {
	heirs := slices.DeleteFunc(survivors(v, p.Owner, fit), func(s standing) bool { return s.state != NodeActive })
	if len(heirs) == 0 {
		return "", false
	}
	return heirs[lightestWith(heirs, p)].id, true
}

// survivors gives the nodes that may inherit, by id.
func survivors(v View, dead NodeID, fit map[NodeID]Fitness) []standing {
	var active, draining []standing
	for _, s := range standings(v, fit) {
		if s.id == dead || !s.fit.Leased || !s.fit.Bot {
			continue
		}
		switch s.state {
		case NodeActive:
			active = append(active, s)
		case NodeDraining:
			draining = append(draining, s)
		}
	}
	if len(active) > 0 {
		return active
	}
	return draining
}

// lightestWith gives the index of the heir that is loaded least once it has the
// partition too; ties by the rendezvous hash of the partition.
func lightestWith(heirs []standing, p Partition) int {
	best, bestScore := 0, heirs[0].scoreWith(weight(p))
	for i := 1; i < len(heirs); i++ {
		score := heirs[i].scoreWith(weight(p))
		if score < bestScore ||
			score == bestScore && rendezvous(heirs[i].hash, uint64(p.ID)) > rendezvous(heirs[best].hash, uint64(p.ID)) {
			best, bestScore = i, score
		}
	}
	return best
}

// weight is what a partition adds to its heir: its live calls, and one for
// itself, so that empty partitions spread as well.
func weight(p Partition) int { return p.Live + 1 }

func (s *standing) inherit(p Partition) { s.live += weight(p) }
