package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"

	"tandem/cluster/lease"
	"tandem/ownership"
)

// fewVoters is how many votes a region gives without waiting for a newcomer to be
// stable: below it, one death stops everything.
const fewVoters = 3

// quorum is how many of n voters decide.
func quorum(n int) int { return n/2 + 1 }

// demotions gives how many of the dead voters are to lose their vote: as few as
// bring the smallest quorum. Three voters of whom one is dead keep it: two would
// need both.
func demotions(voters, dead int) int {
	best := 0
	for k := 1; k <= dead; k++ {
		if quorum(voters-k) < quorum(voters-best) {
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
	if voters-dead < quorum(voters) {
		return 0, 0
	}
	if ready > 0 && voters-dead < maxVoters && (voters < maxVoters || dead > 0 && voters == maxVoters) {
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
	n, ok := p.c.tb.Node(id)
	if !ok || n.State == ownership.NodeGone {
		return false
	}
	last, heard := p.leases.Last(id)
	return !heard.IsZero() && last.Incarnation == n.Incarnation && last.Applied+lease.MaxBehind >= p.c.tb.Applied()
}

// isDead reports whether this leader has not heard of a voter for so long that its
// vote may go to another. One whose new process waits to be admitted is there, and
// so is one that is refused a lease.
func (p *promoter) isDead(id ownership.NodeID, now time.Time) bool {
	last := p.leases.Next.SeenAt(id)
	if began := p.leases.Began(); last.Before(began) {
		last = began
	}
	return id != p.c.self && now.Sub(last) > p.c.cfg.Timings.DeadVoter
}

// mayDismiss refuses what would leave the region without a quorum of living
// voters: it could decide nothing any more, not even to take somebody back in.
// Those who have not renewed yet, after a change of leader, get a lease's time.
func (r *reign) mayDismiss(ctx context.Context, id ownership.NodeID) error {
	if err := r.waitReady(ctx); err != nil {
		return err
	}
	end := time.Now().Add(r.c.cfg.Timings.Lease)
	for {
		err := r.quorumWithout(id)
		if err == nil || !time.Now().Before(end) || ctx.Err() != nil {
			return err
		}
		if !r.sleep(pollEvery) {
			return ownership.ErrNotLeader
		}
	}
}

func (r *reign) quorumWithout(id ownership.NodeID) error {
	left, living, votes := 0, 0, false
	var silent []string
	for _, s := range r.c.servers() {
		other := ownership.NodeID(s.ID)
		switch {
		case s.Suffrage != raft.Voter:
		case other == id:
			votes = true
		case other == r.c.self || r.leases.Leased(other, time.Now()):
			left, living = left+1, living+1
		default:
			left++
			silent = append(silent, string(other))
		}
	}
	if !votes || r.isGone(id) || left > 0 && living >= quorum(left) {
		return nil
	}
	if left == 0 {
		return fmt.Errorf("node %s is the region's last voter: %w", id, ownership.ErrConflict)
	}
	who := strings.Join(silent, ", ")
	return fmt.Errorf("of the %d voters that would be left only %d answer, and %d are needed to decide anything: start %s again or remove it first, "+
		"or let a new node join and get its vote: %w", left, living, quorum(left), who, ownership.ErrConflict)
}

// dropGone takes nodes that the table knows as gone out of raft's configuration,
// where a removal was cut short.
func (r *reign) dropGone() {
	for _, s := range r.c.servers() {
		if !r.isGone(ownership.NodeID(s.ID)) {
			continue
		}
		ctx, cancel := context.WithTimeout(r.ctx, r.c.cfg.Timings.Decide)
		release, err := r.form(ctx)
		if err == nil {
			if r.isGone(ownership.NodeID(s.ID)) { // it may have joined anew meanwhile
				err = r.change(ctx, func() raft.Future { return r.c.raft.RemoveServer(s.ID, 0, r.c.cfg.Timings.Decide) })
			}
			release()
		}
		cancel()
		if err != nil && r.ctx.Err() == nil {
			r.c.log.Warn("taking a gone node out of raft's configuration", "node", string(s.ID), "err", err)
		}
	}
}
