package ownership

import (
	"maps"
	"slices"
)

// AppRoom is what a region can take of one app's new calls.
type AppRoom struct {
	App     AppID `json:"id"`
	Room    int   `json:"room" doc:"New calls of it that the region's nodes can take."`
	Healthy bool  `json:"healthy" doc:"A node that may get new calls has a healthy bot of it."`
}

// RegionFitness is what the leader tells its region's nodes of each other.
type RegionFitness struct {
	Rooms   []AppRoom    // by app; nil: it is not known
	Silent  []Silence    // nodes without a lease, gone ones not among them, by id
	Differs []Difference // settings that must be equal on all nodes and are not, by node and key
	// Versions of bots, by app and version; nil: of older software, or no bot is watched.
	Versions []VersionState
}

// Rooms says for each app that a node names what all nodes together can take. Each
// app is looked at alone: what one takes, another may not find.
func (p *Placer) Rooms() []AppRoom {
	named := map[AppID]bool{}
	for i := range p.nodes {
		for app := range p.nodes[i].apps {
			named[app] = true
		}
	}
	var all []AppRoom
	for _, app := range slices.Sorted(maps.Keys(named)) {
		r := AppRoom{App: app}
		p.seats = p.seatsOf(app)
		p.begin(&Claim{App: app})
		for i, t := range p.seats {
			s := &p.nodes[i]
			r.Healthy = r.Healthy || s.state == NodeActive && s.fit.Leased && t.bot
			if t.bar == "" && p.heldBack(i) != whyHalted {
				r.Room += t.free(s)
			}
		}
		all = append(all, r)
	}
	return all
}

// free counts the calls that a seat can still take.
func (t *seat) free(s *standing) int {
	room := t.capacity - t.calls(s)
	if s.capacity <= 0 {
		return max(room, 0)
	}
	left := s.capacity - s.live
	if t.kept > 0 { // beyond its share it may not take what is kept for others
		left = max(min(left, t.share-t.live), left-t.kept)
	}
	return max(min(room, left), 0)
}
