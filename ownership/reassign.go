package ownership

import (
	"cmp"
	"math"
	"slices"
)

// Reassign spreads the partitions of a dead or departing node over the
// survivors, each with its epoch raised by one. Partitions go out heaviest
// first, each to the survivor whose load ends up lowest.
//
// From FormatReservations on every survivor gets its part of them: of n survivors
// none takes more than its share of the calls by capacity and one n-th of that,
// or one partition, while another has room; the same holds for the empty ones. The one that
// came back empty a moment ago would otherwise get everything: all calls of a node
// would come at one bot at once, and be lost with one.
//
// Survivors are the active nodes with a lease and a healthy bot; if there are
// none, the draining ones with both. Of them those go first, for a partition with
// calls, whose bots are well for each app of the dead node that has a healthy bot
// anywhere. Capacity does not refuse here: a live call on an overfull node is
// better off than one without an owner. With no survivor at all the result is
// empty, the partitions stay where they are, and the caller asks again when a
// node is back.
func Reassign(v View, dead NodeID, fit map[NodeID]Fitness) []Reassignment {
	heirs := survivors(v, dead, fit)
	if len(heirs) == 0 {
		return nil
	}
	estate := slices.DeleteFunc(slices.Clone(v.PartitionsOf(dead)), func(p Partition) bool { return p.Retired })
	slices.SortFunc(estate, func(a, b Partition) int {
		return cmp.Or(cmp.Compare(b.Live, a.Live), cmp.Compare(a.ID, b.ID))
	})
	if v.Format() >= FormatReservations {
		limit(heirs, estate)
	}
	moves := make([]Reassignment, 0, len(estate))
	for _, p := range estate {
		to := lightestWith(heirs, p)
		heirs[to].inherit(p)
		moves = append(moves, Reassignment{Partition: p.ID, From: dead, To: heirs[to].id, Epoch: p.Epoch + 1})
	}
	slices.SortFunc(moves, func(a, b Reassignment) int { return cmp.Compare(a.Partition, b.Partition) })
	return moves
}

// Heir returns the node that takes one partition in a planned hand-over: of the
// active nodes with a lease and a healthy bot, other than its owner, the one
// that is loaded least once it has the partition too. false: there is none. A
// draining node never inherits here: it is about to hand over itself.
func Heir(v View, p Partition, fit map[NodeID]Fitness) (NodeID, bool) {
	heirs := slices.DeleteFunc(survivors(v, p.Owner, fit), func(h heir) bool { return h.state != NodeActive })
	if len(heirs) == 0 {
		return "", false
	}
	return heirs[lightestWith(heirs, p)].id, true
}

// heir is a survivor and what it has inherited so far.
type heir struct {
	standing
	seat  seat
	well  bool   // its bots are well for what the dead node holds
	got   legacy // what it inherited
	limit legacy // what it should not exceed
}

// legacy is a part of an estate.
type legacy struct{ calls, partitions int }

// survivors returns the nodes that may inherit, by id.
func survivors(v View, dead NodeID, fit map[NodeID]Fitness) []heir {
	var active, draining []heir
	for _, s := range standings(v, fit) {
		h := heir{standing: s, seat: s.whole(), limit: legacy{math.MaxInt, math.MaxInt}}
		if s.id == dead || !s.fit.Leased || !h.seat.bot {
			continue
		}
		switch s.state {
		case NodeActive:
			active = append(active, h)
		case NodeDraining:
			draining = append(draining, h)
		}
	}
	if len(active) == 0 {
		active = draining
	}
	for i := range active {
		active[i].well = active[i].wellFor(v, dead, active)
	}
	return active
}

// wellFor reports whether the node has a healthy bot for each app of the dead
// node that any heir has one for.
func (h *heir) wellFor(v View, dead NodeID, heirs []heir) bool {
	if h.apps == nil {
		return true
	}
	for i := range heirs {
		for app, f := range heirs[i].apps {
			if f.Bot && !h.apps[app].Bot && v.LiveOf(dead, app) > 0 {
				return false
			}
		}
	}
	return true
}

// limit sets what each heir should take of the estate at most: its share by
// capacity and one n-th of that, so that something is always left for the others.
func limit(heirs []heir, estate []Partition) {
	calls, room, n := 0, 0, len(heirs)
	for _, p := range estate {
		calls += p.Live
	}
	for i := range heirs {
		room += max(heirs[i].seat.capacity, 1)
	}
	for i := range heirs {
		part := func(of int) int {
			return max(1, of*max(heirs[i].seat.capacity, 1)*(n+1)/(room*n))
		}
		heirs[i].limit = legacy{part(calls), part(len(estate))}
	}
}

// lightestWith returns the index of the heir for a partition: of those that are fit
// for it by rank the one that is loaded least once it has it; ties by the
// rendezvous hash of the partition.
func lightestWith(heirs []heir, p Partition) int {
	best := 0
	for i := 1; i < len(heirs); i++ {
		a, b := &heirs[i], &heirs[best]
		if cmp.Or(
			cmp.Compare(a.rank(p), b.rank(p)),
			cmp.Compare(a.scoreWith(weight(p)), b.scoreWith(weight(p))),
			cmp.Compare(rendezvous(b.hash, uint64(p.ID)), rendezvous(a.hash, uint64(p.ID))),
		) < 0 {
			best = i
		}
	}
	return best
}

// rank orders heirs for a partition by more than their load; lower goes first. An
// heir with room goes before its share is asked for. Before FormatReservations
// all are equal.
func (h *heir) rank(p Partition) int {
	if !h.modern {
		return 0
	}
	rank := 0
	if p.Live > 0 && !h.well {
		rank += 4
	}
	if h.live+weight(p) > h.seat.capacity {
		rank += 2
	}
	if p.Live > 0 && h.got.calls > 0 && h.got.calls+p.Live > h.limit.calls || p.Live == 0 && h.got.partitions >= h.limit.partitions {
		rank++
	}
	return rank
}

func (h *heir) scoreWith(extra int) uint64 { return h.seat.scoreWith(&h.standing, extra) }

// weight is what a partition adds to its heir: its live calls, and one for
// itself, so that empty partitions spread as well.
func weight(p Partition) int { return p.Live + 1 }

func (h *heir) inherit(p Partition) {
	h.live += weight(p)
	h.got.calls += p.Live
	h.got.partitions++
}
