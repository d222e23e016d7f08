package ownership

import (
	"cmp"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Why a node cannot take a call. Fixed texts, so that a list of them can be
// counted.
const (
	whyDraining  = "it is draining"
	whyGone      = "it is gone"
	whyNoLease   = "it has no lease"
	whySickBot   = "its bot is not healthy"
	whyNoBot     = "it has no bot of the app"
	whyFull      = "it is full"
	whyFullBot   = "its bot is full"
	whyKept      = "what room it has is kept for other apps"
	whyBusyBot   = "its bot reports full load"
	whyNoHome    = "it has no partition"
	whyPinNode   = "the pin names another node"
	whyPinZone   = "the pin names another zone"
	whyPinVer    = "the pin names another version"
	whyOtherLeg  = "it has the other leg"
	whyOtherZone = "its zone has the other leg"
	whyElsewhere = "the group is elsewhere"
	whyHalted    = "its bot's version is halted"
	whyUnproven  = "its bot's version is not proven, and may take no more calls for now"
	whyTurn      = "the call is another version's"
)

// scoreUnit is the score of a node at exactly its capacity. Scores are whole
// numbers: every replica of the table must reach the same verdict, and floating
// point may be fused, hence rounded, differently from one processor to the next.
const scoreUnit = 1_000_000

// unread marks a standing whose partitions were not looked at yet.
const unread = -2

// standing is one node as the rules weigh it, kept for a batch of claims. What
// it offers the calls of an app is a seat.
type standing struct {
	id       NodeID
	zone     string
	version  string
	state    NodeState
	fit      Fitness
	apps     map[AppID]AppFitness // fit.Apps, from FormatReservations on
	capacity int                  // the operator's limit; 0: none
	live     int                  // for a Placer without overdue ones
	overdue  map[AppID]int        // see View.Overdue; for a Placer, from FormatReservations on
	recent   int                  // placed lately: the ramp-up penalty
	hash     uint64               // of the id, for rendezvous

	modern     bool        // from FormatReservations on
	partitions []Partition // by number; read on first use
	emptiest   int         // index of the partition for the next call, -1 for none; or unread
}

// standings returns all nodes by id, whatever order the view has them in.
func standings(v View, fit map[NodeID]Fitness) []standing {
	nodes := v.Nodes()
	all := make([]standing, len(nodes))
	modern := v.Format() >= FormatReservations
	for i := range nodes {
		n := &nodes[i]
		f := fit[n.ID]
		all[i] = standing{
			id: n.ID, zone: n.Zone, version: n.Version, state: n.State, fit: f,
			capacity: max(n.Capacity, 0), live: v.Live(n.ID), recent: max(f.Recent, 0),
			hash: xxhash.Sum64String(string(n.ID)), modern: modern, emptiest: unread,
		}
		if modern {
			all[i].apps = f.Apps
		}
	}
	byID := func(a, b standing) int { return cmp.Compare(a.id, b.id) }
	if !slices.IsSortedFunc(all, byID) {
		slices.SortFunc(all, byID)
	}
	return all
}

// forgive lets the calls that nobody answered while they rang take no place: the
// cloud has gone elsewhere with them, and nobody ends them before the reaper. One
// that is answered after all counts again.
func (s *standing) forgive(v View, at time.Time) {
	s.overdue = v.Overdue(s.id, at)
	for _, n := range s.overdue {
		s.live -= n
	}
}

// liveOf counts the calls of an app that take a place.
func (s *standing) liveOf(v View, app AppID) int { return v.LiveOf(s.id, app) - s.overdue[app] }

// took counts a call that was just placed here, into the i-th partition; it takes
// so many places: one, or none.
func (s *standing) took(i, places int) {
	s.partitions[i].Live++
	s.live += places
	s.recent++
	s.findEmptiest()
}

// home returns the index of the partition that the node's next call goes to; -1
// when it has none. The first call reads the partitions.
func (s *standing) home(v View) int {
	if s.emptiest == unread {
		// Cloned: the counts are changed here, and the view's slice is not ours.
		s.partitions = slices.DeleteFunc(slices.Clone(v.PartitionsOf(s.id)), func(p Partition) bool { return p.Retired })
		slices.SortFunc(s.partitions, func(a, b Partition) int { return cmp.Compare(a.ID, b.ID) })
		s.findEmptiest()
	}
	return s.emptiest
}

// findEmptiest finds the emptiest partition, the lowest number among equals.
func (s *standing) findEmptiest() {
	s.emptiest = emptiest(s.partitions, s.id, s.modern)
}

// emptiest returns the index of the partition that a node's next call goes to.
// Those that were born on it come first: a partition that it inherited gets no
// new call while there is another, so it empties and retires.
func emptiest(own []Partition, id NodeID, bornFirst bool) int {
	best := -1
	for i := range own {
		if best < 0 {
			best = i
			continue
		}
		here, there := own[i].BornOn == id, own[best].BornOn == id
		if bornFirst && here != there {
			if here {
				best = i
			}
			continue
		}
		if own[i].Live < own[best].Live {
			best = i
		}
	}
	return best
}

// Home returns the partition of a node that its next call goes to; false: it has
// none.
func Home(v View, id NodeID) (Partition, bool) {
	s := standing{id: id, modern: v.Format() >= FormatReservations, emptiest: unread}
	i := s.home(v)
	if i < 0 {
		return Partition{}, false
	}
	return s.partitions[i], true
}

// rendezvous mixes the hashes of a node and of a thing; the highest value wins.
// The finaliser is that of splitmix64 (Steele, Lea and Flood, 2014). It must
// never change: replicas of different versions apply the same claims.
func rendezvous(node, thing uint64) uint64 {
	x := node ^ (thing * 0x9e3779b97f4a7c15)
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
