package leader

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"

	"tandem/cluster/lease"
	"tandem/ownership"
)

// upkeep runs raft-autopilot while this node leads: a non-voter that has caught up
// and been well for Timings.Stabilise gets a vote, and a voter that has been
// silent for Timings.DeadVoter loses its own, see voting. A dead voter is never
// thrown out by itself: it keeps its place, its record and its partitions'
// history, and may come back; an operator removes it.
func (l *Leadership) upkeep() {
	every := min(max(l.Timings.Stabilise/10, 20*time.Millisecond), l.Timings.Announce)
	pilot := autopilot.New(l.Raft, &upkeep{l},
		autopilot.WithLogger(l.RaftLog),
		autopilot.WithPromoter(&promoter{l}),
		autopilot.WithUpdateInterval(every), autopilot.WithReconcileInterval(every))
	pilot.Start(l.ctx)
	defer func() { <-pilot.Stop() }()
	for {
		l.RaiseFormat()
		l.begin()
		l.recordVotes()
		l.dropGone()
		l.dismissNonMembers()
		if !l.sleep(every) {
			return
		}
	}
}

// recordVotes brings the nodes' records up to what raft decided.
func (l *Leadership) recordVotes() {
	votes := make(map[ownership.NodeID]bool)
	for _, s := range Servers(l.Raft) {
		votes[ownership.NodeID(s.ID)] = s.Suffrage == raft.Voter
	}
	for _, n := range l.Table.Nodes() {
		voter, ok := votes[n.ID]
		if !ok || n.State == ownership.NodeGone || n.Voter == voter {
			continue
		}
		ctx, cancel := context.WithTimeout(l.ctx, l.Timings.Decide)
		release, err := l.Form(ctx)
		if err == nil {
			n.Voter = voter
			_, err = l.Propose(ctx, ownership.Join{Node: n})
			release()
		}
		cancel()
		if err != nil && l.ctx.Err() == nil {
			l.Log.Warn("recording a change of votes", "peer", string(n.ID), "err", err)
		}
	}
}

// upkeep tells autopilot what the leases tell the leader.
type upkeep struct{ *Leadership }

// AutopilotConfig implements autopilot.ApplicationIntegration.
func (u *upkeep) AutopilotConfig() *autopilot.Config {
	t := u.Timings
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
		last, heard := u.Leases.Last(ownership.NodeID(id))
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
	for _, n := range u.Table.Nodes() {
		if n.State == ownership.NodeGone {
			continue
		}
		status := autopilot.NodeAlive
		if now.After(u.Leases.Over(n.ID)) {
			status = autopilot.NodeFailed
		}
		out[raft.ServerID(n.ID)] = &autopilot.Server{
			ID: raft.ServerID(n.ID), Name: string(n.ID), Address: raft.ServerAddress(n.ClusterAddr), NodeStatus: status,
			Version: n.Version, RaftVersion: int(raft.ProtocolVersionMax), IsLeader: n.ID == u.Self.ID, NodeType: autopilot.NodeVoter,
		}
	}
	return out
}

// promoter decides who votes.
type promoter struct{ *Leadership }

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
