package node

import (
	"context"
	"slices"
	"time"

	"tandem/admin/api"
	"tandem/cluster"
	"tandem/ownership"
	"tandem/store"
)

// adminJournal is the table's history, which can be waited for.
type adminJournal struct{ *store.Table }

// Wait returns nil once there is an event after that id, or the context's error.
func (j adminJournal) Wait(ctx context.Context, after uint64) error {
	w := j.Watch(after)
	defer w.Close()
	_, _, err := w.Next(ctx)
	return err
}

// adminCluster shows the region in the admin door's words.
type adminCluster struct {
	*cluster.Cluster
	table  *store.Table
	secure bool // the cluster port speaks mTLS
}

func (c adminCluster) Peers() []api.Peer {
	var all []api.Peer
	here, silent := c.Cluster.Status(), c.Fitness().Silent
	for _, p := range here.Peers {
		// The leader hears from everybody, and tells whoever hears it.
		peer := api.Peer{
			ID: p.ID, Address: p.Addr, Voter: p.Voter, Leader: p.Leader,
			Known: here.Leased || p.Self, Healthy: here.Leased && !slices.ContainsFunc(silent, func(s ownership.Silence) bool { return s.Node == p.ID }),
		}
		if p.HeardAgo > 0 {
			peer.LastContact = p.HeardAgo.Round(time.Millisecond).String()
		}
		all = append(all, peer)
	}
	return all
}

func (c adminCluster) Status() api.ClusterStatus {
	s := c.Cluster.Status()
	out := api.ClusterStatus{
		State: s.State, Term: s.Term, Leader: s.Leader, LeaderAddr: s.LeaderAddr,
		Applied: s.Applied, Commit: s.Commit, LeaseUntil: s.LeaseUntil,
		Durable: c.table.Durable(), Secure: c.secure, Stalled: stalled(s), Voters: voters(s),
	}
	if s.LastContact > 0 {
		out.LastContact = time.Now().Add(-s.LastContact)
	}
	return out
}
