package ownership

import (
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Why a node cannot take a call. Fixed texts, so that a list of them can be
// counted.
const (
	whyDraining  = "it is draining"
	whyGone      = "it is gone"
	whyNoLease   = "it has no lease"
	whySickBot   = "its bot is not healthy"
	whyFull      = "it is full"
	whyBusyBot   = "its bot reports full load"
	whyNoHome    = "it has no partition"
	whyPinNode   = "the pin names another node"
	whyPinZone   = "the pin names another zone"
	whyPinVer    = "the pin names another version"
	whyOtherLeg  = "it has the other leg"
	whyOtherZone = "its zone has the other leg"
	whyElsewhere = "the group is elsewhere"
)

// scoreUnit is the score of a node at exactly its capacity. Scores are whole
// numbers: every replica of the table must reach the same verdict, and floating
// point may be fused, hence rounded, differently from one processor to the next.
const scoreUnit = 1_000_000

// unread marks a standing whose partitions were not looked at yet.
const unread = -2

// standing is one node as the rules weigh it, kept for a batch of claims.
type standing struct {
	id       NodeID
	zone     string
	version  string
	state    NodeState
	fit      Fitness
	capacity int
	live     int
	reported int    // the bot's own load, in calls
	recent   int    // placed lately: the ramp-up penalty
	hash     uint64 // of the id, for rendezvous
	score    uint64
	bar      string // why it takes no call of any kind; empty: it may

	partitions []Partition // by number; read on first use
	emptiest   int         // index of the emptiest partition, -1 for none; or unread
}

// standings gives all nodes by id, whatever order the view has them in.
func standings(v View, fit map[NodeID]Fitness) []standing {
	nodes := v.Nodes()
	all := make([]standing, len(nodes))
	for i := range nodes {
		n := &nodes[i]
		f := fit[n.ID]
		s := standing{
			id: n.ID, zone: n.Zone, version: n.Version, state: n.State, fit: f,
			capacity: capacity(n.Capacity, f.Room), live: v.Live(n.ID), recent: max(f.Recent, 0),
			hash: xxhash.Sum64String(string(n.ID)), emptiest: unread,
		}
		if f.Load > 0 { // false for NaN too
			s.reported = int(min(f.Load, 1) * float64(s.capacity))
		}
		s.weigh()
		all[i] = s
	}
	byID := func(a, b standing) int { return cmp.Compare(a.id, b.id) }
	if !slices.IsSortedFunc(all, byID) {
		slices.SortFunc(all, byID)
	}
	return all
}

// capacity is the lower of the operator's limit and the one the bot reports;
// one that is not positive says nothing.
func capacity(node, bot int) int {
	if bot > 0 && (node <= 0 || bot < node) {
		return bot
	}
	return max(node, 0)
}

// weigh brings score and bar up to date with the counts.
func (s *standing) weigh() {
	s.score = s.scoreWith(0)
	switch {
	case s.state == NodeGone:
		s.bar = whyGone
	case s.state != NodeActive:
		s.bar = whyDraining
	case !s.fit.Leased:
		s.bar = whyNoLease
	case !s.fit.Bot:
		s.bar = whySickBot
	default:
		s.bar = s.noRoom()
	}
}

// noRoom says why there is no room for one more call; empty: there is.
func (s *standing) noRoom() string {
	switch {
	case s.live >= s.capacity:
		return whyFull
	case s.fit.Load >= 1:
		return whyBusyBot
	default:
		return ""
	}
}

// scoreWith is (carried + recent) ÷ capacity with extra more calls. Carried is
// the greater of what the table counts and what the bot reports, so a bot that
// reports nothing is not taken for an idle one. Recent calls count a second
// time: a call being set up costs more than one that runs, and a node that just
// came back empty is not given the whole burst.
func (s *standing) scoreWith(extra int) uint64 {
	carried := max(s.live, s.reported) + s.recent + extra
	return uint64(max(carried, 0)) * scoreUnit / uint64(max(s.capacity, 1))
}

// took counts a call that was just placed here, into the i-th partition.
func (s *standing) took(i int) {
	s.partitions[i].Live++
	s.live++
	s.recent++
	s.weigh()
	s.findEmptiest()
}

// home gives the index of the node's emptiest partition, the lowest number among
// equals; -1 when it has none. The first call reads the partitions.
func (s *standing) home(v View) int {
	if s.emptiest == unread {
		// Cloned: the counts are changed here, and the view's slice is not ours.
		s.partitions = slices.DeleteFunc(slices.Clone(v.PartitionsOf(s.id)), func(p Partition) bool { return p.Retired })
		slices.SortFunc(s.partitions, func(a, b Partition) int { return cmp.Compare(a.ID, b.ID) })
		s.findEmptiest()
	}
	return s.emptiest
}

func (s *standing) findEmptiest() {
	s.emptiest = -1
	for i := range s.partitions {
		if s.emptiest < 0 || s.partitions[i].Live < s.partitions[s.emptiest].Live {
			s.emptiest = i
		}
	}
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
