package ownership

import "time"

// group is what the live calls that share a key with a claim mean for it.
type group struct {
	nodes  []int       // standings that hold another leg
	strict bool        // the payload says that the legs are a pair
	with   PartitionID // partition of the group; 0: none
	at     int         // standing that owns it
}

func (g *group) apart() bool { return len(g.nodes) > 0 }

// readGroup looks at every live call that shares a key with the claim. Among
// the calls to stay with, the strongest kind of key decides, then the oldest.
func (p *Placer) readGroup(c *Claim) group {
	g := group{nodes: p.legNodes[:0], at: -1}
	bestRank := int(^uint(0) >> 1)
	for _, key := range c.Groups {
		chain, rank := key.isChain(), key.rank()
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
			if rank < bestRank && p.nodes[i].mayKeepGroup() {
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

// mayKeepGroup reports whether a node may take one more call of a group that
// lives on it. Draining it may: the group ends the drain, not the other way
// round. Without a lease it may as well: failover moves the partition, and the
// group with it. A sick bot gets no new calls, and capacity binds groups too.
func (s *standing) mayKeepGroup() bool {
	return s.state != NodeGone && (s.fit.Bot || !s.fit.Leased) && s.noRoom() == ""
}
