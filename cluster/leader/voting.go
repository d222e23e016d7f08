package leader

import (
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"

	"tandem/cluster/lease"
	"tandem/ownership"
)

// fewVoters is how many votes a region gives without waiting for a newcomer to be
// stable: below it, one death stops everything.
const fewVoters = 3

// Quorum is how many of n voters decide.
func Quorum(n int) int { return n/2 + 1 }

// demotions returns how many of the dead voters are to lose their vote: as few as
// bring the smallest quorum. Three voters of whom one is dead keep it: two would
// need both.
func demotions(voters, dead int) int {
	best := 0
	for k := 1; k <= dead; k++ {
		if Quorum(voters-k) < Quorum(voters-best) {
			best = k
		}
	}
	return best
}

// voting decides the next change of votes. Votes follow the living: a newcomer that
// is ready gets a free vote, or that of a dead voter; it is promoted first and the
// dead one demoted after, so that the votes that are alive never get fewer. Without a
// living majority nothing changes: the change would stand in this leader's log alone, and
// after a restart that log would ask other nodes for their vote than the region's does.
func voting(voters, dead, ready int) (promote, demote int) {
	if voters-dead < Quorum(voters) {
		return 0, 0
	}
	if ready > 0 && voters-dead < MaxVoters && (voters < MaxVoters || dead > 0 && voters == MaxVoters) {
		return 1, 0
	}
	return 0, demotions(voters, dead)
}

// CalculatePromotionsAndDemotions implements autopilot.Promoter, see voting.
func (p *promoter) CalculatePromotionsAndDemotions(conf *autopilot.Config, s *autopilot.State) autopilot.RaftChanges {
	now := time.Now()
	var ready, dead []raft.ServerID
	voters := 0
	for _, srv := range s.Servers {
		if srv.HasVotingRights() {
			voters++
		}
	}
	for id, srv := range s.Servers {
		switch {
		case srv.HasVotingRights():
			if !srv.Health.Healthy && p.isDead(ownership.NodeID(id), now) {
				dead = append(dead, id)
			}
		case !p.caughtUp(ownership.NodeID(id)):
		case voters < fewVoters && srv.Health.Healthy, srv.Health.IsStable(now, conf.ServerStabilizationTime):
			ready = append(ready, id)
		}
	}
	autopilot.SortServers(ready, s)
	autopilot.SortServers(dead, s)
	promote, demote := voting(voters, len(dead), len(ready))
	return autopilot.RaftChanges{Promotions: ready[:promote], Demotions: dead[:demote]}
}

// caughtUp reports whether a node stands in the table and its own is so far that
// its vote would stop no claim.
func (p *promoter) caughtUp(id ownership.NodeID) bool {
	n, ok := p.Table.Node(id)
	if !ok || n.State == ownership.NodeGone {
		return false
	}
	last, heard := p.Leases.Last(id)
	return !heard.IsZero() && last.Incarnation == n.Incarnation && last.Applied+lease.MaxBehind >= p.Table.Applied()
}

// isDead reports whether this leader has not heard of a voter for so long that its
// vote may go to another. One whose new process waits to be admitted is there, and
// so is one that is refused a lease.
func (p *promoter) isDead(id ownership.NodeID, now time.Time) bool {
	last := p.Leases.Next.SeenAt(id)
	if began := p.Leases.Began(); last.Before(began) {
		last = began
	}
	return id != p.Self.ID && now.Sub(last) > p.Timings.DeadVoter
}
