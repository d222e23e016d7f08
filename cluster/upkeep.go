package cluster

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"

	"tandem/cluster/lease"
	"tandem/ownership"
	"tandem/store"
)

// upkeep runs raft-autopilot while this node leads: a non-voter that has caught up
// and been well for Timings.Stabilise gets a vote, and a voter that has been
// silent for Timings.DeadVoter loses its own, see voting. A dead voter is never
// thrown out by itself: it keeps its place, its record and its partitions'
// history, and may come back; an operator removes it.
func (r *reign) upkeep() {
	every := min(max(r.c.cfg.Timings.Stabilise/10, 20*time.Millisecond), r.c.cfg.Timings.Announce)
	pilot := autopilot.New(r.c.raft, &upkeep{r},
		autopilot.WithLogger(store.RaftLogger(r.c.cfg.Logger)),
		autopilot.WithPromoter(&promoter{r}),
		autopilot.WithUpdateInterval(every), autopilot.WithReconcileInterval(every))
	pilot.Start(r.ctx)
	defer func() { <-pilot.Stop() }()
	for {
		r.raiseFormat()
		r.begin()
		r.recordVotes()
		r.dropGone()
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

// upkeep tells autopilot what the leases tell the leader.
type upkeep struct{ *reign }

// AutopilotConfig implements autopilot.ApplicationIntegration.
func (u *upkeep) AutopilotConfig() *autopilot.Config {
	t := u.c.cfg.Timings
	return &autopilot.Config{
		LastContactThreshold: t.Lease, MaxTrailingLogs: lease.MaxBehind, ServerStabilizationTime: t.Stabilise,
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
		last, heard := u.leases.Last(ownership.NodeID(id))
		if heard.IsZero() {
			continue
		}
		out[id] = &autopilot.ServerStats{LastContact: now.Sub(heard), LastTerm: last.Term, LastIndex: last.LastIndex}
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
		if now.After(u.leases.Over(n.ID)) {
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
