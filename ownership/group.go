package ownership

import (
	"math"
	"slices"
	"time"
)

// group is what the live calls that share a key with a claim mean for it.
type group struct {
	nodes  []int       // standings that hold another leg
	strict bool        // the payload says that the legs are a pair
	at     int         // standing to stay with; -1: none
	with   PartitionID // partition of the group on it; 0: any
}

func (g *group) apart() bool { return len(g.nodes) > 0 }

// homestead is how many calls of a group live in one partition on one node.
type homestead struct {
	partition PartitionID
	node      int
	owned     bool // the node owns the partition; else the calls are reserved for it
	calls     int
}

// readGroup looks at the live calls that share a key with the claim, in bundles:
// what it costs depends on how many nodes and partitions they are spread over,
// not on how many they are. Among the calls to stay with, the strongest kind of
// key decides, then the place with most of them, then the lowest partition. The
// oldest call is not asked: it would have to be found anew at each end of a call.
func (p *Placer) readGroup(c *Claim) group {
	if !p.modern {
		return p.readLegs(c)
	}
	g := group{nodes: p.legNodes[:0], at: -1}
	bestRank := math.MaxInt
	for _, key := range c.Groups {
		p.tally = p.tally[:0]
		p.bundles = p.view.Bundles(p.bundles[:0], key, "")
		for i := range p.bundles {
			b := &p.bundles[i]
			if key.IsChain() && (c.Observed == "" || !b.Observes) && p.otherBundle(c, b, &g) {
				continue
			}
			p.count(b, b.Count)
		}
		if key.IsChain() && c.Observed != "" {
			p.bundles = p.view.Bundles(p.bundles[:0], key, c.Observed)
			for i := range p.bundles {
				if b := &p.bundles[i]; p.otherBundle(c, b, &g) {
					p.count(b, -b.Count) // they were counted with the whole chain
				}
			}
		}
		if rank := key.rank(); rank < bestRank {
			if h := p.homestead(); h != nil {
				bestRank, g.at, g.with = rank, h.node, 0
				if h.owned {
					g.with = h.partition
				}
			}
		}
	}
	p.legNodes = g.nodes
	return g
}

// otherBundle notes in the group whether the calls of a bundle of a chain are the
// claim's other leg. They observe nobody, or the claim observes nobody, or both
// observe one person.
func (p *Placer) otherBundle(c *Claim, b *Bundle, g *group) bool {
	i, _, ok := p.actsFor(b)
	if !ok {
		return false
	}
	leg := Leg{State: b.State, Deadline: b.Rings, App: b.App, Paired: b.Paired}
	if b.Observes {
		leg.Observed = c.Observed
	}
	other, strict := otherLeg(c, &leg, p.at)
	if other {
		if !slices.Contains(g.nodes, i) {
			g.nodes = append(g.nodes, i)
		}
		g.strict = g.strict || strict
	}
	return other
}

// actsFor returns the standing that acts for a bundle, and whether it owns the
// bundle's partition too.
func (p *Placer) actsFor(b *Bundle) (i int, owned, ok bool) {
	part, ok := p.view.Partition(b.Partition)
	if !ok || part.Retired {
		return 0, false, false
	}
	i, ok = p.find(b.Owner)
	return i, part.Owner == b.Owner, ok
}

// count adds calls to the place where they live.
func (p *Placer) count(b *Bundle, calls int) {
	i, owned, ok := p.actsFor(b)
	if !ok {
		return
	}
	for k := range p.tally {
		if h := &p.tally[k]; h.partition == b.Partition && h.node == i {
			h.calls += calls
			return
		}
	}
	p.tally = append(p.tally, homestead{b.Partition, i, owned, calls})
}

// homestead returns the place with most calls that may take one more; nil: none.
func (p *Placer) homestead() *homestead {
	var best *homestead
	for k := range p.tally {
		h := &p.tally[k]
		switch {
		case h.calls <= 0 || !p.mayStay(h):
		case best == nil, h.calls > best.calls,
			h.calls == best.calls && h.partition < best.partition,
			h.calls == best.calls && h.partition == best.partition && h.node < best.node:
			best = h
		}
	}
	return best
}

// mayStay reports whether a group may stay at a place. A node that only has the
// calls reserved needs a lease and a partition of its own for one more.
func (p *Placer) mayStay(h *homestead) bool {
	s := &p.nodes[h.node]
	return p.seats[h.node].mayKeepGroup(s) && !p.barred(h.node) && (h.owned || s.fit.Leased && s.home(p.view) >= 0)
}

// readLegs is readGroup before FormatReservations: it visits every live call that
// shares a key with the claim. Among the calls to stay with, the strongest kind of
// key decides, then the oldest.
func (p *Placer) readLegs(c *Claim) group {
	g := group{nodes: p.legNodes[:0], at: -1}
	bestRank := math.MaxInt
	for _, key := range c.Groups {
		chain, rank := key.IsChain(), key.rank()
		for _, leg := range p.view.Legs(key) {
			if leg.Call == c.Call || !leg.State.Live() {
				continue
			}
			i, ok := p.ownerOf(leg.Partition)
			if !ok {
				continue
			}
			if chain {
				if other, strict := otherLeg(c, &leg, p.at); other {
					g.nodes = append(g.nodes, i)
					g.strict = g.strict || strict
					continue
				}
			}
			if rank < bestRank && p.seats[i].mayKeepGroup(&p.nodes[i]) {
				bestRank, g.with, g.at = rank, leg.Partition, i
			}
		}
	}
	p.legNodes = g.nodes
	return g
}

// otherLeg says whether a live call of the same chain is the claim's other leg,
// from which it must keep apart, and whether the payload says so (strict).
//
// Two things make another leg. The payload names paired recorders: policy
// recording invites two apps, whose worth is that they do not fail together. Or
// a second invite reaches the same app while the first still rings: with
// ConcurrentInvitationCount 2 the service sends two and takes the first answer.
// Once the first invite's deadline is over, the next one is a retry of it with
// a new call id, and belongs where the first was. Invites that observe
// different people are different recordings, not legs of one, and calls that
// observe nobody are members of one meeting.
func otherLeg(c *Claim, leg *Leg, at time.Time) (other, strict bool) {
	if c.Observed != "" && leg.Observed != "" && c.Observed != leg.Observed {
		return false, false
	}
	rings := leg.State == CallClaimed
	if rings && at.After(leg.Deadline) {
		return false, false
	}
	if c.Paired || leg.Paired && c.Observed != "" {
		return true, true
	}
	return rings && leg.App == c.App && c.Observed != "" && c.Observed == leg.Observed, false
}
