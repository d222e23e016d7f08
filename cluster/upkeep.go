package cluster

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"

	"tandem/ownership"
	"tandem/store"
)

// upkeep runs raft-autopilot while this node leads: a non-voter that has been
// well for Timings.Stabilise gets a vote that is free, and a voter that has been
// silent for Timings.DeadVoter loses its vote to such a node. A dead voter is
// never thrown out by itself: it keeps its place, its record and its
// partitions' history, and may come back; an operator removes it.
func (r *reign) upkeep() {
	every := max(r.c.cfg.Timings.Stabilise/10, 20*time.Millisecond)
	pilot := autopilot.New(r.c.raft, &upkeep{r},
		autopilot.WithLogger(store.RaftLogger(r.c.cfg.Logger)),
		autopilot.WithPromoter(&promoter{r}),
		autopilot.WithUpdateInterval(every), autopilot.WithReconcileInterval(every))
	pilot.Start(r.ctx)
	defer func() { <-pilot.Stop() }()
	for {
		r.raiseFormat() // first: a new region is of the newest format from its first act on
		r.recordVotes()
		r.dismissStrangers()
		if !r.sleep(every) {
			return
		}
	}
}

// recordVotes brings the nodes' records up to what raft decided.
func (r *reign) recordVotes() {
	votes := make(map[ownership.NodeID]bool)
	for _, s := range r.c.servers() {
		votes[ownership.NodeID(s.ID)] = s.Suffrage == raft.Voter
	}
	for _, n := range r.c.tb.Nodes() {
		voter, ok := votes[n.ID]
		if !ok || n.State == ownership.NodeGone || n.Voter == voter {
			continue
		}
		ctx, cancel := context.WithTimeout(r.ctx, r.c.cfg.Timings.Decide)
		release, err := r.form(ctx)
		if err == nil {
			n.Voter = voter
			_, err = r.propose(ctx, ownership.Join{Node: n})
			release()
		}
		cancel()
		if err != nil && r.ctx.Err() == nil {
			r.c.log.Warn("recording a change of votes", "node", string(n.ID), "err", err)
		}
	}
}

// maxBehind is how many raft entries a node may lag and still count as well.
const maxBehind = 1000

// upkeep tells autopilot what the leases tell the leader.
type upkeep struct{ *reign }

// AutopilotConfig implements autopilot.ApplicationIntegration.
func (u *upkeep) AutopilotConfig() *autopilot.Config {
	t := u.c.cfg.Timings
	return &autopilot.Config{
		LastContactThreshold: t.Lease, MaxTrailingLogs: maxBehind, ServerStabilizationTime: t.Stabilise,
		CleanupDeadServers: false,
	}
}

// NotifyState implements autopilot.ApplicationIntegration.
func (*upkeep) NotifyState(*autopilot.State) {}

// RemoveFailedServer implements autopilot.ApplicationIntegration. It is never
// called, for dead servers are not cleaned up.
func (*upkeep) RemoveFailedServer(*autopilot.Server) {}

// FetchServerStats implements autopilot.ApplicationIntegration from the last
// renewals: no node is asked anew.
func (u *upkeep) FetchServerStats(_ context.Context, servers map[raft.ServerID]*autopilot.Server) map[raft.ServerID]*autopilot.ServerStats {
	out := make(map[raft.ServerID]*autopilot.ServerStats, len(servers))
	now := time.Now()
	for id := range servers {
		last, heard := u.book.last(ownership.NodeID(id))
		if heard.IsZero() {
			continue
		}
		out[id] = &autopilot.ServerStats{LastContact: now.Sub(heard), LastTerm: last.term, LastIndex: last.lastIndex}
	}
	return out
}

// KnownServers implements autopilot.ApplicationIntegration.
func (u *upkeep) KnownServers() map[raft.ServerID]*autopilot.Server {
	out := make(map[raft.ServerID]*autopilot.Server)
	now := time.Now()
	for _, n := range u.c.tb.Nodes() {
		if n.State == ownership.NodeGone {
			continue
		}
		status := autopilot.NodeAlive
		if now.After(u.book.over(n.ID)) {
			status = autopilot.NodeFailed
		}
		out[raft.ServerID(n.ID)] = &autopilot.Server{
			ID: raft.ServerID(n.ID), Name: string(n.ID), Address: raft.ServerAddress(n.ClusterAddr), NodeStatus: status,
			Version: n.Version, RaftVersion: int(raft.ProtocolVersionMax), IsLeader: n.ID == u.c.self, NodeType: autopilot.NodeVoter,
		}
	}
	return out
}

// promoter decides who votes.
type promoter struct{ *reign }

// GetServerExt implements autopilot.Promoter.
func (*promoter) GetServerExt(*autopilot.Config, *autopilot.ServerState) any { return nil }

// GetStateExt implements autopilot.Promoter.
func (*promoter) GetStateExt(*autopilot.Config, *autopilot.State) any { return nil }

// GetNodeTypes implements autopilot.Promoter.
func (*promoter) GetNodeTypes(_ *autopilot.Config, s *autopilot.State) map[raft.ServerID]autopilot.NodeType {
	out := make(map[raft.ServerID]autopilot.NodeType, len(s.Servers))
	for id := range s.Servers {
		out[id] = autopilot.NodeVoter
	}
	return out
}

// FilterFailedServerRemovals implements autopilot.Promoter.
func (*promoter) FilterFailedServerRemovals(*autopilot.Config, *autopilot.State, *autopilot.FailedServers) *autopilot.FailedServers {
	return &autopilot.FailedServers{}
}

// IsPotentialVoter implements autopilot.Promoter.
func (*promoter) IsPotentialVoter(autopilot.NodeType) bool { return true }

// CalculatePromotionsAndDemotions implements autopilot.Promoter: fill the free
// votes, by id; when there is none and a voter is dead, take one dead voter's
// vote, for which the next round has a taker.
func (p *promoter) CalculatePromotionsAndDemotions(conf *autopilot.Config, s *autopilot.State) autopilot.RaftChanges {
	now := time.Now()
	var ready, dead []raft.ServerID
	voters := 0
	for id, srv := range s.Servers {
		switch {
		case srv.HasVotingRights():
			voters++
			if !srv.Health.Healthy && p.silent(ownership.NodeID(id), now) > p.c.cfg.Timings.DeadVoter {
				dead = append(dead, id)
			}
		case srv.Health.IsStable(now, conf.ServerStabilizationTime):
			ready = append(ready, id)
		}
	}
	autopilot.SortServers(ready, s)
	autopilot.SortServers(dead, s)
	var ch autopilot.RaftChanges
	if free := maxVoters - voters; free > 0 {
		ch.Promotions = ready[:min(free, len(ready))]
	} else if len(ready) > 0 && len(dead) > 0 {
		ch.Demotions = dead[:1]
	}
	return ch
}

// silent is how long this leader has not heard of a node.
func (p *promoter) silent(id ownership.NodeID, now time.Time) time.Duration {
	return now.Sub(p.book.over(id)) + p.c.cfg.Timings.Lease + p.c.cfg.Timings.Drift
}
